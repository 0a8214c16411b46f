"""The observers of a run, and the first of them, which writes what people read during the run."""

from collections.abc import Mapping
from typing import Any

from edgeflownas.artifacts import write_json
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.state import RunState


class Observer:
    """Told of a run's steps and epochs. It changes nothing of the run, and does nothing where it has no use for it."""

    def starting(self, state: RunState) -> None:
        """The run directory is claimed and a resumed run restored; the first step follows."""

    def step(self, state: RunState, observed: Mapping[str, Any], lr: float) -> None:
        """A step was made, with an update: what `TrainingModel.train_cycle` gave, at this learning rate."""

    def judging(self, state: RunState, where: Mapping[str, Any]) -> None:
        """Some subnets are about to evaluate a batch (`judging` in `progress.json`)."""

    def epoch(self, state: RunState) -> None:
        """An epoch is evaluated and saved."""

    def ended(self, state: RunState, reason: str) -> None:
        """The run is over, stopped to be resumed, or failed, perhaps before it started."""


class RecordsWriter(Observer):
    """Writes `eval_epe_history.csv` and `pool_results.json`, from what the last checkpoint holds."""

    def __init__(self, run: RunDirectory, val_samples: int) -> None:
        self._run = run
        self._val_samples = val_samples

    def epoch(self, state: RunState) -> None:
        """Also called when a run is resumed: what it restored may be ahead of the files, or behind them."""
        self._run.write_history(state.history)
        if state.pool_results:
            last = {key: state.history[-1][key] for key in ("epoch", "global_step")}
            results = {**last, "samples": self._val_samples, "subnets": state.pool_results}
            write_json(self._run.pool_results, results, schema="pool_results.schema.json")
