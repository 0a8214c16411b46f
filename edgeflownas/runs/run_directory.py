"""The run directory: what one training run writes, under the same names for every run."""

import csv
import io
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgeflownas.artifacts import read_json, remove_unfinished, write_json, write_text
from edgeflownas.config import Config, resolve_config
from edgeflownas.config_schema import schema_leaves
from edgeflownas.data.journal import JOURNAL_FILE
from edgeflownas.errors import UserError, make_folder, remedy_of, writing
from edgeflownas.locks import LockHeld, take_lock
from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.runs.pool_names import PoolNames

LOCK = ".lock"
HISTORY = "eval_epe_history"


def run_identity(
    config: Config, space: SearchSpace, data_digest: str, initial_weights: Mapping[str, Any]
) -> dict[str, Any]:
    """What must be the same for a resumed run to give the same result.

    `initial_weights` is what `nas.search_space.initial_weights_facts` gives: which checkpoint the run begins from.
    """
    return {**config.result_values(), **space.facts(), **initial_weights, "data.digest": data_digest}


class RunDirectory:
    """Paths of a run, and how its files are written: atomically, and derived from what the checkpoint holds."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.data_index = self.path / "data_index.json"
        self.history = self.path / f"{HISTORY}.csv"
        self.pool_results = self.path / "pool_results.json"
        self.flow_samples = self.path / "flow_samples.npz"
        self.tensorboard = self.path / "tensorboard"
        self.fairness_counts = self.path / "fairness_counts.json"
        self.progress = self.path / "progress.json"
        self.trace = self.path / "trace.jsonl"
        self.nonfinite = self.path / "nonfinite.json"
        self.manifest = self.path / "train_manifest.json"
        self.best = self.path / "checkpoints" / "supernet_best.ckpt"
        self.last = self.path / "checkpoints" / "supernet_last.ckpt"
        self.previous = self.path / "checkpoints" / "supernet_last.previous.ckpt"
        self.recoveries = self.path / "recoveries.json"
        self._claim: IO[str] | None = None

    def eval_pool(self, names: PoolNames) -> Path:
        """The file that lists the eval pool."""
        return self.path / names.file

    def further_history(self, name: str) -> Path:
        """The history of a further validation set."""
        return self.path / f"{HISTORY}_{name}.csv"

    @property
    def further_histories(self) -> dict[str, Path]:
        """The histories that are there of further validation sets, by name."""
        found = sorted(self.path.glob(self.further_history("*").name))
        return {path.stem.removeprefix(f"{HISTORY}_"): path for path in found}

    @property
    def checkpoints(self) -> list[Path]:
        """The existing checkpoints from which a run can continue, the last one first."""
        return [path for path in (self.last, self.previous, self.best) if path.is_file()]

    @contextmanager
    def claimed(self, fresh: bool) -> Iterator[Path | None]:
        """Lock this directory for one run; the system releases the lock when its owner ends.

        Args:
            fresh: an earlier run in it is moved to `<name>.1`, `<name>.2`, …: nothing is overwritten.

        Yields:
            Where the earlier run went, or None.

        Raises:
            UserError: another process is training here (names host and pid), the folder cannot be made, or a file in
                it cannot be written (no space, no permission, …).
        """
        try:
            aside = self._moved_aside() if fresh else None
            with self._lock() as self._claim:
                remove_unfinished(self.path)
                try:
                    yield aside
                except OSError:
                    self.check_claim()
                    raise
                self.check_claim()
        except OSError as error:
            whole = f"{self.last} is whole: fix this, then continue with --resume"
            advice = whole if self.last.is_file() else remedy_of(error)
            raise UserError(f"{error.filename or self.path}: {error.strerror}; {advice}") from error

    def check_claim(self) -> None:
        """Raises: UserError if the locked folder was deleted or moved: what is written now would be lost."""
        assert self._claim is not None
        try:
            here = os.path.samestat(os.fstat(self._claim.fileno()), os.stat(self.path / LOCK))
        except FileNotFoundError:
            here = False
        if not here:
            raise UserError(f"{self.path}: the run directory was deleted or moved during the run, which stops here")

    def _moved_aside(self) -> Path | None:
        with self._lock():
            if not any(file.is_file() and file.name != LOCK for file in self.path.rglob("*")):
                return None
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
                number += 1
            with writing(self.path):
                self.path.rename(aside)
        return aside

    @contextmanager
    def _lock(self) -> Iterator[IO[str]]:
        make_folder(self.best.parent)
        try:
            lock = take_lock(self.path / LOCK, f"{socket.gethostname()} pid {os.getpid()}")
        except LockHeld as owner:
            raise UserError(f"{self.path}: {owner} is training in this run directory; wait or stop it") from None
        with lock:
            yield lock

    def refuse_foreign_folder(self) -> None:
        """Check before a new run, which moves existing content aside completely.

        Raises:
            UserError: there is something that is no run directory, or the working directory is in it.
        """
        if Path.cwd().is_relative_to(self.path.resolve()):
            raise UserError(f"{self.path}: is the current folder, or above it; give a separate run directory")
        ours = (LOCK, self.config.name, self.last.parent.name, JOURNAL_FILE)
        if self.path.is_dir() and any(self.path.iterdir()) and not any((self.path / name).exists() for name in ours):
            raise UserError(f"{self.path}: contains files and is no run directory; give a new or an empty folder")

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration with origins and hash."""
        write_json(self.config, config.resolved(), schema="resolved_config.schema.json")

    def read_config(self, changes: Mapping[str, Any]) -> Config:
        """The configuration of the run for whoever uses it here and now: `changes` by dotted key.

        The folder is the run's current one, and the GPU is this machine's: the index that the training was given, and
        whether it had to have one, say nothing of another. Keys that are newer than the run have their defaults, those
        that are gone are left out.

        Raises:
            UserError: this is no run directory, or a value is not valid.
        """
        if not self.config.is_file():
            raise UserError(f"{self.path}: no run directory: it has no {self.config.name}")
        recorded = read_json(self.config, schema="resolved_config.schema.json")["values"]
        values = {key: value for key, value in recorded.items() if key in schema_leaves()}
        here = {"train.output_dir": str(self.path), "data.index": None}
        device = {"train.gpu_device": None, "train.require_gpu": False}
        return resolve_config(None, {**values, **here, **device, **changes})

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `eval_epe_history.csv`, one row per completed epoch; floats so that they read back the same."""
        _write_table(self.history, rows)

    def write_further_history(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the history of a further validation set, likewise."""
        _write_table(self.further_history(name), rows)

    def write_nonfinite(self, findings: Sequence[Mapping[str, Any]]) -> None:
        """Write `nonfinite.json`: every step so far whose loss or gradient was not finite."""
        write_json(self.nonfinite, findings, schema="nonfinite.schema.json")

    def append_trace(self, line: Mapping[str, Any]) -> None:
        """Add one step to `trace.jsonl`."""
        with writing(self.trace), open(self.trace, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def cut_trace(self, step: int) -> None:
        """Drop the steps from `step` on: a resumed run repeats them, and each step must be listed once."""
        if self.trace.is_file():
            lines = self.trace.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
            write_text(self.trace, "".join(kept))


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())
