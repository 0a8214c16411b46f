"""`train_supernet` and `supernet_eval` as typed: what a run leaves, exact resume, and mistakes that end well."""

import fcntl
import hashlib
import json
import shutil

import numpy as np
import pytest

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.data.journal import JOURNAL_FILE
from edgeflownas.errors import UserError, run_command
from edgeflownas.nas import supernet_eval
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.runs.checkpoints import load_checkpoint, read_header
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.train_supernet import main
from tests.tiny import EPOCHS, history_of, tiny_flags, trace_of


def test_a_run_leaves_what_every_run_leaves(whole_run):
    files = {file.relative_to(whole_run).as_posix() for file in whole_run.rglob("*") if file.is_file()}
    (log,) = {file for file in files if file.startswith("tensorboard/")}
    assert files == {
        log,
        ".lock",
        "config.json",
        "data_index.json",
        "checkpoints/supernet_best.ckpt",
        "checkpoints/supernet_last.ckpt",
        "checkpoints/supernet_last.previous.ckpt",
        "eval_pool_12.json",
        "eval_epe_history.csv",
        "pool_results.json",
        "fairness_counts.json",
        "flow_samples.npz",
        "progress.json",
        "trace.jsonl",
        "train_manifest.json",
    }


def test_every_step_is_there_once_with_the_codes_of_its_cycle(whole_run):
    trace = trace_of(whole_run)
    assert [line["step"] for line in trace] == list(range(25))
    assert [line["epoch"] for line in trace] == [1 + step // 5 for step in range(25)]
    for line in trace:
        codes = [[int(digit) for digit in code.split(",")] for code in line["codes"]]
        assert codes == fair_cycle(load_search_space(), 42, line["step"]).tolist()
        assert (line["forward"], line["backward"], line["optimizer_step"]) == (3, 3, 1)
        assert line["global_grad_norm_after"] <= 5.0 * (1 + 1e-6)


def test_the_history_has_one_row_per_epoch_and_the_checkpoints_name_theirs(whole_run):
    history = history_of(whole_run)
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert history["global_step"].tolist() == [5, 10, 15, 20, 25]
    assert (history["fairness_gap"] == 0).all()
    epes = history[[column for column in history if column.startswith("epe_")]]
    assert epes.shape == (5, 12)
    np.testing.assert_allclose(epes.mean(axis=1), history["mean_epe_12"])
    np.testing.assert_allclose(epes.std(axis=1, ddof=0), history["std_epe_12"])
    last, best = (read_header(whole_run / "checkpoints" / f"supernet_{name}.ckpt") for name in ("last", "best"))
    assert (last["epoch"], last["global_step"]) == (5, 25)
    assert best["epoch"] == history["mean_epe_12"].idxmin() + 1 == last["best"]["epoch"]


def test_pool_results_have_the_metrics_behind_the_last_row(whole_run):
    results = read_json(whole_run / "pool_results.json", "pool_results.schema.json")
    last = history_of(whole_run).iloc[-1]
    assert (results["epoch"], results["global_step"], results["samples"]) == (5, 25, 3)
    for subnet in results["subnets"]:
        assert subnet["epe"] == last[f"epe_{subnet['code'].replace(',', '')}"]
        assert 0 <= subnet["outliers_5px"] <= subnet["outliers_3px"] <= subnet["outliers_1px"] <= 1


def test_counts_and_manifest_say_what_was_done(whole_run):
    counts = read_json(whole_run / "fairness_counts.json", "fairness_counts.schema.json")
    assert all(options == [25, 25, 25] for options in counts["counts"].values())
    manifest = read_json(whole_run / "train_manifest.json", "train_manifest.schema.json")
    assert manifest["input_shape"] == [45, 60, 6]
    assert (manifest["epochs_done"], manifest["global_step"]) == (5, 25)
    assert manifest["stopped_because"] == "num_epochs"
    assert manifest["lr_schedule"]["steps"] == 5 * 5
    for entry in manifest["files"].values():
        assert sha256_file(whole_run / entry["path"]) == entry["sha256"]


def test_judging_leaves_the_checkpoint_as_it_was_and_repeats_the_last_row(whole_run, synthetic_root):
    path = whole_run / "checkpoints" / "supernet_last.ckpt"
    before = sha256_file(path)
    flags = tiny_flags(synthetic_root, whole_run, "--eval_only", "--bn_recal_batches", "8")
    out = whole_run.parent / "judged.json"
    assert supernet_eval.main([*flags, "--out", str(out)]) == 0
    assert sha256_file(path) == before
    result = read_json(out, "supernet_eval.schema.json")
    assert result["mean_epe"] == history_of(whole_run)["mean_epe_12"].iloc[-1]
    assert [subnet["bn_recal_batches"] for subnet in result["subnets"]] == [8] * 12
    assert all(subnet["bn_shift"] > 0 for subnet in result["subnets"])


@pytest.mark.slow
def test_a_subnet_is_judged_alone_as_it_is_in_the_pool(whole_run, synthetic_root, tmp_path):
    out = tmp_path / "judged.json"
    flags = tiny_flags(synthetic_root, whole_run, "--eval_only", "--bn_recal_batches", "8")
    assert supernet_eval.main([*flags, "--out", str(out), "--arch", "0,0,0,0,2,1,2,2,2", "210000000"]) == 0
    alone = read_json(out, "supernet_eval.schema.json")["subnets"]
    assert [subnet["code"] for subnet in alone] == ["0,0,0,0,2,1,2,2,2", "2,1,0,0,0,0,0,0,0"]
    assert alone[0]["epe"] == pytest.approx(history_of(whole_run)["epe_000021222"].iloc[-1], rel=1e-6)


def assert_same_result(run, reference):
    """Weights, optimizer, history and traces are identical to the bit."""
    mine, other = (load_checkpoint(folder / "checkpoints" / "supernet_last.ckpt") for folder in (run, reference))
    assert mine.header["sha256"] == other.header["sha256"]
    assert (run / "trace.jsonl").read_bytes() == (reference / "trace.jsonl").read_bytes()
    assert history_of(run).equals(history_of(reference))
    assert json.loads((run / "fairness_counts.json").read_text()) == json.loads(
        (reference / "fairness_counts.json").read_text()
    )


@pytest.mark.slow
def test_three_epochs_and_resume_to_five_equal_five_in_one_go(whole_run, synthetic_root, tmp_path):
    run = tmp_path / "resumed"
    assert main(tiny_flags(synthetic_root, run, *EPOCHS, "--debug_trace", "--max_epochs", "3")) == 0
    manifest = read_json(run / "train_manifest.json", "train_manifest.schema.json")
    assert (manifest["stopped_because"], manifest["lr_schedule"]["steps"]) == ("max_epochs", 5 * 5)
    assert main(tiny_flags(synthetic_root, run, *EPOCHS, "--debug_trace", "--max_epochs", "5", "--resume")) == 0
    assert_same_result(run, whole_run)


@pytest.mark.slow
def test_a_run_stopped_within_an_epoch_continues_with_the_same_bits(whole_run, synthetic_root, tmp_path):
    run = tmp_path / "stopped"
    assert main(tiny_flags(synthetic_root, run, *EPOCHS, "--debug_trace", "--max_steps", "13")) == 0
    # Steps after the checkpoint, as a killed run leaves them, are done again and stand there once.
    with open(run / "trace.jsonl", "a") as file:
        file.write('{"step": 13}\n{"step": 14, "ep')
    assert main(tiny_flags(synthetic_root, run, *EPOCHS, "--debug_trace", "--resume", "auto")) == 0
    assert_same_result(run, whole_run)


@pytest.mark.slow
def test_a_study_continues_its_own_run_and_starts_anew_beside_another_one(synthetic_root, tmp_path, capsys):
    run = tmp_path / "study"
    flags = tiny_flags(synthetic_root, run, "--num_epochs", "2", "--resume", "same")
    assert main([*flags, "--max_steps", "3"]) == 0
    assert main(flags) == 0
    assert "resumed at step 3" in capsys.readouterr().out
    assert main([*flags, "--lr", "4e-3"]) == 0
    assert f"an earlier run in {run} was moved to {run}.1" in capsys.readouterr().out
    assert len(history_of(run)) == len(history_of(tmp_path / "study.1")) == 2


@pytest.mark.slow
def test_the_same_command_repeats_bit_for_bit_and_sets_the_earlier_run_aside(whole_run, synthetic_root, tmp_path):
    run = tmp_path / "again"
    digests = []
    for _ in range(2):
        assert main(tiny_flags(synthetic_root, run, *EPOCHS, "--debug_trace", "--max_steps", "6")) == 0
        digests.append(hashlib.sha256((run / "trace.jsonl").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert (tmp_path / "again.1" / "train_manifest.json").is_file()
    assert trace_of(whole_run)[:6] == trace_of(run)


def exit_code_and_words(capsys, command, *flags):
    """The exit code of a command, and the one line that it leaves on stderr."""
    with pytest.raises(SystemExit) as end:
        run_command(lambda: command([str(flag) for flag in flags]))
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return end.value.code, error


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow encountered in divide")
def test_numbers_that_go_bad_stop_before_they_touch_the_weights(whole_run, synthetic_root, tmp_path, capsys):
    """Flow divided by next to nothing is infinite, and so is the loss."""
    run = tmp_path / "bad"
    flags = tiny_flags(synthetic_root, run, "--max_steps", "3", "--set", "data.flow_scale=1.0e-38")
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main(flags))
    assert end.value.code == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    (finding,) = read_json(run / "nonfinite.json", "nonfinite.schema.json")
    assert f"step {finding['step']}: loss or gradient is not finite" in line
    assert len(finding["codes"]) == 3
    assert len(finding["samples"]) == 2
    header = read_header(run / "checkpoints" / "supernet_last.ckpt")
    assert header["global_step"] == finding["step"]
    arrays = load_checkpoint(run / "checkpoints" / "supernet_last.ckpt").arrays
    assert all(np.isfinite(array).all() for name, array in arrays.items() if name.startswith("weights."))


def test_resuming_under_a_config_that_changes_the_result_is_refused_with_the_differences(
    whole_run, synthetic_root, capsys
):
    flags = tiny_flags(synthetic_root, whole_run, *EPOCHS, "--resume", "--lr", "1e-3", "--seed", "7")
    code, words = exit_code_and_words(capsys, main, *flags)
    assert code == 2
    assert "cannot resume" in words
    assert "train.lr: 0.002 -> 0.001" in words
    assert "seed: 42 -> 7" in words


def test_resuming_on_other_data_is_refused(whole_run, synthetic_root, tmp_path, capsys):
    def one_scene_less(root):
        for file in (root / "train").glob("0000000-*"):
            file.unlink()

    fewer = copy_with(synthetic_root, tmp_path, one_scene_less)
    code, words = exit_code_and_words(capsys, main, *tiny_flags(fewer, whole_run, *EPOCHS, "--resume"))
    assert code == 2
    assert "cannot resume" in words
    assert "data.digest: " in words


def test_data_that_changed_after_indexing_are_noticed(whole_run, synthetic_root, tmp_path, capsys):
    root = copy_with(synthetic_root, tmp_path, truncated_flow)
    index = json.loads((whole_run / "data_index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "root": str(root)}))
    flags = tiny_flags(root, tmp_path / "run", "--set", f"data.index={tmp_path / 'index.json'}")
    code, words = exit_code_and_words(capsys, main, *flags)
    assert code == 2
    assert "0000001-flow_01.flo" in words


def test_a_checkpoint_of_another_width_is_refused(whole_run, synthetic_root, capsys):
    flags = tiny_flags(synthetic_root, whole_run, "--set", "network.init_neurons=6")
    code, words = exit_code_and_words(capsys, supernet_eval.main, *flags)
    assert code == 2
    assert "network.init_neurons: 4 -> 6" in words


def test_a_second_run_in_the_same_directory_is_refused_with_its_owner(whole_run, synthetic_root, capsys):
    with open(whole_run / ".lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, words = exit_code_and_words(capsys, main, *tiny_flags(synthetic_root, whole_run, "--max_steps", "1"))
    assert code == 2
    assert "is training in this run directory" in words
    assert f"pid {(whole_run / '.lock').read_text().split()[-1]}" in words


def copy_with(synthetic_root, folder, damage):
    """A copy of the data set with one fault."""
    root = folder / "data"
    shutil.copytree(synthetic_root, root)
    damage(root)
    return root


def empty_split(root):
    for file in (root / "val").iterdir():
        file.unlink()


def tiny_image(root):
    import cv2

    from edgeflownas.data.flow_files import write_flow

    for number in (0, 1):
        cv2.imwrite(str(root / "train" / f"0000002-img_{number}.png"), np.zeros((20, 20, 3), np.uint8))
    write_flow(root / "train" / "0000002-flow_01.flo", np.zeros((20, 20, 2), np.float32))


def truncated_flow(root):
    path = root / "train" / "0000001-flow_01.flo"
    path.write_bytes(path.read_bytes()[:-100])


def nan_flow(root):
    from edgeflownas.data.flow_files import read_flow, write_flow

    path = root / "val" / "0000001-flow_01.flo"
    flow = read_flow(path)
    flow[3, 4, 0] = np.nan
    write_flow(path, flow)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, ["no such data folder"]),
        (empty_split, ["val", "empty"]),
        (tiny_image, ["0000002", "20x20", "smaller than the crop"]),
        (truncated_flow, ["0000001-flow_01.flo", "bytes"]),
        (nan_flow, ["0000001-flow_01.flo", "not finite"]),
    ],
)
def test_bad_data_end_with_one_line_and_nothing_half_written(synthetic_root, tmp_path, capsys, damage, words):
    root = copy_with(synthetic_root, tmp_path, damage)
    run = tmp_path / "run"
    code, line = exit_code_and_words(capsys, main, *tiny_flags(root, run, "--max_steps", "1"))
    assert code == 2
    assert str(root) in line
    assert all(word in line for word in words)
    # What was read of good samples is kept, and does not hinder the run that follows the repair.
    assert [file.name for file in run.glob("*")] in ([], [JOURNAL_FILE])
    RunDirectory(run).refuse_foreign_folder()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--set", "train.bathc_size=2"], "did you mean train.batch_size?"),
        (["--set", "train.lr=fast"], "train.lr: expected a number"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such config file"),
        (["--set", "network.search_space=nowhere"], "search space 'nowhere'"),
        (["--batch_size", "8", "--set", "train.steps_per_epoch=null"], "only 7 samples"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_wrong_flags_end_with_one_line_and_nothing_half_written(synthetic_root, tmp_path, capsys, flags, words):
    run = tmp_path / "run"
    code, line = exit_code_and_words(capsys, main, *tiny_flags(synthetic_root, run, *flags))
    assert code == 2
    assert words in line
    assert list(run.glob("*")) == []


def test_a_wrong_arch_code_is_refused_before_anything_is_loaded(whole_run, synthetic_root, capsys):
    flags = tiny_flags(synthetic_root, whole_run, "--arch", "0,0,0,0,3,0,0,0,0")
    code, line = exit_code_and_words(capsys, supernet_eval.main, *flags)
    assert code == 2
    assert "value must be in {0,1,2}, got 3 at position 4 (H0Out)" in line


def test_a_required_gpu_that_is_not_there_is_an_error_and_else_a_loud_warning(
    whole_run, synthetic_root, tmp_path, capsys
):
    from edgeflownas.config import resolve_config
    from edgeflownas.devices import check_device, gpu_visible

    if gpu_visible():
        pytest.skip("this machine has a GPU")
    device = check_device(resolve_config("config/config.yaml", {"train.gpu_device": 0}))
    assert device["kind"] == "cpu"
    assert device["requested"] == 0
    assert "WARNING: --gpu_device 0: no such GPU here" in capsys.readouterr().err
    with pytest.raises(UserError, match="sees no GPU 0"):
        check_device(resolve_config("config/config.yaml", {"train.gpu_device": 0, "train.require_gpu": True}))
