"""What a gate asks of the configuration: one that no attempt could pass is refused before the first command runs.

The numbers are those of the gates' commands and criteria. Where a command's own flag outdoes a key of the
configuration, nothing is asked of that key. Only gates ask: studies and trainings by hand take any configuration.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from edgeflownas.artifacts import read_json
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.gates.gate import Gate

# Gate 3: steps of the traced run, epochs before and after the resume, and batches of each recalibration.
TRACED_STEPS = 30
EPOCHS_BEFORE_RESUME, EPOCHS_AFTER_RESUME = 3, 5
RECALIBRATION_BATCHES = 8
# Gate 4: epochs of the complete short run.
SHORT_RUN_EPOCHS = 2

Requirement = Callable[[Config, int | None], str | None]
"""Takes the configuration and the steps of an epoch (None: not known yet); says what is wrong and what to do."""


def gate3_epochs(config: Config) -> int:
    """The epochs of gate 3's resumed run: 5, or all where a run has fewer."""
    return min(EPOCHS_AFTER_RESUME, config["train.num_epochs"])


def _strict_fairness(config: Config, steps: int | None) -> str | None:
    mode = config["train.supernet_mode"]
    if mode == "strict_fairness":
        return None
    return (
        f"train.supernet_mode is {mode}, an ablation whose option counts are equal only on average; gates 2 to 4 "
        "certify strict_fairness"
    )


def _recalibration_as_judged(config: Config, steps: int | None) -> str | None:
    batches = config["eval.bn_recal_batches"]
    if batches == RECALIBRATION_BATCHES:
        return None
    return (
        f"eval.bn_recal_batches is {batches}, but every subnet is to be judged with {RECALIBRATION_BATCHES}, in "
        f"training as by the gate; set it to {RECALIBRATION_BATCHES}"
    )


def _epochs_left_to_resume(config: Config, steps: int | None) -> str | None:
    epochs = config["train.num_epochs"]
    if epochs > EPOCHS_BEFORE_RESUME:
        return None
    return (
        f"train.num_epochs is {epochs}, which leaves nothing to resume after {EPOCHS_BEFORE_RESUME} epochs; expected "
        f"at least {EPOCHS_BEFORE_RESUME + 1}"
    )


def _full_batch(config: Config, steps: int | None) -> str | None:
    if steps != 0:
        return None
    return (
        f"train.batch_size is {config['train.batch_size']}, more than there are training samples, so an epoch has no "
        "step; lower it, or set train.steps_per_epoch"
    )


def _steps_for(epochs: int, config: Config, steps: int | None) -> str | None:
    """Whether `train.max_steps` lets so many epochs end; each has at least one step."""
    limit, needed = config["train.max_steps"], epochs * (steps or 1)
    if limit is None or limit >= needed:
        return None
    of = f" of {steps} step{'s' if steps > 1 else ''}" if steps else ""
    return (
        f"train.max_steps is {limit}, which ends the run before its {epochs} epochs{of}; expected at least {needed}, "
        "or null"
    )


def _patience_for(epochs: int, patience: int, config: Config) -> str | None:
    """Whether early stopping, which an epoch that is no better may start at once, comes after so many epochs."""
    if config["train.early_stop_patience"] >= patience:
        return None
    return (
        f"train.early_stop_patience is {config['train.early_stop_patience']}, which may end the run before its "
        f"{epochs} epochs; expected at least {patience}"
    )


def _resumed_run_comes_to_its_end(config: Config, steps: int | None) -> str | None:
    return _steps_for(gate3_epochs(config), config, steps)


def _resumed_run_is_not_stopped_early(config: Config, steps: int | None) -> str | None:
    # The first epoch is always the best so far, and the last may be the one that stops.
    epochs = gate3_epochs(config)
    return _patience_for(epochs, epochs - 1, config)


def _short_run_comes_to_its_end(config: Config, steps: int | None) -> str | None:
    return _steps_for(SHORT_RUN_EPOCHS, config, config["fast_mode.steps_per_epoch"])


def _short_run_is_not_cut(config: Config, steps: int | None) -> str | None:
    limit = config["train.max_epochs"]
    if limit is None or limit >= SHORT_RUN_EPOCHS:
        return None
    return (
        f"train.max_epochs is {limit}, which ends the run before its {SHORT_RUN_EPOCHS} epochs; expected at least "
        f"{SHORT_RUN_EPOCHS}, or null"
    )


def _short_run_is_not_stopped_early(config: Config, steps: int | None) -> str | None:
    # It must end because its epochs are over, so that even the last may not be the one that stops.
    return _patience_for(SHORT_RUN_EPOCHS, SHORT_RUN_EPOCHS, config)


REQUIREMENTS: dict[str, tuple[Requirement, ...]] = {
    "gate1": (),
    "gate2": (_strict_fairness,),
    "gate3": (
        _strict_fairness,
        _recalibration_as_judged,
        _epochs_left_to_resume,
        _full_batch,
        _resumed_run_comes_to_its_end,
        _resumed_run_is_not_stopped_early,
    ),
    "gate4": (
        _strict_fairness,
        _short_run_comes_to_its_end,
        _short_run_is_not_cut,
        _short_run_is_not_stopped_early,
    ),
}


def require_passable(gates: Sequence[Gate], config: Config, index: Path) -> None:
    """Refuse a configuration with which one of the gates can never pass; all that is wrong in one sentence each.

    Args:
        gates: those that are to run.
        config: the configuration.
        index: where the data index lies, or will.

    Raises:
        UserError: naming gate, key, value, and what is expected.
    """
    faults: dict[str, str] = {}
    steps = steps_per_epoch(config, index)
    for gate in gates:
        for requirement in REQUIREMENTS[gate.name]:
            if fault := requirement(config, steps):
                faults.setdefault(fault, gate.name)
    if faults:
        raise UserError("; ".join(f"{gate} is refused: {fault}" for fault, gate in faults.items()))


def steps_per_epoch(config: Config, index: Path) -> int | None:
    """The steps of an epoch, as far as they are known: from the configuration, or from an index that is up to date."""
    if config["train.fast_mode"]:
        steps: int = config["fast_mode.steps_per_epoch"]
        return steps
    if config["train.steps_per_epoch"] is not None:
        steps = config["train.steps_per_epoch"]
        return steps
    samples = (
        config["data.synthetic.train"] if config["data.source"] == "synthetic" else _indexed_samples(config, index)
    )
    return None if samples is None else int(samples // config["train.batch_size"])


def _indexed_samples(config: Config, index: Path) -> int | None:
    """The number of training samples; None where the index is of another folder, or may be built anew.

    That is where it is older than the folder, or leaves samples out, which is for another configuration to change.
    """
    root = config["data.root"]
    try:
        if root is None or index.stat().st_mtime < (Path(root) / "train").stat().st_mtime:
            return None
        value = read_json(index)
        train = value["splits"]["train"]
        return None if value["root"] != root or train["rejected"] else len(train["samples"])
    except (OSError, UserError, KeyError, TypeError):
        # There is none yet, or it is not as we write it: whoever uses it says so.
        return None
