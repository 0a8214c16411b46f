"""What a resumed run must agree in, what it is warned of, and how the manifest tells who computed what."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from edgeflownas.artifacts import PROJECT_ROOT, read_json
from edgeflownas.config import differences
from edgeflownas.errors import UserError
from edgeflownas.nas import search_space, supernet_eval
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.reporting.run_facts import RunFacts
from edgeflownas.runs.checkpoints import load_checkpoint, read_header, save_checkpoint
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.recovery import find_checkpoint
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.segments import continued
from edgeflownas.source_code import training_source
from edgeflownas.train_supernet import main
from edgeflownas.training import trainer
from tests.handmade_runs import edit_json
from tests.tiny import tiny_flags

LOSSES = "edgeflownas/training/losses.py"


@pytest.fixture(scope="module")
def begun(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped after its first step."""
    run = tmp_path_factory.mktemp("run") / "begun"
    assert main(tiny_flags(synthetic_root, run, "--max_steps", "1")) == 0
    return run


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(begun, tmp_path / "run"))


def manifest_of(run: Path) -> dict:
    return read_json(run / "train_manifest.json", "train_manifest.schema.json")


def other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    source = training_source() | {LOSSES: "0" * 64}
    monkeypatch.setattr(trainer, "training_source", lambda: source)


def test_a_first_segment_says_what_computed(begun: Path) -> None:
    manifest = manifest_of(begun)
    (segment,) = manifest["segments"]
    assert (segment["from_step"], segment["changed_files"], segment["precision"]) == (0, [], "float32")
    assert segment["versions"] == manifest["versions"]
    assert {"python", "keras", "numpy", "tensorflow", "opencv-python-headless"} <= segment["versions"].keys()
    assert "jax" not in segment["versions"]
    header = read_header(begun / "checkpoints/supernet_last.ckpt")
    assert header["segments"] == [segment]
    assert header["source_files"] == training_source()


