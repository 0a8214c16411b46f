"""One training step: fused equals sequential, what is logged is observed, judging changes nothing."""

import keras
import numpy as np
import pytest
from keras import ops

from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.fair_sampler import fair_cycle, independent_paths
from edgeflownas.nas.ranking import standard_errors
from edgeflownas.nas.search_space import ChoiceBlock, SearchSpace, load_search_space
from edgeflownas.network.kinds import Depth
from edgeflownas.network.layers import resize_bilinear
from edgeflownas.network.routes import FixedPath
from edgeflownas.network.statistics import GivenStatistics
from edgeflownas.runs.records import METRICS
from edgeflownas.runs.weight_change import option_weight_changes
from edgeflownas.training.evaluation import Batch, Evaluator, path_statistics
from edgeflownas.training.losses import path_losses
from edgeflownas.training.metrics import flow_metrics
from edgeflownas.training.schedule import learning_rate
from edgeflownas.training.supernet_model import TrainingModel
from tests.networks import started_network

SPACE = load_search_space()
WIDTH = 6


def training_model(execution):
    network = started_network(SPACE, WIDTH)
    return TrainingModel(network, execution, learning_rate=1e-4, weight_decay=4e-5, grad_clip=5.0)


def random_batch(seed, size=2):
    rng = np.random.default_rng(seed)
    frames = rng.uniform(-1, 1, (size, 45, 60, 6)).astype(np.float32)
    return frames, rng.normal(0, 0.5, (size, 45, 60, 2)).astype(np.float32)


def gradients(model):
    """The gradient of the first update, read back from Adam's first moment (it starts at zero)."""
    variables = model.network.trainable_variables
    flat = ops.convert_to_numpy(model.optimizer.moment_1) / (1.0 - model.optimizer.beta_1)
    parts = np.split(flat, np.cumsum([np.prod(variable.shape) for variable in variables])[:-1])
    return {variable.name: part.reshape(variable.shape) for variable, part in zip(variables, parts, strict=True)}


def restart(model, weights):
    """Set weights and optimizer back to where they were before any step."""
    for variable, value in zip(model.network.trainable_variables, weights, strict=True):
        variable.assign(value)
    for variable in model.optimizer.variables:
        variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))


@pytest.fixture(scope="module")
def fused():
    return training_model("fused")


@pytest.fixture(scope="module")
def sequential():
    return training_model("sequential")


@pytest.fixture(scope="module")
def evaluator(fused):
    """One for all tests, for the sake of its graphs: it holds no state of its own."""
    return Evaluator(fused.network, WIDTH, flow_scale=20.0)


@pytest.fixture(scope="module")
def initial_weights(fused):
    return [ops.convert_to_numpy(variable) for variable in fused.network.trainable_variables]


def test_the_fused_step_equals_the_sequential_one_in_losses_and_every_gradient(fused, sequential, initial_weights):
    for step in range(4):
        frames, flow = random_batch(step)
        codes = fair_cycle(SPACE, seed=5, step=step)
        observed, found = {}, {}
        for name, model in (("fused", fused), ("sequential", sequential)):
            restart(model, initial_weights)
            observed[name] = model.train_cycle(frames, flow, codes, lr=1e-4)
            found[name] = gradients(model)
        np.testing.assert_allclose(observed["fused"]["losses"], observed["sequential"]["losses"], atol=1e-5)
        for name, gradient in found["sequential"].items():
            error = np.linalg.norm(found["fused"][name] - gradient) / np.linalg.norm(gradient)
            assert error <= 1e-4, f"{name}: {error:.1e}"


def test_the_trace_counts_what_happened(fused, sequential, initial_weights):
    for model in (fused, sequential):
        restart(model, initial_weights)
        for step in range(2):
            observed = model.train_cycle(*random_batch(step), fair_cycle(SPACE, 5, step), lr=1e-4)
            assert (observed["forward"], observed["backward"], observed["optimizer_step"]) == (3, 3, 1)
            assert len(observed["losses"]) == 3


def test_backward_counts_only_paths_whose_options_all_receive_a_gradient(fused, initial_weights):
    restart(fused, initial_weights)
    variables = fused.network.trainable_variables
    # With a zero kernel behind it, H2's chosen option gets no gradient from its path's finest head.
    for variable in variables:
        if variable.name.startswith("H2Out."):
            variable.assign(ops.zeros(variable.shape))
    frames, flow = random_batch(0)
    assert fused.train_cycle(frames, flow, fair_cycle(SPACE, 5, 0), lr=1e-4)["backward"] == 0


