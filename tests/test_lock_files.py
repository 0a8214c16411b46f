"""What is written from the locks says the same as they do."""

import runpy

import yaml

from edgeflownas.artifacts import PROJECT_ROOT


def test_conda_environment_holds_every_locked_package_in_its_version() -> None:
    lock = (PROJECT_ROOT / "requirements.lock").read_text()
    written = (PROJECT_ROOT / "environment.yml").read_text()
    environment = runpy.run_path(str(PROJECT_ROOT / "scripts/conda_environment.py"))["environment"]
    assert written == environment(lock), "run scripts/conda_environment.py"
    content = yaml.safe_load(written)
    assert content["name"] == "tf_work_hpc"
    assert len(content["dependencies"][-1]["pip"]) == sum("==" in line for line in lock.splitlines() if line[0] != " ")


def test_slurm_lock_adds_to_the_lock_and_repeats_nothing() -> None:
    locked, added = (
        {line.partition("==")[0] for line in (PROJECT_ROOT / name).read_text().splitlines() if line[0] not in " #"}
        for name in ("requirements.lock", "requirements-slurm.lock")
    )
    assert "snakemake-executor-plugin-slurm" in added
    assert not locked & added
