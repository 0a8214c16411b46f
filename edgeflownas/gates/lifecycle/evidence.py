"""What criteria check: the attempt's logs and the run directories behind it, read and checked against schemas."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.artifacts import read_json
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.gates.lifecycle.attempts import Attempt
from edgeflownas.gates.settings import GateSettings
from edgeflownas.nas.search_space import SearchSpace, load_search_space
from edgeflownas.runs.pool_names import PoolNames, pool_names
from edgeflownas.runs.records import read_history, read_trace

if TYPE_CHECKING:
    from edgeflownas.gates.gate import Gate

HISTORY = "eval_epe_history.csv"
TRACE = "trace.jsonl"
BEST = "checkpoints/supernet_best.ckpt"
LAST = "checkpoints/supernet_last.ckpt"


class Evidence:
    """One attempt's evidence; every reader raises UserError on a file that is missing or of the wrong shape."""

    def __init__(self, gate: "Gate", attempt: Attempt, output_dir: Path, config: Config) -> None:
        self.gate = gate
        self.attempt = attempt
        self.output_dir = output_dir
        self.config = config

    @cached_property
    def settings(self) -> GateSettings:
        """What gates read of the configuration."""
        return self.config.view(GateSettings)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space in force."""
        return load_search_space(self.settings.search_space)

    @cached_property
    def pool_names(self) -> PoolNames:
        """What the records of the eval pool are called in that space."""
        return pool_names(self.space)

    def run(self, name: str) -> Path:
        """A run directory."""
        return self.output_dir / "runs" / name

    def log(self, name: str) -> str:
        """A command's output."""
        return self.attempt.log(name)

    def json(self, run: str, file: str, schema: str) -> Any:
        """A JSON file of a run, valid by its schema."""
        return read_json(self.run(run) / file, schema=schema)

    def bytes(self, run: str, file: str) -> bytes:
        """A file of a run, as it is."""
        path = self.run(run) / file
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error

    def trace(self, run: str) -> list[dict[str, Any]]:
        """The steps of a run's `trace.jsonl`."""
        return read_trace(self.run(run) / TRACE)

    def history(self, run: str) -> list[dict[str, float]]:
        """The epochs of a run's `eval_epe_history.csv`."""
        return read_history(self.run(run) / HISTORY)
