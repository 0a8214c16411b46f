"""Two clones and one environment: what the gates certify is what their commands run, or the call is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.reporting.launch_scripts import Resources, render_scripts
from tests.toy_workflow import ToyWorkflow

WITHOUT_PATH = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
WHERE = "import edgeflownas; print(edgeflownas.__file__)"


@pytest.fixture
def clone(tmp_path: Path) -> ToyWorkflow:
    """A second clone; the environment has the package of the first one."""
    (tmp_path / "other clone").mkdir()
    return ToyWorkflow(tmp_path / "other clone")


def parse(clone: ToyWorkflow, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A dry run of the second clone's Snakefile, started in `cwd`."""
    command = [sys.executable, "-m", "snakemake", "-n", "gate1", "--snakefile", str(clone.root / "Snakefile")]
    environment = WITHOUT_PATH | {"PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


@pytest.mark.slow
def test_a_snakefile_whose_commands_would_run_another_clones_package_is_refused(clone, tmp_path: Path) -> None:
    for cwd in (tmp_path, PROJECT_ROOT):
        run = parse(clone, cwd)
        (line,) = [line for line in run.stdout.splitlines() if line.startswith("error: ")]
        assert f"the Snakefile of {clone.root} is used" in line
        assert f"the package of {PROJECT_ROOT} runs" in line
        assert f"start snakemake in {clone.root}" in line
        assert "Traceback" not in run.stdout
        assert run.returncode == 2


@pytest.mark.slow
def test_the_remedies_work(clone, tmp_path: Path) -> None:
    assert parse(clone, clone.root).returncode == 0
    assert parse(clone, tmp_path, PYTHONPATH=str(clone.root)).returncode == 0
    # Python's safe path does without the working directory, so that the first remedy is none.
    assert parse(clone, clone.root, PYTHONSAFEPATH="1").returncode == 2


def test_launch_scripts_run_the_package_that_rendered_them(tmp_path: Path) -> None:
    scripts = render_scripts(["python", "-c", WHERE], Resources(1, 1, 1, 0), tmp_path)
    for other in ("", "/a/third/place"):
        for text in scripts.values():
            environment = WITHOUT_PATH | ({"PYTHONPATH": other} if other else {})
            done = subprocess.run(
                ["bash"], input=text, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
            )
            assert done.stdout.strip() == str(PROJECT_ROOT / "edgeflownas/__init__.py")


def test_launch_scripts_of_another_clone_run_that_one(clone, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeflownas.reporting.launch_scripts", "--out", str(tmp_path / "launch")]
    subprocess.run([*command, "--", "python", "-c", WHERE], cwd=tmp_path, env=clone.environment, check=True)
    for place in ("local", "hpc"):
        script = tmp_path / "launch" / place / "run_supernet_train.sh"
        done = subprocess.run(["bash", script], env=WITHOUT_PATH, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(clone.root / "edgeflownas/__init__.py")
