"""The rows of `eval_epe_history.csv` and of a further validation set: what an epoch's evaluation gave."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgeflownas.nas.fair_sampler import fairness_gap
from edgeflownas.runs.pool_names import PoolNames, mean_epe, names_in
from edgeflownas.runs.state import RunState


def epoch_row(
    state: RunState,
    grad_clip: float,
    steps_per_epoch: int,
    lr: float,
    summary: tuple[float, float, float],
    zero_flow_epe: float,
    results: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The row of the epoch that was just evaluated (`schemas/history_row.schema.json`).

    Args:
        state: with the epoch's evaluation recorded, and the epoch not finished.
        grad_clip: the gradient norm from which on a step is clipped.
        steps_per_epoch: of the run.
        lr: learning rate of the epoch's last step.
        summary: of the eval pool, as `pool_summary` gives it, pixels.
        zero_flow_epe: of the validation samples, pixels.
        results: of every subnet of the pool, as `Evaluator.evaluate` gives them.
    """
    assert state.best is not None
    names, best = names_in(state.best), mean_epe(state.best)
    return {
        "epoch": state.epochs_done + 1,
        "global_step": state.global_step,
        **dict(zip(names.columns, (*summary, best), strict=True)),
        "zero_flow_epe": zero_flow_epe,
        "fairness_gap": fairness_gap(state.counts),
        "lr": lr,
        **state.epoch_statistics(grad_clip),
        "skipped_steps": state.skipped_since(state.global_step - steps_per_epoch),
        **{f"seconds_{phase}": round(seconds, 3) for phase, seconds in state.epoch_seconds.items()},
        "seconds": round(sum(state.epoch_seconds.values()), 3),
        **_each(results),
    }


def further_row(
    state: RunState,
    names: PoolNames,
    summary: tuple[float, float, float],
    zero_flow_epe: float,
    results: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The row of a further validation set (`schemas/further_history_row.schema.json`), before the epoch is finished.

    Args:
        state: of the run.
        names: of the eval pool.
        summary, zero_flow_epe, results: as `epoch_row` takes them, of this set.
    """
    return {
        "epoch": state.epochs_done + 1,
        "global_step": state.global_step,
        **dict(zip((names.mean_epe, names.std_epe, names.noise_epe), summary, strict=True)),
        "zero_flow_epe": zero_flow_epe,
        **_each(results),
    }


def _each(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {f"epe_{result['code'].replace(',', '')}": result["epe"] for result in results}
