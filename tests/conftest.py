"""Data that several tests share."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# As `prepare_backend` does it: no test depends on the keras.json of whoever runs it.
os.environ["KERAS_HOME"] = os.devnull

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.data.synthetic import SyntheticParameters, generate
from edgeflownas.errors import UserError
from edgeflownas.gates.workflow.plan import require_package_beside
from tests.tiny import EPOCHS, tiny_flags

# On a machine that does other work at the same time, a second says nothing of the example that took it.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

REAL_PAIRS = Path(__file__).resolve().parents[2] / "shared" / "data" / "flying_chairs_examples"


def pytest_sessionstart() -> None:
    """Refuse to test one clone's package here and another's in the processes that tests start."""
    try:
        require_package_beside(PROJECT_ROOT, started_in=Path(tempfile.gettempdir()))
    except UserError as error:
        pytest.exit(str(error), returncode=2)


# Where two processes test side by side, what takes longest must not begin last.
LONGEST_FIRST = (
    "checkout",
    "test_slurm.py",
    "test_workflow_rules.py",
    "test_judging_interrupted.py",
    "test_chaos.py",
    "test_training_faults.py",
    "test_repeatability.py",
    "test_train_command.py",
    "test_gate3_layouts.py",
    "test_xla.py",
    "test_retraining.py",
    "test_space_eval.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For `pytest -n 2 --dist loadgroup`: a file's tests stay together, because they share what its fixtures make."""

    def group_of(item: pytest.Item) -> str:
        mark = item.get_closest_marker("xdist_group")
        return str(mark.args[0]) if mark else item.path.name

    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    if hasattr(config, "workerinput"):
        place = {name: number for number, name in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: place.get(group_of(item), len(place)))


@pytest.fixture(scope="session")
def real_pairs() -> Path:
    """Six training and two validation pairs of FlyingChairs2, 384x512; mark the tests with `real_data`."""
    if not REAL_PAIRS.is_dir():
        pytest.skip(f"the real FlyingChairs2 pairs are not at {REAL_PAIRS}")
    return REAL_PAIRS


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data set of 7 training and 3 validation scenes, 48x64. Tests copy it before they damage it."""
    root = tmp_path_factory.mktemp("data") / "synthetic"
    generate(root, SyntheticParameters(train=7, val=3, height=48, width=64, seed=3, max_motion=8))
    return root


@pytest.fixture(scope="session")
def whole_run(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of five epochs of five steps in one go, with TensorBoard logs. Tests do not change it."""
    from edgeflownas.train_supernet import main

    run = tmp_path_factory.mktemp("run") / "whole"
    assert main(tiny_flags(synthetic_root, run, *EPOCHS, "--debug_trace", "--set", "train.tensorboard=true")) == 0
    return run
