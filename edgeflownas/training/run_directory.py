"""The run directory: what one training run leaves, under the same names for every run."""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from edgeflownas.artifacts import write_json, write_text
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.locks import LockHeld, take_lock

LOCK = ".lock"


class RunDirectory:
    """Paths of a run, and how its files are written: atomically, and derived from what the checkpoint holds."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.data_index = self.path / "data_index.json"
        self.eval_pool = self.path / "eval_pool_12.json"
        self.history = self.path / "eval_epe_history.csv"
        self.fairness_counts = self.path / "fairness_counts.json"
        self.progress = self.path / "progress.json"
        self.trace = self.path / "trace.jsonl"
        self.nonfinite = self.path / "nonfinite.json"
        self.manifest = self.path / "train_manifest.json"
        self.best = self.path / "checkpoints" / "supernet_best.ckpt"
        self.last = self.path / "checkpoints" / "supernet_last.ckpt"

    @contextmanager
    def claimed(self, fresh: bool) -> Iterator[Path | None]:
        """Hold this directory for one run; the system frees the claim when its owner dies.

        Args:
            fresh: an earlier run that is there is moved to `<name>.1`, `<name>.2`, …: nothing is overwritten.

        Yields:
            Where the earlier run went, or None.

        Raises:
            UserError: another process is training here (names host and pid), or the folder cannot be made.
        """
        try:
            with self._lock():
                earlier = fresh and any(file.is_file() and file.name != LOCK for file in self.path.rglob("*"))
                if not earlier:
                    yield None
                    return
                number = 1
                while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
                    number += 1
                self.path.rename(aside)
            with self._lock():
                yield aside
        except OSError as error:
            raise UserError(f"{error.filename or self.path}: {error.strerror}") from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.best.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = take_lock(self.path / LOCK, f"{socket.gethostname()} pid {os.getpid()}")
        except LockHeld as owner:
            raise UserError(f"{self.path}: {owner} is training in this run directory; wait or stop it") from None
        with lock:
            yield

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration with origins and hash."""
        write_json(self.config, config.resolved(), schema="resolved_config.schema.json")

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `eval_epe_history.csv`, one row per completed epoch; floats so that they read back the same."""
        if rows:
            write_text(self.history, pd.DataFrame(rows).to_csv(index=False))

    def append_trace(self, line: Mapping[str, Any]) -> None:
        """Add one step to `trace.jsonl`."""
        with open(self.trace, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def cut_trace(self, step: int) -> None:
        """Drop the steps from `step` on: a resumed run does them again, and a step must stand there once."""
        if self.trace.is_file():
            lines = self.trace.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
            write_text(self.trace, "".join(kept))