def test_other_training_source_is_refused_and_everything_stays(
    run: Path, synthetic_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*.ckpt")}
    other_source(monkeypatch)
    for resume in (["--resume"], ["--resume", "auto"]):
        with pytest.raises(
            UserError, match=f"was trained by other source: {LOSSES}: changed. Undo that .*--accept_cha"
        ):
            main(tiny_flags(synthetic_root, run, *resume, "--max_steps", "2"))
    assert {path: path.read_bytes() for path in run.rglob("*.ckpt")} == before
    assert not (run / "recoveries.json").exists()


@pytest.mark.slow
def test_accepted_source_goes_on_and_stays_visible(
    run: Path, synthetic_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = manifest_of(run)["segments"][0]
    other_source(monkeypatch)
    flags = tiny_flags(synthetic_root, run, "--resume", "--max_steps", "2", "--accept_changed_code")
    assert main(flags) == 0
    assert f"WARNING: the run continues with other source: {LOSSES}: changed" in capsys.readouterr().err
    manifest = manifest_of(run)
    assert manifest["segments"][0] == first
    second = manifest["segments"][1]
    assert (second["from_step"], second["changed_files"]) == (1, [f"{LOSSES}: changed"])
    assert second["source"] != first["source"]
    assert manifest_faults(run / "train_manifest.json") == []
    strict = manifest_faults(run / "train_manifest.json", strict=True)
    assert any(f"from step 1 on: other source than before: {LOSSES}: changed" in fault for fault in strict)
    facts = RunFacts.read(run)
    caution = f"From step 1 on the run continued with other source, which was accepted: {LOSSES}: changed."
    assert caution in facts.cautions()
    assert [name for name, _ in facts.reproduction()][-2:] == ["from step 0 on", "from step 1 on"]
    # It is the source of now: the next resume needs no flag, and tells of all three.
    assert main(tiny_flags(synthetic_root, run, "--resume", "--max_steps", "3")) == 0
    assert [segment["from_step"] for segment in manifest_of(run)["segments"]] == [0, 1, 2]
    assert manifest_of(run)["segments"][2]["changed_files"] == []


@pytest.mark.slow
def test_other_versions_are_a_warning(
    run: Path, synthetic_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0" if name == "numpy" else installed(name))
    assert main(tiny_flags(synthetic_root, run, "--resume", "--max_steps", "2")) == 0
    change = f"another numpy: {installed('numpy')!r} -> '99.0'"
    assert f"WARNING: the run continues with {change}; expect" in capsys.readouterr().err
    assert [segment["versions"]["numpy"] for segment in manifest_of(run)["segments"]] == [installed("numpy"), "99.0"]


def test_another_device_is_a_warning(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = load_checkpoint(begun / "checkpoints/supernet_last.ckpt")
    here = checkpoint.header["segments"][0] | {"device": {"kind": "gpu", "name": "another one"}}
    segments = continued(checkpoint, here, training_source(), accepted=False)
    assert segments[1]["from_step"] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the run continues with another device: " in line
    assert "-> 'another one'" in line


def test_the_newest_checkpoint_is_refused_for_its_source_before_an_older_one_is_taken(tmp_path: Path) -> None:
    """The best one is of the source of now, the last one of another that had been accepted: neither is lost."""
    run = RunDirectory(tmp_path / "run")
    for path, step, source in ((run.best, 1, "old"), (run.last, 2, "new")):
        header = {"global_step": step, "epoch": 0, "progress": {}, "identity": {}, "source_files": {"a.py": source}}
        save_checkpoint(path, header | {"segments": [{"git_commit": "c" * 40}]}, {"weights.a": np.zeros(3)})
    with pytest.raises(
        UserError, match=r"supernet_last.ckpt: was trained by other source: a.py: changed.*cccccccccccc\)"
    ):
        find_checkpoint(run, {}, pytest.fail, lambda found: continued(found, {}, {"a.py": "old"}, False))
    assert run.checkpoints == [run.last, run.best]


@pytest.mark.parametrize("change", ["order", "reference"])
def test_a_space_whose_file_changed_under_its_name_is_refused(
    change: str, run: Path, synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load((search_space.SEARCH_SPACE_FOLDER / "edgeflow_9x3.yaml").read_text())
    if change == "order":
        # Two blocks of the same kind and options change places: weights have the same names, codes other meanings.
        values["blocks"][:2] = values["blocks"][1::-1]
    else:
        values["reference"] = [1] * 9
    (tmp_path / "edgeflow_9x3.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(search_space, "SEARCH_SPACE_FOLDER", tmp_path)
    with pytest.raises(UserError, match=f"cannot resume.*search_space.{change}: "):
        main(tiny_flags(synthetic_root, run, "--resume", "--max_steps", "2"))
    if change == "order":
        with pytest.raises(UserError, match=r"was trained with another network .*search_space.order"):
            supernet_eval.main(tiny_flags(synthetic_root, run))


def test_all_that_makes_a_space_is_among_its_facts() -> None:
    space = load_search_space()
    block = space.blocks[0]
    for changed, key in (
        (replace(space, reference=(1,) * 9), "search_space.reference"),
        (replace(space, blocks=(*space.blocks[1:], block)), "search_space.order"),
        (replace(space, blocks=(replace(block, kind="kernel"), *space.blocks[1:])), "search_space.block.EB0"),
        (replace(space, blocks=(replace(block, options=(3, 2, 1)), *space.blocks[1:])), "search_space.block.EB0"),
    ):
        assert [line.split(":")[0] for line in differences(space.facts(), changed.facts())] == [key]


def test_a_manifest_whose_segments_do_not_fit_is_refused(run: Path) -> None:
    path = run / "train_manifest.json"
    manifest = json.loads(path.read_text())
    edit_json(path, segments=[manifest["segments"][0] | {"from_step": 1}], backend="jax")
    faults = manifest_faults(path)
    assert "its segments begin with steps [1], expected 0 to 1 in order" in faults[0]
    assert "backend 'jax' is not that of its last segment" in faults[1]


@pytest.mark.slow
def test_doubling_the_loss_on_disk_refuses_a_resume_and_rewording_a_progress_line_does_not(
    synthetic_root: Path, tmp_path: Path
) -> None:
    """The real thing: the package as a copy, edited under a run."""
    for name in ("edgeflownas", "config", "schemas"):
        shutil.copytree(PROJECT_ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    flags = tiny_flags(synthetic_root, Path("run"))

    def train(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeflownas.train_supernet", *flags, *more]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    def edit(path: str, old: str, new: str) -> None:
        text = (tmp_path / path).read_text()
        assert old in text
        (tmp_path / path).write_text(text.replace(old, new, 1))

    assert train("--max_steps", "1").returncode == 0
    edit("edgeflownas/runs/monitor.py", "starting: building", "begins: building")
    assert train("--max_steps", "2", "--resume").returncode == 0
    edit(LOSSES, "    return total\n", "    return 2 * total\n")
    refused = train("--max_steps", "3", "--resume")
    assert refused.returncode == 2
    assert f"was trained by other source: {LOSSES}: changed. " in refused.stderr
    assert train("--max_steps", "3", "--resume", "auto", "--accept_changed_code").returncode == 0
    segments = manifest_of(tmp_path / "run")["segments"]
    assert [segment["changed_files"] for segment in segments] == [[], [], [f"{LOSSES}: changed"]]
