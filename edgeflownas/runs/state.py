"""The state of a run: everything besides the weights that the next step depends on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgeflownas.errors import UserError
from edgeflownas.runs.pool_names import PoolNames, mean_epe
from edgeflownas.runs.timing import PHASES


@dataclass
class RunState:
    """The state, as it is in a checkpoint's header.

    global_step: fair cycles done, skipped ones too, which is also the index of the next one.
    history: one row of `eval_epe_history.csv` per completed epoch.
    further: by further validation set, one row of its own history per completed epoch.
    further_results: by such a set, what `pool_results` has of the first one.
    best: epoch and mean EPE (pixels, `PoolNames.mean_epe`) of the best epoch so far, None before the first evaluation.
    patience_reference, epochs_without_improvement: early stopping counts from the last decrease by min_delta.
    pool_results: metrics of every subnet of the eval pool after the last completed epoch.
    counts: how often each option of each block was trained: executed in a cycle that made an update.
    skipped: what was found in each cycle whose loss or gradient was not finite, and which made no update.
    initial: whose weights the run began with, and their metrics on the eval pool; None if with random ones.
    epoch_*: what the updates of the unfinished epoch gave, and the seconds that its phases took (`timing.PHASES`).
    """

    counts: dict[str, list[int]]
    global_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    pool_results: list[dict[str, Any]] = field(default_factory=list)
    further: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    further_results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    patience_reference: float | None = None
    epochs_without_improvement: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    initial: dict[str, Any] | None = None
    epoch_losses: list[float] = field(default_factory=list)
    epoch_norms: list[float] = field(default_factory=list)
    epoch_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @property
    def epochs_done(self) -> int:
        """Completed (trained and evaluated) epochs."""
        return len(self.history)

    @property
    def place(self) -> tuple[int, int]:
        """Steps done and epochs completed."""
        return self.global_step, self.epochs_done

    def awaits_evaluation(self, steps_per_epoch: int) -> bool:
        """Whether the current epoch is fully trained, and only its evaluation is missing."""
        return self.global_step == (self.epochs_done + 1) * steps_per_epoch

    def to_header(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> "RunState":
        """Back from JSON values.

        Raises:
            UserError: the header is of another version.
        """
        try:
            state = cls(**header)
            if set(state.epoch_seconds) != set(PHASES):
                raise TypeError("its phases are others")
            return state
        except TypeError as error:
            raise UserError(f"the checkpoint's state is not that of this version of EdgeFlowNAS: {error}") from error

    def record_step(self, observed: Mapping[str, Any]) -> None:
        """Count one fair cycle that made an update."""
        self.global_step += 1
        self.epoch_losses.append(float(np.mean(observed["losses"])))
        self.epoch_norms.append(observed["global_grad_norm_before"])

    def record_skip(self, finding: dict[str, Any]) -> None:
        """Count one fair cycle that was computed but made no update."""
        self.global_step += 1
        self.skipped.append(finding)

    def skipped_since(self, step: int) -> int:
        """How many cycles were skipped from `step` on."""
        return sum(finding["step"] >= step for finding in self.skipped)

    def epoch_statistics(self, grad_clip: float) -> dict[str, float]:
        """Mean loss, quantiles of the gradient norm before clipping, and the share of clipped steps."""
        p50, p90, p99 = np.percentile(self.epoch_norms, [50, 90, 99]).tolist()
        return {
            "train_loss": float(np.mean(self.epoch_losses)),
            "grad_norm_p50": p50,
            "grad_norm_p90": p90,
            "grad_norm_p99": p99,
            "clip_rate": float(np.mean(np.array(self.epoch_norms) > grad_clip)),
        }

    def note_evaluation(self, epe: float, names: PoolNames, min_delta: float) -> bool:
        """Update best and patience with the mean EPE of the epoch that just ended; True if it is the best so far."""
        if self.patience_reference is None or epe < self.patience_reference - min_delta:
            self.patience_reference = epe
            self.epochs_without_improvement = 0
        else:
            self.epochs_without_improvement += 1
        improved = self.best is None or epe < mean_epe(self.best)
        if improved:
            self.best = {"epoch": self.epochs_done + 1, names.mean_epe: epe}
        return improved

    def note_further(self, name: str, row: dict[str, Any], results: list[dict[str, Any]]) -> None:
        """Add the row of a further validation set for the epoch that just ended, and keep the metrics behind it."""
        self.further.setdefault(name, []).append(row)
        self.further_results[name] = results

    def finish_epoch(self, row: dict[str, Any], pool_results: list[dict[str, Any]]) -> None:
        """Add the epoch's row, keep the metrics behind it, and start the next epoch."""
        self.history.append(row)
        self.pool_results = pool_results
        self.epoch_losses, self.epoch_norms = [], []
        self.epoch_seconds = dict.fromkeys(PHASES, 0.0)
