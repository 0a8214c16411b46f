"""The same command trains under JAX, in an environment that has no TensorFlow, with the losses of TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import history_of, tiny_flags, trace_of

JAX_PYTHON = os.environ.get("EDGEFLOWNAS_JAX_PYTHON")
ROOT = Path(__file__).resolve().parents[1]


def train(python, backend, data_root, run):
    command = [python, "-m", "edgeflownas.train_supernet"]
    command += tiny_flags(data_root, run, "--debug_trace", "--max_epochs", "1", "--max_steps", "5")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return trace_of(run)


def test_the_backend_is_imported_without_collections_and_left_out_of_later_ones():
    program = (
        "import gc; from edgeflownas.config import resolve_config; from edgeflownas.devices import prepare_backend; "
        "config = resolve_config(None, {}); gc.collect(); "
        "before = gc.get_stats()[0]['collections']; prepare_backend(config); "
        "print(gc.get_stats()[0]['collections'] - before, gc.get_freeze_count(), gc.isenabled()); "
        "frozen = gc.get_freeze_count(); kept = [[] for _ in range(9999)]; prepare_backend(config); "
        "print(gc.get_freeze_count() - frozen)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    collections, frozen, enabled, frozen_later = done.stdout.split()
    assert int(collections) == 0
    assert int(frozen) > 100_000
    assert enabled == "True"
    # What lives when the next command of the same process begins can still be freed.
    assert int(frozen_later) <= 0


@pytest.mark.slow
def test_jax_without_tensorflow_gives_the_losses_of_tensorflow(synthetic_root, tmp_path):
    if not JAX_PYTHON:
        pytest.skip("EDGEFLOWNAS_JAX_PYTHON names no Python with requirements-jax.lock installed; see .ci/run")
    probe = "import importlib.util as u; print(bool(u.find_spec('jax')), bool(u.find_spec('tensorflow')))"
    found = subprocess.run([JAX_PYTHON, "-c", probe], check=True, capture_output=True, text=True).stdout
    assert found.split() == ["True", "False"]
    jax = train(JAX_PYTHON, "jax", synthetic_root, tmp_path / "jax")
    tensorflow = train(sys.executable, "tensorflow", synthetic_root, tmp_path / "tensorflow")
    assert [line["codes"] for line in jax] == [line["codes"] for line in tensorflow]
    assert len(jax) == 5
    for mine, other in zip(jax, tensorflow, strict=True):
        np.testing.assert_allclose(mine["losses"], other["losses"], rtol=1e-3)
        assert (mine["forward"], mine["backward"], mine["optimizer_step"]) == (3, 3, 1)
    np.testing.assert_allclose(
        history_of(tmp_path / "jax")["mean_epe_12"], history_of(tmp_path / "tensorflow")["mean_epe_12"], rtol=1e-2
    )
