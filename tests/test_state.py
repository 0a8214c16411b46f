"""Where a run stands: best, patience, clip rate, and the way through a checkpoint's header."""

import json

import pytest

from edgeflownas.errors import UserError
from edgeflownas.runs.pool_names import PoolNames
from edgeflownas.runs.state import RunState

MIN_DELTA = 0.002


def after(*epes):
    """The state after epochs with these mean EPEs, and whether each was the best so far."""
    state = RunState(counts={"EB0": [0, 0, 0]})
    improved = []
    for epe in epes:
        improved.append(state.note_evaluation(epe, PoolNames(12), MIN_DELTA))
        state.finish_epoch({"epoch": state.epochs_done + 1}, [])
    return state, improved


def test_best_is_the_lowest_epe_and_names_its_epoch():
    state, improved = after(5.0, 4.0, 4.5, 3.9999, 4.2)
    assert improved == [True, True, False, True, False]
    assert state.best == {"epoch": 4, "mean_epe_12": 3.9999}


def test_patience_counts_epochs_without_a_decrease_by_min_delta():
    state, _ = after(5.0, 4.0, 3.999, 3.9985, 4.2)
    # 3.999 and 3.9985 are better than 4.0, and not by 0.002: they are kept, and they do not buy time.
    assert state.epochs_without_improvement == 3
    assert state.best == {"epoch": 4, "mean_epe_12": 3.9985}
    # Small steps add up: patience measures from the last decrease that counted.
    state, _ = after(4.0, 3.999, 3.998, 3.9975)
    assert state.epochs_without_improvement == 0


def test_an_epochs_statistics_are_of_its_steps_alone():
    state = RunState(counts={})
    for norm in (100.0, 1.0):
        state.record_step({"losses": [1.0, 2.0, 3.0], "global_grad_norm_before": norm})
    state.finish_epoch({}, [])
    for norm in (1.0, 2.0, 3.0, 6.0):
        state.record_step({"losses": [4.0, 4.0, 1.0], "global_grad_norm_before": norm})
    statistics = state.epoch_statistics(grad_clip=5.0)
    assert statistics["train_loss"] == pytest.approx(3.0)
    assert statistics["clip_rate"] == 0.25
    assert statistics["grad_norm_p50"] == 2.5
    assert state.global_step == 6


@pytest.mark.parametrize("change", [{"epoch_seconds": 1.5}, {"epoch_seconds": {"training": 1.5}}, {"epochs": 3}])
def test_a_header_of_another_version_is_refused(change):
    with pytest.raises(UserError, match="not that of this version of EdgeFlowNAS"):
        RunState.from_header(RunState(counts={}).to_header() | change)


def test_it_survives_a_header():
    state, _ = after(5.0, 4.0)
    state.record_step({"losses": [1.0], "global_grad_norm_before": 2.0})
    assert RunState.from_header(json.loads(json.dumps(state.to_header()))) == state
