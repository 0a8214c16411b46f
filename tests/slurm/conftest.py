"""One Slurm, and one passed run of the gates on it and on this machine, which all tests here share."""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.data.synthetic import SyntheticParameters, generate
from tests.slurm import one_node
from tests.slurm.workplace import PLUGIN_FOLDER, Workplace


def give_up(why: str) -> None:
    """Skip, with the reason; in CI a skip would hide that nothing was tested."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """A Slurm of this checkout's own: the variables with which its clients find it."""
    missing = one_node.missing_programs()
    if missing:
        give_up(f"Slurm is not installed here ({', '.join(missing)}): apt-get install slurm-wlm munge")
    if PLUGIN_FOLDER is None and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        give_up("Snakemake's Slurm executor is not installed here: pip install -r requirements-slurm.lock")
    # Always the same folder, so that what a killed run of the tests left is found and ended.
    checkout = hashlib.sha256(str(PROJECT_ROOT).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"edgeflownas-slurm-{checkout}"
    yield one_node.start(folder)
    one_node.stop(folder)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in a folder whose name would be a command to a careless shell."""
    root = tmp_path_factory.mktemp("data") / "a; touch pwned"
    generate(root, SyntheticParameters(train=12, val=3, height=48, width=64, seed=3, max_motion=16))
    return root


@pytest.fixture(scope="session")
def places(
    slurm: dict[str, str], data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workplace, Workplace]]:
    """Gates 1 to 4 passed on Slurm, and by the same config on this machine at the same time.

    Gate 1 is cancelled once on Slurm, so each later test also shows that the next call just works.
    """
    cluster = Workplace(tmp_path_factory.mktemp("cluster"), "slurm", data_root, slurm)
    local = Workplace(tmp_path_factory.mktemp("local"), "local", data_root, slurm)
    here = local.begin("gate4")
    there = cluster.begin("gate1")
    cluster.cancel(cluster.wait_for_job("gate1"))
    cluster.cancelled = cluster.finish(there)
    site = ["--default-resources", "tasks=1", "slurm_partition=main"]
    assert cluster.finish(cluster.begin("gate4", *site))[0] == 0, cluster.output()
    cluster.gate_jobs = cluster.submitted()
    assert local.finish(here)[0] == 0, local.output()
    yield cluster, local
    for place in (cluster, local):
        shutil.rmtree(place.root)
