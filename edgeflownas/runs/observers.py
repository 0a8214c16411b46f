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
    """Writes the histories of all validation sets and `pool_results.json`, from what the last checkpoint holds.

    val_samples, further: how many samples the first set has, and each of the others by name.
    """

    def __init__(self, run: RunDirectory, val_samples: int, further: Mapping[str, int]) -> None:
        self._run = run
        self._val_samples = val_samples
        self._further = further

    def epoch(self, state: RunState) -> None:
        """Also called when a run is resumed: what it restored may be ahead of the files, or behind them."""
        # The further ones first: whoever watches the run prints an epoch once the run's own history has it.
        for name, rows in state.further.items():
            self._run.write_further_history(name, rows)
        self._run.write_history(state.history)
        if state.pool_results:
            last = {key: state.history[-1][key] for key in ("epoch", "global_step")}
            further = {
                name: {"samples": self._further[name], "subnets": results}
                for name, results in state.further_results.items()
            }
            results = {
                **last,
                "samples": self._val_samples,
                "subnets": state.pool_results,
                **({"further": further} if further else {}),
            }
            write_json(self._run.pool_results, results, schema="pool_results.schema.json")
