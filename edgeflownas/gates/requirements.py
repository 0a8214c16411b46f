"""What a gate requires of the configuration: one that no attempt could pass is refused before the first command runs.

A gate's own requirements are in its module; those that several gates share are here. Where a command's own flag outdoes
a key of the configuration, nothing is asked of that key. Only gates ask: studies and trainings by hand take any
configuration.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeflownas.artifacts import read_json
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.gates.settings import GateSettings

if TYPE_CHECKING:
    from edgeflownas.gates.gate import Gate

Requirement = Callable[[GateSettings, int | None], str | None]
"""Takes the settings and the steps of an epoch (None: not known yet); says what is wrong and what to do."""


def strict_fairness(settings: GateSettings, steps: int | None) -> str | None:
    """Whether all options are trained equally often: that is what is certified."""
    if settings.supernet_mode == "strict_fairness":
        return None
    return (
        f"train.supernet_mode is {settings.supernet_mode}, an ablation that does not train all options equally often; "
        "strict_fairness is what is certified"
    )


def own_initial_weights(settings: GateSettings, steps: int | None) -> str | None:
    """Whether training begins with random weights: against those of the seed it is checked what was trained."""
    if settings.init_from is None:
        return None
    return (
        f"train.init_from is {settings.init_from}, and what a gate trains begins with the random weights of the seed, "
        "against which it is checked; leave it out (`python -m edgeflownas.train_supernet` takes it, and retrain.init "
        "is what gate 6 begins with)"
    )


def steps_for(epochs: int, settings: GateSettings, steps: int | None) -> str | None:
    """Whether `train.max_steps` lets so many epochs end; each has at least one step."""
    limit, needed = settings.max_steps, epochs * (steps or 1)
    if limit is None or limit >= needed:
        return None
    of = f" of {steps} step{'s' if steps > 1 else ''}" if steps else ""
    return (
        f"train.max_steps is {limit}, which ends the run before its {epochs} epochs{of}; expected at least {needed}, "
        "or null"
    )


def patience_for(epochs: int, patience: int, settings: GateSettings) -> str | None:
    """Whether early stopping, which an epoch that is no better may start at once, comes after so many epochs."""
    if settings.early_stop_patience >= patience:
        return None
    return (
        f"train.early_stop_patience is {settings.early_stop_patience}, which may end the run before its "
        f"{epochs} epochs; expected at least {patience}"
    )


def require_passable(gates: Sequence["Gate"], config: Config, index: Path) -> None:
    """Refuse a configuration with which one of the gates can never pass; all that is wrong in one sentence each.

    Args:
        gates: those that are to run.
        config: the configuration.
        index: where the data index lies, or will.

    Raises:
        UserError: naming gate, key, value, and what is expected.
    """
    faults: dict[str, str] = {}
    settings = config.view(GateSettings)
    steps = steps_per_epoch(settings, index)
    for gate in gates:
        for requirement in gate.requirements:
            if fault := requirement(settings, steps):
                faults.setdefault(fault, gate.name)
    if faults:
        raise UserError("; ".join(f"{gate} is refused: {fault}" for fault, gate in faults.items()))


def steps_per_epoch(settings: GateSettings, index: Path) -> int | None:
    """The steps of an epoch, as far as they are known: from the configuration, or from an index that is up to date."""
    if settings.fast_mode:
        return settings.fast_steps_per_epoch
    if settings.steps_per_epoch is not None:
        return settings.steps_per_epoch
    is_synthetic = settings.data_source == "synthetic"
    samples = settings.synthetic_train if is_synthetic else _indexed_samples(settings.data_root, index)
    return None if samples is None else samples // settings.batch_size


def _indexed_samples(root: str | None, index: Path) -> int | None:
    """The number of training samples; None where the index is of another folder, or may be built again.

    That is where it is older than the folder, or leaves samples out, which is for another configuration to change.
    """
    try:
        if root is None or index.stat().st_mtime < (Path(root) / "train").stat().st_mtime:
            return None
        value = read_json(index)
        train = value["splits"]["train"]
        return None if value["root"] != root or train["rejected"] else len(train["samples"])
    except (OSError, UserError, KeyError, TypeError):
        # There is none yet, or it is not as we write it: whoever uses it says so.
        return None
