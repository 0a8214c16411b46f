"""The rules of the data: what is generated where, and what is never touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT, read_json


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

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "data", "--profile", "local", "--configfile", str(self._config)]
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
