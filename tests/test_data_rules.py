"""The rules of the data: what is generated where, and what is never touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT, read_json
from edgeflownas.locks import take_lock

# Snakemake runs in the checkout itself, as that of another group does.
pytestmark = pytest.mark.xdist_group("checkout")


class DataWorkflow:
    """`snakemake data` on a tiny configuration, with its scenes and outputs in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.scenes, self.out = folder / "scenes", folder / "out"
        self._config = folder / "tiny.yaml"
        self._config.write_text(
            f"""
network: {{init_neurons: 4, height: 45, width: 64}}
data:
  source: synthetic
  root: {self.scenes}
  synthetic: {{train: 2, val: 1, height: 60, width: 80, seed: 7}}
workflow: {{output_dir: {self.out}}}
"""
        )

    def __call__(self, *arguments: str, target: str = "data") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", target, "--profile", "local", "--configfile", str(self._config)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EDGEFLOWNAS_")}
        return subprocess.run(
            [*command, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, env=environment
        )


@pytest.fixture
def data(tmp_path: Path) -> DataWorkflow:
    return DataWorkflow(tmp_path)


@pytest.mark.slow
def test_a_forced_call_and_one_with_other_parameters_leave_the_generated_scenes_known_as_such(
    data: DataWorkflow,
) -> None:
    assert data().returncode == 0
    marker = read_json(data.scenes / "synthetic.json")
    assert data("--forceall").returncode == 0
    refused = data("--config", "data={synthetic: {train: 3}}")
    assert refused.returncode == 2
    assert "was generated with other parameters (train is 2, wanted 3)" in refused.stderr
    assert read_json(data.scenes / "synthetic.json") == marker
    assert "Nothing to be done" in data().stderr


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("-n",)], ids=["run", "dry run"])
def test_nothing_is_generated_where_it_is_not_asked_for_or_where_something_lies(
    data: DataWorkflow, more: tuple[str, ...]
) -> None:
    typo = data.scenes.parent / "typo"
    asked = data(*more, "--config", f"data={{root: {typo}}}")
    assert (asked.returncode, typo.exists()) == (2, False)
    assert "data.root is given alone: does" in asked.stderr
    data.scenes.mkdir()
    (data.scenes / "holiday.jpg").write_bytes(b"sea")
    refused = data(*more)
    assert refused.returncode == 2
    assert "holds files that were not generated" in refused.stderr
    assert [path.name for path in data.scenes.iterdir()] == ["holiday.jpg"]
    assert not data.out.exists()


@pytest.mark.slow
def test_what_is_refused_or_fails_unmakes_no_index(data: DataWorkflow, tmp_path: Path) -> None:
    assert data().returncode == 0
    own = ("--config", f"data_root={tmp_path / 'own'}")
    shutil.copytree(data.scenes, tmp_path / "own")
    index = data.out / "data_index.json"
    assert data(*own).returncode == 0
    first = index.read_bytes()
    assert read_json(index)["root"] == str(tmp_path / "own")

    # A root that is not there, and a forced rule that fails.
    refused = data("--config", f"data_root={tmp_path / 'typo'}")
    assert (refused.returncode, index.read_bytes()) == (1, first)
    assert "typo: no such data folder" in refused.stdout + refused.stderr
    (tmp_path / "own").rename(tmp_path / "moved")
    assert data(*own, "-R", "data_index").returncode == 1
    (tmp_path / "moved").rename(tmp_path / "own")
    assert index.read_bytes() == first
    assert "Nothing to be done" in data(*own).stderr

    # It is built again when a file came or went, when it was edited or is gone, and for other data.
    for change in (
        (tmp_path / "own/val/notes.txt").touch,
        lambda: index.write_text("{}"),
        index.unlink,
    ):
        change()
        assert "Nothing to be done" not in data(*own, "-n").stderr
        assert data(*own).returncode == 0
        assert read_json(index)["root"] == str(tmp_path / "own")
        assert "Nothing to be done" in data(*own).stderr
    assert data().returncode == 0
    assert read_json(index)["root"] == str(data.scenes)
    assert data(*own).returncode == 0
    assert read_json(index)["root"] == str(tmp_path / "own")


@pytest.mark.slow
def test_deleting_all_output_leaves_data_index_and_scenes(data: DataWorkflow) -> None:
    assert data().returncode == 0
    before = {path: path.read_bytes() for path in (data.scenes / "synthetic.json", data.out / "data_index.json")}
    assert data("--delete-all-output").returncode == 0
    assert {path: path.read_bytes() for path in before} == before
    assert data().returncode == 0
    assert "Nothing to be done" in data().stderr


@pytest.mark.slow
def test_a_call_without_hooks_or_that_deletes_is_refused_beside_a_run(data: DataWorkflow) -> None:
    assert data().returncode == 0
    with take_lock(data.out / ".lock", "process 7"):
        for dangerous in (("--no-hooks",), ("--delete-all-output",), ("--forceall",)):
            refused = data(*dangerous)
            assert refused.returncode == 2
            assert "is in use by process 7" in refused.stderr
        for harmless in (("-n", "--no-hooks"), ("--summary",), ("--delete-all-output", "-n")):
            assert data(*harmless).returncode == 0
    assert "Nothing to be done" in data().stderr


@pytest.mark.slow
def test_a_result_as_a_target_is_answered_with_the_target_that_makes_it(data: DataWorkflow) -> None:
    for result, maker in (
        ("gates/gate3.json", "gate3"),
        ("checkpoints/supernet_best.ckpt", "gate3"),
        ("data_index.json", "data"),
        ("fidelity.json", "fidelity"),
        ("runs/supernet/report.html", "supernet"),
    ):
        refused = data(target=str(data.out / result))
        assert refused.returncode == 2
        assert f"error: {data.out / result} is no target of its own: `snakemake {maker}` makes it" in refused.stderr
        assert "Traceback" not in refused.stderr
