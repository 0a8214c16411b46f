"""The command `space_eval`: all subnets, however it was cut, killed and resumed; and what it says of bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import PROJECT_ROOT, sha256_file
from edgeflownas.errors import EXIT_INTERRUPTED, CannotWrite, UserError
from edgeflownas.locks import take_lock
from edgeflownas.nas import supernet_eval
from edgeflownas.nas.space_eval import main
from edgeflownas.runs.records import METRICS, read_history, subnet_epes
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.selection.parts import Parts
from edgeflownas.selection.tables import FACTS, SAMPLE_EPES, TABLE, read_evaluated
from edgeflownas.train_supernet import main as train
from tests.spaces import small_space
from tests.tiny import tiny_flags

FILES = (TABLE, SAMPLE_EPES)


@pytest.fixture(scope="module")
def small_run(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of the space of 16 subnets, to the run's own end. Tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("small")
    flags = ("--num_epochs", "2", "--lr", "1e-3", "--set", f"network.search_space={small_space(folder)}")
    assert train(tiny_flags(synthetic_root, folder / "run", *flags)) == 0
    return folder / "run"


@pytest.fixture
def evaluate(small_run: Path):
    """Evaluate the space of 16 subnets with some flags."""

    def evaluate(folder: Path, *flags: str, run: Path = small_run) -> None:
        assert main(["--run_dir", str(run), "--out", str(folder / TABLE), "--quiet", *flags]) == 0

    return evaluate


@pytest.fixture(scope="module")
def whole(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the evaluated space of 16 subnets."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["--run_dir", str(small_run), "--out", str(folder / TABLE), "--quiet"]) == 0
    return folder


def digests(folder: Path) -> list[str]:
    return [sha256_file(folder / name) for name in FILES]


def parts_of(folder: Path) -> list[Path]:
    return sorted((folder / "parts").rglob("*.npz"))


@pytest.mark.slow
def test_all_subnets_of_the_nine_blocks_and_the_pool_as_the_run_evaluated_it(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / TABLE
    assert main(["--run_dir", str(whole_run), "--checkpoint", "last", "--out", str(out)]) == 0
    found = read_evaluated(tmp_path)
    assert len(set(found.table["code"])) == len(found.table) == 19683
    assert found.sample_epes.shape == (19683, 3)
    assert np.isfinite(found.table.drop(columns="code").to_numpy(float)).all()

    table = found.table.set_index("code")
    last = read_history(whole_run / "eval_epe_history.csv")[-1]
    assert len(subnet_epes(last)) == 12
    for code, epe in subnet_epes(last).items():
        assert table.loc[code, "epe"] == pytest.approx(epe, abs=1e-5)
    assert found.facts["zero_flow_epe"] == last["zero_flow_epe"]
    facts = found.facts["checkpoint"]
    assert (facts["path"], facts["global_step"]) == ("checkpoints/supernet_last.ckpt", 25)
    assert facts["sha256"] == sha256_file(whole_run / "checkpoints" / "supernet_last.ckpt")
    assert found.facts["estimate"]["subnets"] == 19683

    # What was said beforehand, and that it took about as long as it said.
    said = capsys.readouterr()
    assert "19683 subnets of edgeflow_9x3 as a tree of 4509 nodes: 0.0181 TMAC" in said.err
    assert "about " in said.err
    assert "% evaluated, " in said.err
    assert f"written to {out}" in said.out
    assert 0.1 < found.facts["seconds"] / found.facts["estimate"]["seconds"] < 10


@pytest.mark.slow
def test_the_table_is_that_of_the_ordinary_command(small_run: Path, whole: Path, tmp_path: Path) -> None:
    found = read_evaluated(whole)
    codes = [",".join(code) for code in found.table["code"]]
    flags = ["--config", "config/config.yaml", "--set", f"network.search_space={small_run.parent / 'small.yaml'}"]
    config = RunDirectory(small_run).read_config({}).values
    for key in ("network.height", "network.width", "network.init_neurons", "eval.batch_size", "eval.max_samples"):
        flags += ["--set", f"{key}={config[key]}"]
    flags += ["--data_root", config["data.root"], "--output_dir", str(small_run), "--out", str(tmp_path / "eval.json")]
    assert supernet_eval.main([*flags, "--checkpoint", "best", "--quiet", "--arch", *codes]) == 0
    ordinary = json.loads((tmp_path / "eval.json").read_text())
    for (_, row), expected in zip(found.table.iterrows(), ordinary["subnets"], strict=True):
        assert row["epe"] == pytest.approx(expected["epe"], abs=1e-5)
        assert row["epe_error"] == pytest.approx(expected["epe_error"], abs=1e-5)
        assert [row[name] for name in METRICS[1:]] == pytest.approx([expected[name] for name in METRICS[1:]], abs=4e-4)
    assert found.facts["zero_flow_epe"] == ordinary["zero_flow_epe"]
    assert found.facts["config_hash"] == RunDirectory(small_run).read_config({}).hash


@pytest.mark.slow
def test_shards_in_any_order_give_the_same_bytes(whole: Path, evaluate, tmp_path: Path) -> None:
    for shard in ("3/3", "1/3", "2/3"):
        with pytest.raises(UserError, match="subtrees are missing"):
            evaluate(tmp_path, "--merge")
        evaluate(tmp_path, "--shard", shard)
    evaluate(tmp_path, "--merge")
    assert digests(tmp_path) == digests(whole)
    mine, others = parts_of(tmp_path), parts_of(whole)
    assert [path.name for path in mine] == [path.name for path in others]
    assert [path.read_bytes() for path in mine] == [path.read_bytes() for path in others]


def test_a_missing_shard_is_named_with_what_to_do(evaluate, tmp_path: Path) -> None:
    evaluate(tmp_path, "--shard", "1/2")
    with pytest.raises(
        UserError, match=r"2 of 4 subtrees are missing: 000100, 100100; run their shards, or the command with"
    ):
        evaluate(tmp_path, "--merge")
    assert not (tmp_path / TABLE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_evaluation_continues_with_the_subtrees_that_are_left(
    small_run: Path, whole: Path, evaluate, tmp_path: Path, number: signal.Signals
) -> None:
    words = ["edgeflownas.nas.space_eval", "--run_dir", str(small_run), "--out", str(tmp_path / TABLE)]
    killed = subprocess.Popen([sys.executable, "-m", *words], cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "parts").rglob("*.json")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(number)
    _, said = killed.communicate()
    if number == signal.SIGTERM:
        assert (killed.returncode, said.splitlines()[-1]) == (EXIT_INTERRUPTED, "interrupted")
        assert "Traceback" not in said
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*.json")}
    evaluate(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert digests(tmp_path) == digests(whole)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_finished_evaluation_is_not_repeated(whole: Path, evaluate, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    before = digests(tmp_path)
    for name in (*FILES, FACTS):
        (tmp_path / name).unlink()
    monkeypatch.setattr("edgeflownas.selection.space_evaluation.restored_network", None)
    evaluate(tmp_path)
    assert digests(tmp_path) == before


def test_a_damaged_part_is_evaluated_again(whole: Path, evaluate, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    first, second, *_ = parts_of(tmp_path)
    first.write_bytes(first.read_bytes()[:-5])
    second.with_suffix(".json").write_text("{")
    with pytest.raises(UserError, match="2 of 4 subtrees are missing: 000000, 000100;"):
        evaluate(tmp_path, "--merge")
    evaluate(tmp_path)
    assert digests(tmp_path) == digests(whole)


def test_parts_of_another_evaluation_are_left_alone(whole: Path, evaluate, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    before = parts_of(tmp_path)
    with pytest.raises(UserError, match="4 of 4 subtrees are missing"):
        evaluate(tmp_path, "--samples", "2", "--merge")
    evaluate(tmp_path, "--samples", "2")
    assert read_evaluated(tmp_path).sample_epes.shape == (16, 2)
    assert len(parts_of(tmp_path)) == 2 * len(before)
    np.testing.assert_array_equal(read_evaluated(tmp_path).sample_epes, read_evaluated(whole).sample_epes[:, :2])


def test_two_at_once_is_refused_with_the_other_ones_name(
    small_run: Path, whole: Path, evaluate, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    with take_lock(parts_of(tmp_path)[2].parent / ".100000.lock", "elsewhere pid 4711"):
        with pytest.raises(UserError, match="elsewhere pid 4711 is evaluating subtree 100000 of the same space"):
            evaluate(tmp_path)
        # Other subtrees are free.
        evaluate(tmp_path, "--shard", "1/4")
    assert digests(tmp_path) == digests(whole)


def test_a_full_disk_in_the_middle_loses_nothing(evaluate, whole: Path, tmp_path: Path, monkeypatch) -> None:
    save = Parts.save

    def full(self: Parts, subtree, part) -> None:
        if self.tree.name_of(subtree) == "100000":
            raise CannotWrite(self.arrays(subtree), OSError(28, os.strerror(28)))
        save(self, subtree, part)

    monkeypatch.setattr(Parts, "save", full)
    with pytest.raises(CannotWrite, match=r"100000.npz: cannot be written: No space left on device; free space there"):
        evaluate(tmp_path)
    assert [path.stem for path in parts_of(tmp_path)] == ["000000", "000100"]
    monkeypatch.setattr(Parts, "save", save)
    evaluate(tmp_path)
    assert digests(tmp_path) == digests(whole)


def test_a_space_above_the_limit_is_refused_with_the_figures(evaluate, tmp_path: Path) -> None:
    words = (
        r"evaluating its 16 subnets takes 0\.\d+ TMAC \(\d+ nodes, 16 recalibration and 3 validation samples\), more "
    )
    with pytest.raises(
        UserError, match=words + r"than selection.max_tmacs 1e-05: raise it, or evaluate on fewer samples"
    ):
        evaluate(tmp_path, "--set", "selection.max_tmacs=0.00001")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "network.init_neurons",
            "6",
            "was trained with another network than the config describes: network.init_neurons: 4",
        ),
        (
            "network.search_space",
            "edgeflow_9x3",
            "was trained with another network than the config describes: search_sp",
        ),
    ],
)
def test_a_checkpoint_of_another_space_or_width_is_refused(evaluate, tmp_path, key, value, words) -> None:
    with pytest.raises(UserError, match=words):
        evaluate(tmp_path, "--set", f"{key}={value}")


def test_a_run_that_never_finished_is_refused_unless_its_checkpoint_is_named(
    small_run: Path, evaluate, tmp_path: Path
) -> None:
    run = shutil.copytree(small_run, tmp_path / "run")
    manifest = json.loads((run / "train_manifest.json").read_text())
    (run / "train_manifest.json").write_text(json.dumps(manifest | {"stopped_because": "max_epochs"}))
    with pytest.raises(
        UserError, match="has not finished, it stopped because of max_epochs: continue it with --resume, or"
    ):
        evaluate(tmp_path / "out", run=run)
    (run / "train_manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"has not finished \(train_manifest.json is missing\): continue it with --resume"
    ):
        evaluate(tmp_path / "out", run=run)
    evaluate(
        tmp_path / "out", "--shard", "1/4", "--checkpoint", str(run / "checkpoints" / "supernet_last.ckpt"), run=run
    )
    with pytest.raises(UserError, match=r"elsewhere: no run directory: it has no config.json"):
        evaluate(tmp_path / "out", run=tmp_path / "elsewhere")


def test_other_bad_input_is_one_sentence(small_run: Path, evaluate, tmp_path: Path, capsys) -> None:
    with pytest.raises(UserError, match=r"eval.max_samples: expected a whole number, at least 1"):
        evaluate(tmp_path, "--samples", "0")
    with pytest.raises(UserError, match=r"expected a path that ends in subnets.csv"):
        main(["--run_dir", str(small_run), "--out", str(tmp_path / "table.csv")])
    with pytest.raises(UserError, match="nowhere: no such data folder"):
        evaluate(tmp_path, "--data_root", str(tmp_path / "nowhere"))
    for shard in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(SystemExit):
            evaluate(tmp_path, "--shard", shard)
        assert "expected I/N with I from 1 to N" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_found(small_run: Path, evaluate, tmp_path: Path) -> None:
    from edgeflownas.runs.checkpoints import load_checkpoint, save_checkpoint

    run = shutil.copytree(small_run, tmp_path / "run")
    path = RunDirectory(run).best
    checkpoint = load_checkpoint(path)
    arrays = dict(checkpoint.arrays)
    arrays["weights.DB1.option1.block0.norm0.gamma"] = arrays["weights.DB1.option1.block0.norm0.gamma"] * np.nan
    save_checkpoint(path, checkpoint.header, arrays)
    with pytest.raises(
        UserError, match="subnet 0,0,0,1,0,0,0,0,0 has an EPE that is not finite: its weights are damaged"
    ):
        evaluate(tmp_path / "out", run=run)


def test_json_for_programs(whole: Path, evaluate, tmp_path: Path, capsys) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    evaluate(tmp_path, "--json")
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / FACTS).read_text())
    evaluate(tmp_path, "--shard", "2/3", "--json")
    shard = json.loads(capsys.readouterr().out)
    assert shard["subtrees"] == ["000100"]
    assert [path.parent for path in parts_of(tmp_path)] == [Path(shard["folder"])] * 4


@pytest.mark.slow
def test_jax_without_tensorflow_gives_the_same_numbers(small_run: Path, whole: Path, tmp_path: Path) -> None:
    python = os.environ.get("EDGEFLOWNAS_JAX_PYTHON")
    if not python:
        pytest.skip("EDGEFLOWNAS_JAX_PYTHON names no Python with requirements-jax.lock installed")
    words = [python, "-m", "edgeflownas.nas.space_eval", "--run_dir", str(small_run), "--out", str(tmp_path / TABLE)]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(words, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mine, other = read_evaluated(tmp_path), read_evaluated(whole)
    assert (mine.facts["backend"], other.facts["backend"]) == ("jax", "tensorflow")
    np.testing.assert_allclose(mine.sample_epes, other.sample_epes, atol=1e-5)