def test_expectation_fairness_runs_any_codes_sequentially(sequential, initial_weights):
    restart(sequential, initial_weights)
    codes = independent_paths(SPACE, seed=0, step=3)
    assert any(len(set(column)) < 3 for column in codes.T)
    observed = sequential.train_cycle(*random_batch(3), codes, lr=1e-4)
    assert (observed["forward"], observed["backward"], observed["optimizer_step"]) == (3, 3, 1)


@pytest.mark.slow
def test_training_after_an_evaluation_continues_as_if_it_had_not_taken_place(fused, evaluator, initial_weights):
    batches = [Batch(*random_batch(seed), samples=2) for seed in (11, 12)]
    ends = []
    for judging in (False, True):
        restart(fused, initial_weights)
        for step in range(3):
            fused.train_cycle(*random_batch(step), fair_cycle(SPACE, 5, step), lr=1e-3)
            if judging:
                evaluator.evaluate(eval_pool(SPACE), batches, batches)
        ends.append([ops.convert_to_numpy(v) for v in [*fused.network.variables, *fused.optimizer.variables]])
    for without, with_judging in zip(*ends, strict=True):
        np.testing.assert_array_equal(without, with_judging)


def test_judging_equals_the_fixed_subnet_with_its_averaged_statistics(fused, evaluator, initial_weights):
    restart(fused, initial_weights)
    recalibration = [Batch(*random_batch(seed), samples=2) for seed in (21, 22, 23)]
    frames, flow = random_batch(30)
    cycles = eval_pool(SPACE)[1:2]
    told = []
    results = evaluator.evaluate(cycles, recalibration, [Batch(frames, flow, samples=1)], watch=told.append)
    numbers = {"subnet": 1, "at_once": 3, "subnets": 3}
    assert told == [
        *({"part": "recalibration", "batch": batch, **numbers} for batch in (1, 2, 3)),
        {"part": "validation", "batch": 1, **numbers},
    ]
    statistics, shifts, count = evaluator.recalibrate(cycles, recalibration)
    assert count == 3
    for path, code in enumerate(cycles[0]):
        mine = path_statistics(statistics[0], evaluator._owners, cycles[0], path)
        flows = fused.network(frames, route=FixedPath(tuple(code)), statistics=GivenStatistics(mine))
        predicted = ops.convert_to_numpy(flows[-1])[0, 0, ..., :2] * 20.0
        epe = np.linalg.norm(predicted - flow[0] * 20.0, axis=-1).mean()
        assert results[path]["epe"] == pytest.approx(epe, rel=1e-5)
        assert results[path]["bn_recal_batches"] == 3
        assert results[path]["bn_shift"] == shifts[path] > 0


