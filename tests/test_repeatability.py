"""The same step from the same weights gives the same bits, whatever the threads do in between."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from edgeflownas.devices import keep_order_of_sums
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.readers import readers
from edgeflownas.training.evaluation import Batch, Evaluator
from edgeflownas.training.supernet_model import TrainingModel
from tests.graphs import executed_nodes
from tests.networks import started_network
from tests.test_backends import JAX_PYTHON, ROOT

SPACE = load_search_space()
CODES = fair_cycle(SPACE, seed=5, step=0)
WIDTH = 4
SETTINGS = {"learning_rate": 1e-4, "weight_decay": 4e-5, "grad_clip": 5.0}


@pytest.fixture(autouse=True, scope="module")
def order_of_sums():
    keep_order_of_sums()


def random_batch(masked):
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (2, 45, 60, 6)).astype(np.float32)
    flow = rng.normal(0, 0.5, (2, 45, 60, 2)).astype(np.float32)
    known = rng.integers(0, 2, (2, 45, 60, 1)).astype(np.float32)
    return frames, np.concatenate([flow, known], axis=-1) if masked else flow


def long_sums(nodes):
    """The sums of three and more tensors in one operation: `AddN` begins with whichever buffer is free just then."""
    assert len(nodes) > 100
    return [f"{node.name}: {list(node.input)}" for node in nodes if node.op == "AddN" and node.attr["N"].i > 2]


@pytest.mark.parametrize("execution", ["fused", pytest.param("sequential", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("rewritten", "masked"),
    [
        (True, False),
        pytest.param(False, False, marks=pytest.mark.slow),
        pytest.param(True, True, marks=pytest.mark.slow),
    ],
)
def test_no_sum_of_a_training_step_leaves_its_order_to_the_threads(execution, rewritten, masked):
    model = TrainingModel(started_network(SPACE, WIDTH, rewritten=rewritten), execution, **SETTINGS)
    nodes = executed_nodes(lambda: model.train_cycle(*random_batch(masked), CODES, lr=1e-4))
    assert sum(node.op == "AddN" for node in nodes) > 10
    assert long_sums(nodes) == []


@pytest.mark.parametrize("masked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_sum_of_recalibration_judging_and_prediction_leaves_its_order_to_the_threads(masked):
    evaluator = Evaluator(started_network(SPACE, WIDTH, rewritten=True), WIDTH, flow_scale=5.0)
    batch = Batch(*random_batch(masked), samples=2)

    def evaluate():
        evaluator.evaluate(CODES[None], [batch], [batch])
        evaluator.predict(CODES, [batch], batch.frames)

    assert long_sums(executed_nodes(evaluate)) == []


def test_readers_hand_out_the_value_and_sum_the_gradients():
    x = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        first, second, third, fourth = readers(x, 4)
        loss = tf.reduce_sum(first + 10.0 * second + 100.0 * third + 1000.0 * fourth)
    np.testing.assert_array_equal(loss, 3333.0)
    np.testing.assert_array_equal(tape.gradient(loss, x), [1111.0, 1111.0])
    assert readers(x, 1) == [x]


def repeats(*flags, python=sys.executable, **variables):
    command = [python, "-m", "benchmarks.repeatability", "--json", *flags]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return [(row["way"], row["times"], row["different"]) for row in json.loads(done.stdout)["rows"]]


@pytest.mark.slow
@pytest.mark.parametrize("library", ["Eigen", "oneDNN"])
def test_steps_and_evaluations_repeat_bit_for_bit_under_load(library):
    # More threads than cores, and a busy neighbour: before sums kept their order, 7 of 80 fused steps differed.
    found = repeats(
        *("--sizes", "180x240x16x2", "--times", "60", "--threads", "8", "--load", "1"),
        TF_ENABLE_ONEDNN_OPTS=str(int(library == "oneDNN")),
    )
    assert found == [("fused", 60, 0), ("sequential", 60, 0), ("evaluation", 60, 0), ("masked", 60, 0)]


@pytest.mark.slow
def test_steps_and_evaluations_repeat_bit_for_bit_under_jax():
    if not JAX_PYTHON:
        pytest.skip("EDGEFLOWNAS_JAX_PYTHON names no Python with requirements-jax.lock installed; see .ci/run")
    found = repeats("--sizes", "48x64x4x2", "--times", "60", "--load", "1", python=JAX_PYTHON, KERAS_BACKEND="jax")
    assert found == [("fused", 60, 0), ("sequential", 60, 0), ("evaluation", 60, 0), ("masked", 60, 0)]


def test_the_benchmark_counts_what_differs_from_the_commonest_result_of_its_batch(monkeypatch):
    from benchmarks import repeatability

    turns = iter([*range(5), *range(5), 0, 7, 2, 9, 4])
    monkeypatch.setattr(repeatability, "training", lambda *_: lambda *_: [np.array([next(turns)])])
    assert repeatability.repeat("8x8x4x2", "fused", 15)["different"] == 2
