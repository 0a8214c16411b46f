"""A step shared by two devices is the step of one; what the run says about it is in its manifest."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from edgeflownas.runs.checkpoints import load_checkpoint
from tests.test_backends import JAX_PYTHON, ROOT
from tests.tiny import tiny_flags, trace_of

# |e| and ReLU have kinks: where rounding puts one element on another side of one, the gradient jumps by that element.
# With these samples and weights, that happens to one element at 5 px (JAX; the losses agree to 1e-7), and to none here.
AWAY_FROM_KINKS = ("--set", "data.flow_scale=20")


def train(data_root, run, *flags, backend="tensorflow", python=sys.executable, module="tests.two_devices"):
    steps = ("--debug_trace", "--max_epochs", "1", "--max_steps", "1", *AWAY_FROM_KINKS)
    command = [python, "-m", module, *tiny_flags(data_root, run, *steps, *flags)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def step_of(run):
    """Losses, gradient norm and (from Adam's first moment, which starts at zero) gradient of the only step."""
    line = trace_of(run)[0]
    arrays = load_checkpoint(run / "checkpoints" / "supernet_last.ckpt").arrays
    moments = [value for name, value in arrays.items() if name.startswith("optimizer.") and value.ndim == 1]
    return np.array(line["losses"]), line["global_grad_norm_before"], max(moments, key=len)


def largest_difference(run, other):
    (losses, norm, gradient), (losses_2, norm_2, gradient_2) = step_of(run), step_of(other)
    return max(
        np.abs(losses / losses_2 - 1).max(),
        abs(norm / norm_2 - 1),
        np.abs(gradient - gradient_2).max() / np.abs(gradient_2).max(),
    )


def distribution_of(run):
    return json.loads((run / "train_manifest.json").read_text())["distribution"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_with_synchronised_batch_norm_the_step_of_two_devices_is_that_of_one(synthetic_root, tmp_path, backend):
    python = sys.executable if backend == "tensorflow" else JAX_PYTHON
    if not python:
        pytest.skip("EDGEFLOWNAS_JAX_PYTHON names no Python with requirements-jax.lock installed; see .ci/run")
    ways = {
        "one": (),
        "two": ("--set", "train.distribution=data_parallel"),
        "apart": ("--set", "train.distribution=data_parallel", "--set", "train.sync_batch_norm=false"),
    }
    done = {
        way: train(synthetic_root, tmp_path / way, *flags, backend=backend, python=python)
        for way, flags in ways.items()
    }
    assert done["one"].returncode == 0, done["one"].stderr
    assert done["two"].returncode == 0, done["two"].stderr
    assert largest_difference(tmp_path / "two", tmp_path / "one") <= 1e-4
    assert distribution_of(tmp_path / "one") == {"kind": "none", "devices": 1, "batch_norm": "whole batch"}
    assert distribution_of(tmp_path / "two") == {"kind": "data_parallel", "devices": 2, "batch_norm": "whole batch"}
    if backend == "jax":
        assert done["apart"].returncode == 2
        assert "under JAX the statistics are those of the whole batch" in done["apart"].stderr
        return
    assert done["apart"].returncode == 0, done["apart"].stderr
    assert largest_difference(tmp_path / "apart", tmp_path / "one") >= 1e-2
    assert distribution_of(tmp_path / "apart")["batch_norm"] == "per device"


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_out_is_refused(synthetic_root, tmp_path):
    done = train(
        synthetic_root, tmp_path / "run", "--set", "train.distribution=data_parallel", "--set", "train.batch_size=3"
    )
    assert done.returncode == 2
    assert "train.batch_size 3 cannot be split evenly over 2 devices" in done.stderr


@pytest.mark.slow
def test_mixed_precision_is_near_and_resumes(synthetic_root, tmp_path):
    module = "edgeflownas.train_supernet"
    flags = ("--set", "train.precision=mixed_bfloat16")
    for name, precision in (("full", ()), ("mixed", flags)):
        done = train(synthetic_root, tmp_path / name, *precision, module=module)
        assert done.returncode == 0, done.stderr
    # bfloat16 has 8 bits: the same loss to a percent, and not the same bits.
    losses, norm, _ = step_of(tmp_path / "mixed")
    expected, expected_norm, _ = step_of(tmp_path / "full")
    np.testing.assert_allclose(losses, expected, rtol=2e-2)
    assert abs(norm / expected_norm - 1) <= 0.1
    assert not np.array_equal(losses, expected)
    assert json.loads((tmp_path / "mixed" / "train_manifest.json").read_text())["precision"] == "mixed_bfloat16"
    more = ("--resume", "--max_steps", "2")
    assert train(synthetic_root, tmp_path / "mixed", *flags, *more, module=module).returncode == 0
    assert [line["step"] for line in trace_of(tmp_path / "mixed")] == [0, 1]
    refused = train(synthetic_root, tmp_path / "mixed", *more, module=module)
    assert refused.returncode == 2
    assert "train.precision" in refused.stderr