def test_recalibration_is_the_cumulative_average(fused, evaluator, initial_weights):
    restart(fused, initial_weights)
    cycles = eval_pool(SPACE)[:1]
    batches = [Batch(*random_batch(seed), samples=2) for seed in (1, 2, 3, 4)]
    together = evaluator.recalibrate(cycles, batches)[0][0]
    alone = [evaluator.recalibrate(cycles, [batch])[0][0] for batch in batches]
    for index, statistics in enumerate(together):
        for part in (0, 1):
            expected = np.mean([single[index][part] for single in alone], axis=0)
            np.testing.assert_allclose(statistics[part], expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_formula():
    rng = np.random.default_rng(3)
    label = rng.normal(size=(2, 8, 12, 2)).astype(np.float32)
    flows = [rng.normal(size=(3, 2, h, w, 4)).astype(np.float32) for h, w in ((2, 3), (4, 6), (8, 12))]
    losses = np.asarray(path_losses([ops.convert_to_tensor(flow) for flow in flows], ops.convert_to_tensor(label)))
    expected = np.zeros(3)
    for weight, flow in zip((0.125, 0.25, 0.5), flows, strict=True):
        target = np.asarray(resize_bilinear(ops.convert_to_tensor(label[None]), *flow.shape[2:4]))
        error, logits = np.abs(flow[..., :2] - target), flow[..., 2:].astype(np.float64)
        sigma = np.maximum(np.log1p(np.exp(logits + 1e-3)), 1e-3)
        for path in range(3):
            expected[path] += weight * (
                error[path].mean() + (error[path] / sigma[path]).mean() + np.log1p(np.exp(logits[path])).mean()
            )
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_without_uncertainty_the_loss_is_the_mean_absolute_error():
    rng = np.random.default_rng(4)
    label = rng.normal(size=(2, 4, 4, 2)).astype(np.float32)
    flows = [rng.normal(size=(3, 2, 4, 4, 4)).astype(np.float32) for _ in range(3)]
    losses = np.asarray(path_losses([ops.convert_to_tensor(flow) for flow in flows], label, uncertainty=False))
    expected = sum(
        w * np.abs(f[..., :2] - label).mean(axis=(1, 2, 3, 4)) for w, f in zip((0.125, 0.25, 0.5), flows, strict=True)
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_the_error_of_an_epe_is_what_other_samples_would_change_in_the_ranking():
    rng = np.random.default_rng(5)
    # 12 equal subnets: what differs between samples is common to all, and their own part has a deviation of 0.3 px.
    epes = 5 + rng.normal(size=400) * 4 + rng.normal(size=(12, 400)) * 0.3
    errors = standard_errors(epes)
    np.testing.assert_allclose(errors, 0.3 * np.sqrt(11 / 12) / 20, rtol=0.1)
    # Then the spread of their means is no more than that error: equal subnets are not told apart.
    assert epes.mean(axis=1).std() < 1.5 * np.sqrt(np.mean(errors**2))
    np.testing.assert_array_equal(standard_errors(np.array([[1.0], [3.0]])), [1.0, 1.0])


def test_the_metrics_are_the_fields():
    truth = np.zeros((1, 1, 4, 2), np.float32)
    truth[0, 0, 3] = (100.0, 0.0)
    flow = truth[None].copy()
    flow[0, 0, 0, :, 0] += (0.5, 2.0, 4.0, 4.0)
    values = dict(zip(METRICS, np.asarray(flow_metrics(flow, truth))[0, 0], strict=True))
    # The last pixel is off by 4 px, but by only 4% of its 100 px: an outlier, and not one for Fl-all.
    expected = {"epe": 2.625, "outliers_1px": 0.75, "outliers_3px": 0.5, "outliers_5px": 0.0, "fl_all": 0.25}
    assert values == pytest.approx(expected)


def test_the_schedule_is_a_cosine_of_the_step_alone():
    assert learning_rate(0, 100, 1e-4) == 1e-4
    assert learning_rate(50, 100, 1e-4) == pytest.approx(5e-5)
    assert learning_rate(100, 100, 1e-4) == 0.0


def test_the_schedule_warms_up_linearly_to_the_cosine():
    assert learning_rate(0, 100, 1e-4, warmup_steps=9) == pytest.approx(1e-5)
    assert learning_rate(4, 100, 1e-4, warmup_steps=9) == pytest.approx(0.5 * learning_rate(4, 100, 1e-4))
    assert learning_rate(9, 100, 1e-4, warmup_steps=9) == learning_rate(9, 100, 1e-4)


def test_the_backend_is_told_not_to_use_xla_on_cpu(fused):
    if keras.backend.backend() == "tensorflow":
        assert fused.jit_compile is False


@pytest.mark.parametrize("execution", ["fused", "sequential"])
def test_a_space_with_options_that_have_no_weights_trains_and_is_observed(execution):
    blocks = (ChoiceBlock("EB0", "depth", (0, 1)), ChoiceBlock("DB1", "depth", (1, 0)))
    space = SearchSpace("skips", blocks, (0, 0))
    model = TrainingModel(started_network(space, 4), execution, 1e-3, weight_decay=4e-5, grad_clip=5.0)
    observed = model.train_cycle(*random_batch(0), fair_cycle(space, seed=5, step=0), lr=1e-3)
    assert (observed["forward"], observed["backward"], observed["optimizer_step"]) == (2, 2, 1)
    arrays = {f"weights.{v.name}": ops.convert_to_numpy(v) for v in model.network.trainable_variables}
    assert [*option_weight_changes(arrays, space, 4, seed=1)] == ["EB0 option 1", "DB1 option 0"]
    assert [Depth().label(value) for value in (0, 1)] == ["0 residual blocks", "1 residual block"]
