"""XLA under TensorFlow, which every GPU run uses, gives what TensorFlow gives without it. Compiled here for the CPU."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from tensorflow.python.framework import config as tf_config

from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.training import supernet_model
from edgeflownas.training.evaluation import Batch, Evaluator
from edgeflownas.training.supernet_model import TrainingModel
from tests.graphs import executed_nodes
from tests.networks import started_network

SPACE = load_search_space()
CODES = fair_cycle(SPACE, seed=5, step=0)
WIDTH = 4

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def without_op_determinism():
    """Keras compiles nothing while TensorFlow's op determinism is on, as a training in this process leaves it."""
    was_on = tf_config.is_op_determinism_enabled()
    tf_config.disable_op_determinism()
    yield
    if was_on:
        tf.config.experimental.enable_op_determinism()


def random_batch(seed):
    rng = np.random.default_rng(seed)
    frames = rng.uniform(-1, 1, (2, 45, 60, 6)).astype(np.float32)
    return frames, rng.normal(0, 0.5, (2, 45, 60, 2)).astype(np.float32)


def by_xla(nodes):
    """Whether XLA ran the convolutions: TensorFlow's executor saw none, or within a function marked for XLA."""
    return any(node.attr["_XlaMustCompile"].b for node in nodes) or not any("Conv2D" in node.op for node in nodes)


def of_both_ways(monkeypatch, compute):
    """What `compute` finds with a network of this machine, and compiled by XLA with one as a GPU has it."""
    found = {}
    for compiled in (False, True):
        monkeypatch.setattr(supernet_model, "jit_compile", lambda compiled=compiled: compiled)
        network = started_network(SPACE, WIDTH, rewritten=False if compiled else None)
        nodes = executed_nodes(lambda: found.__setitem__(compiled, compute(network)))  # noqa: B023
        assert by_xla(nodes) == compiled
    return found[False], found[True]


@pytest.mark.parametrize("execution", ["fused", "sequential"])
def test_a_training_step_compiled_by_xla_is_the_one_without(monkeypatch, execution):
    def step(network):
        model = TrainingModel(network, execution, learning_rate=1e-4, weight_decay=4e-5, grad_clip=5.0)
        observed = model.train_cycle(*random_batch(0), CODES, lr=1e-4)
        return observed, ops.convert_to_numpy(model.optimizer.moment_1)

    (plain, plain_moment), (compiled, compiled_moment) = of_both_ways(monkeypatch, step)
    np.testing.assert_allclose(compiled["losses"], plain["losses"], atol=1e-5)
    for norm in ("global_grad_norm_before", "global_grad_norm_after"):
        assert compiled[norm] == pytest.approx(plain[norm], rel=1e-3)
    counts = ("forward", "backward", "optimizer_step")
    assert [compiled[name] for name in counts] == [plain[name] for name in counts] == [3, 3, 1]
    assert np.linalg.norm(compiled_moment - plain_moment) <= 1e-3 * np.linalg.norm(plain_moment)


def test_recalibration_judging_and_prediction_compiled_by_xla_are_those_without(monkeypatch):
    def judge(network):
        evaluator = Evaluator(network, WIDTH, flow_scale=5.0)
        batches = [Batch(*random_batch(seed), samples=2) for seed in (1, 2)]
        statistics, shifts, _ = evaluator.recalibrate(CODES[None], batches)
        rows = evaluator.measure(CODES[None], statistics, batches)
        flow, sigma, _ = evaluator.predict(CODES, batches, batches[0].frames)
        return [values for norm in statistics[0] for values in norm], shifts, rows, (flow, sigma)

    plain, compiled = of_both_ways(monkeypatch, judge)
    for mine, other in zip(compiled[0], plain[0], strict=True):
        assert np.linalg.norm(mine - other) <= 1e-3 * np.linalg.norm(other)
    np.testing.assert_allclose(compiled[1], plain[1], rtol=1e-3)
    for mine, other in zip(compiled[2], plain[2], strict=True):
        assert mine["code"] == other["code"]
        assert mine["epe"] == pytest.approx(other["epe"], rel=1e-5)
        assert mine["fl_all"] == pytest.approx(other["fl_all"], abs=1e-3)
    for mine, other in zip(compiled[3], plain[3], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)
