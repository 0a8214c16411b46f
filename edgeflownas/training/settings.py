"""What the training loop takes of the configuration, and where it lets a run end."""

from dataclasses import dataclass
from typing import Annotated

from edgeflownas.runs.state import RunState


@dataclass(frozen=True)
class TrainSettings:
    """How a run is trained, evaluated and stopped."""

    seed: Annotated[int, "seed"]
    init_neurons: Annotated[int, "network.init_neurons"]
    workers: Annotated[int, "data.workers"]
    flow_scale: Annotated[float, "data.flow_scale"]
    flow_samples: Annotated[int, "eval.flow_samples"]
    supernet_mode: Annotated[str, "train.supernet_mode"]
    execution: Annotated[str, "train.execution"]
    precision: Annotated[str, "train.precision"]
    num_epochs: Annotated[int, "train.num_epochs"]
    max_epochs: Annotated[int | None, "train.max_epochs"]
    max_steps: Annotated[int | None, "train.max_steps"]
    lr: Annotated[float, "train.lr"]
    warmup_steps: Annotated[int, "train.warmup_steps"]
    weight_decay: Annotated[float, "train.weight_decay"]
    decoupled_weight_decay: Annotated[bool, "train.decoupled_weight_decay"]
    scaled_head_rate: Annotated[bool, "train.scaled_head_rate"]
    uncertainty_loss: Annotated[bool, "train.uncertainty_loss"]
    grad_clip: Annotated[float, "train.grad_clip"]
    early_stop_patience: Annotated[int, "train.early_stop_patience"]
    early_stop_min_delta: Annotated[float, "train.early_stop_min_delta"]
    on_nonfinite: Annotated[str, "train.on_nonfinite"]
    max_skipped_steps: Annotated[int, "train.max_skipped_steps"]
    checkpoint_every_steps: Annotated[int | None, "train.checkpoint_every_steps"]
    debug_trace: Annotated[bool, "train.debug_trace"]
    tensorboard: Annotated[bool, "train.tensorboard"]
    accept_changed_code: Annotated[bool, "train.accept_changed_code"]


class RunLimits:
    """Where a run of so many steps per epoch ends at the latest, and why.

    total_steps: of the learning-rate schedule.
    last_step: the run stops before this one; `train.max_epochs` and `train.max_steps` may bring it forward.
    """

    def __init__(self, settings: TrainSettings, steps_per_epoch: int) -> None:
        self._settings = settings
        self.total_steps = settings.num_epochs * steps_per_epoch
        limits = [self.total_steps]
        if settings.max_epochs is not None:
            limits.append(settings.max_epochs * steps_per_epoch)
        if settings.max_steps is not None:
            limits.append(settings.max_steps)
        self.last_step = min(limits)

    def reason_to_stop(self, state: RunState) -> str | None:
        """Why no step may follow: early_stop, num_epochs, max_epochs or max_steps; None if one may."""
        step = state.global_step
        if state.epochs_without_improvement >= self._settings.early_stop_patience:
            return "early_stop"
        if step >= self.total_steps:
            return "num_epochs"
        if step >= self.last_step:
            return "max_steps" if step == self._settings.max_steps else "max_epochs"
        return None

    def checkpoint_is_due(self, state: RunState) -> bool:
        """Whether a checkpoint within the epoch was asked for here."""
        every = self._settings.checkpoint_every_steps
        return every is not None and state.global_step % every == 0
