"""What is named after the eval pool says how many subnets it has, and in the 9-block space everything is as it was."""

import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.console.printer import Printer
from edgeflownas.errors import UserError
from edgeflownas.gates.lifecycle.evaluation import evaluate_gate
from edgeflownas.gates.registry import find_gate
from edgeflownas.nas.eval_pool import eval_pool, pool_size
from edgeflownas.nas.fair_sampler import empty_counts
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.reporting.run_facts import RunFacts
from edgeflownas.reporting.training_report import Drawn, report_markdown
from edgeflownas.runs.epoch_row import epoch_row
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.monitor import RunLength, RunMonitor, epoch_line, progress_line
from edgeflownas.runs.pool_names import PoolNames, mean_epe, names_in, pool_names
from edgeflownas.runs.records import read_history
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.state import RunState
from edgeflownas.watch import read_status
from tests.handmade_gates import make_evidence
from tests.handmade_runs import make_config, make_run
from tests.spaces import eleven_block_space

COLUMNS = ("mean_epe_24", "std_epe_24", "noise_epe_24", "best_mean_epe_24")


@pytest.fixture
def eleven(tmp_path):
    """The space of 11 blocks, whose fair cycles have 6 paths, and a configuration in it."""
    space = eleven_block_space(tmp_path)
    return space, make_config(network__search_space=str(tmp_path / "eleven_blocks.yaml"))


def an_epoch(space, count):
    """The state of a run after its first epoch of four steps, with `count` subnets evaluated."""
    state = RunState(counts=empty_counts(space))
    for _ in range(4):
        state.record_step({"losses": [1.0], "global_grad_norm_before": 2.0})
    state.note_evaluation(5.0, pool_names(space), 0.002)
    results = [{"code": f"0,{number}", "epe": 5.0} for number in range(count)]
    state.finish_epoch(epoch_row(state, 5.0, 4, 1e-4, (5.0, 0.5, 0.25), 6.0, results), results)
    return state


def test_the_name_says_the_size_of_the_pool(eleven):
    for space in (load_search_space(), eleven[0]):
        assert pool_size(space) == eval_pool(space).shape[0] * eval_pool(space).shape[1]
    assert pool_names(load_search_space()) == PoolNames(12)
    assert pool_names(load_search_space()).columns == ("mean_epe_12", "std_epe_12", "noise_epe_12", "best_mean_epe_12")
    assert pool_names(load_search_space()).file == "eval_pool_12.json"
    assert pool_names(eleven[0]).columns == COLUMNS
    assert pool_names(eleven[0]).file == "eval_pool_24.json"


def test_texts_are_renamed_by_whole_names_only():
    text = "mean_epe_12 and best_mean_epe_12 in eval_pool_12.json, not epe_120 or mean_epe_121"
    assert PoolNames(12).renamed(text) == text
    assert PoolNames(6).renamed(text) == text.replace("_12 ", "_6 ").replace("_12.", "_6.")


def test_the_history_of_the_nine_block_space_has_the_columns_it_always_had(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_history(an_epoch(load_search_space(), 0).history)
    assert run.history.read_text() == (
        "epoch,global_step,mean_epe_12,std_epe_12,noise_epe_12,best_mean_epe_12,zero_flow_epe,fairness_gap,lr,"
        "train_loss,grad_norm_p50,grad_norm_p90,grad_norm_p99,clip_rate,skipped_steps,seconds_waiting,"
        "seconds_training,seconds_recalibration,seconds_validation,seconds_saving,seconds\n"
        "1,4,5.0,0.5,0.25,5.0,6.0,0,0.0001,1.0,2.0,2.0,2.0,0.0,0,0.0,0.0,0.0,0.0,0.0,0.0\n"
    )


def test_the_history_of_another_space_has_its_own(tmp_path, eleven):
    run = RunDirectory(tmp_path / "run")
    run.write_history(an_epoch(eleven[0], 24).history)
    (row,) = read_history(run.history)
    assert tuple(row)[2:6] == COLUMNS
    assert names_in(row) == PoolNames(24)
    assert mean_epe(row) == 5.0
    assert epoch_line(row, 3, 1).startswith("epoch 1/3 done: mean EPE 5.0000 ± 0.5000 px (the best so far)")


@pytest.mark.parametrize(("column", "words"), [("noise_epe_24", "noise_epe_24 is"), ("mean_epe_24", "mean_epe_N, the")])
def test_a_history_without_one_of_the_pools_columns_is_refused(tmp_path, eleven, column, words):
    run = RunDirectory(tmp_path / "run")
    run.write_history([{name: cell for name, cell in an_epoch(eleven[0], 24).history[0].items() if name != column}])
    with pytest.raises(UserError, match=f"eval_epe_history.csv line 2: {words}.* missing"):
        read_history(run.history)


def test_what_a_run_reports_while_it_runs_has_the_name_too(tmp_path, eleven):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    monitor = RunMonitor(run.progress, RunLength(3, 4, 12), pool_names(eleven[0]), 5.0, Printer("quiet"))
    before = RunState(counts=empty_counts(eleven[0]))
    monitor.starting(before)
    assert read_json(run.progress, schema="progress.schema.json")["mean_epe_24"] is None
    state = an_epoch(eleven[0], 24)
    monitor.epoch(state)
    facts = read_json(run.progress, schema="progress.schema.json")
    assert (facts["mean_epe_24"], facts["best"]) == (5.0, {"epoch": 1, "mean_epe_24": 5.0})
    assert "last EPE 5.000 (best 5.000, epoch 1)" in progress_line(
        facts | {"loss": 1.0, "lr": 1.0, "grad_norm": 1.0, "clip_rate": 0.0}
    )
    assert read_status(run.path).progress == facts


def test_manifest_and_report_use_the_name(tmp_path, eleven):
    run = tmp_path / "run"
    make_run(run, 5, eleven[1])
    assert manifest_faults(run / "train_manifest.json") == []
    manifest = read_json(run / "train_manifest.json", schema="train_manifest.schema.json")
    assert manifest["best"] == {"epoch": 4, "mean_epe_24": 7.0}
    assert manifest["files"]["eval_pool"]["path"] == "eval_pool_24.json"
    text = report_markdown(RunFacts.read(run), Drawn((), None))
    assert "| mean EPE of the eval pool | 7.2500 px after epoch 5 |" in text


def test_a_gate_uses_the_name_in_its_sentences_its_evidence_and_its_artifacts(tmp_path, eleven):
    space, config = eleven
    gate, file = find_gate("gate3"), config["network.search_space"]
    evidence = make_evidence("gate3", tmp_path, network__search_space=file)
    report = evaluate_gate(gate, evidence.attempt, tmp_path)
    assert report["why"] == []
    observed = {finding["sentence"]: finding["observed"] for finding in report["criteria"]}
    judged = "every epoch has mean_epe_24, std_epe_24 and fairness_gap 0"
    assert observed[judged] == "5 epochs, 24 subnets each, gap 0, no fault"
    best = "supernet_best.ckpt names the epoch of the smallest mean_epe_24"
    assert observed[best] == "epoch 4, in the manifest 4"
    published = tuple(artifact["path"] for artifact in report["artifacts"])
    assert published == gate.publishes_in(space) == (*gate.publishes[:2], "eval_pool_24.json")
    assert gate.publishes_in(load_search_space()) == gate.publishes
