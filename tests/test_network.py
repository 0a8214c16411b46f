"""The network: a path of the supernet is the subnet, whichever way it is run."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from edgeflownas.artifacts import load_schema
from edgeflownas.config import resolve_config
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import describe_code
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.model_shape_check import check_shapes
from edgeflownas.nas.search_space import ChoiceBlock, SearchSpace, load_search_space
from edgeflownas.network.cost import supernet_params
from edgeflownas.network.flow_network import FlowNetwork, network_of
from edgeflownas.network.initial_weights import option_kernels
from edgeflownas.network.kinds import KINDS, Convolution
from edgeflownas.network.layers import Conv, resize_bilinear
from edgeflownas.network.routes import FairCycle, FixedPath, SwitchedPath
from edgeflownas.network.statistics import (
    BatchStatistics,
    GivenStatistics,
    RecordedStatistics,
    mean_and_variance,
    normalised,
)
from edgeflownas.training.evaluation import batch_norm_owners, path_statistics
from tests.networks import started_network
from tests.spaces import eleven_block_space

WIDTH = 6


@pytest.fixture(params=["9 blocks of 3", pytest.param("11 blocks of 2 and 3", marks=pytest.mark.slow)], scope="module")
def network(request, tmp_path_factory):
    nine = request.param.startswith("9")
    space = load_search_space() if nine else eleven_block_space(tmp_path_factory.mktemp("space"))
    return started_network(space, WIDTH)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).uniform(-1, 1, (2, 45, 60, 6)).astype(np.float32)


def difference(a, b):
    return max(float(ops.max(ops.abs(x - y))) for x, y in zip(a, b, strict=True))


def test_outputs_come_back_at_odd_sizes():
    network = FlowNetwork(load_search_space(), 2, seed=0)
    for height, width in ((180, 240), (45, 60), (61, 83)):
        frames = ops.zeros((1, height, width, 6))
        flows = network(frames, route=FixedPath((0,) * 9), statistics=BatchStatistics())
        half = (-(-height // 2), -(-width // 2))
        quarter = (-(-half[0] // 2), -(-half[1] // 2))
        assert [tuple(flow.shape) for flow in flows] == [
            (1, 1, *quarter, 4),
            (1, 1, *half, 4),
            (1, 1, height, width, 4),
        ]


def test_each_path_of_a_fair_cycle_equals_the_fixed_and_the_switched_subnet(network, frames):
    for step in range(3):
        codes = fair_cycle(network.space, seed=7, step=step)
        together = network(frames, route=FairCycle(ops.convert_to_tensor(codes)), statistics=BatchStatistics())
        for path, code in enumerate(codes):
            mine = [flow[path] for flow in together]
            fixed = network(frames, route=FixedPath(tuple(code)), statistics=BatchStatistics())
            switched = network(frames, route=SwitchedPath(ops.convert_to_tensor(code)), statistics=BatchStatistics())
            assert difference(mine, [flow[0] for flow in fixed]) <= 1e-5
            assert difference(mine, [flow[0] for flow in switched]) <= 1e-5


def test_recorded_statistics_of_a_path_are_those_of_the_fixed_subnet(network, frames):
    codes = fair_cycle(network.space, seed=9, step=0)
    recorded = RecordedStatistics()
    together = network(frames, route=FairCycle(ops.convert_to_tensor(codes)), statistics=recorded)
    cycle = [[ops.convert_to_numpy(values) for values in statistics] for statistics in recorded.taken]
    owners = batch_norm_owners(network.space, WIDTH)
    assert len(cycle) == len(owners)
    for path, code in enumerate(codes):
        alone = RecordedStatistics()
        network(frames, route=FixedPath(tuple(code)), statistics=alone)
        mine = path_statistics(cycle, owners, codes, path)
        assert len(mine) == len(alone.taken)
        for (mean, variance), (other_mean, other_variance) in zip(mine, alone.taken, strict=True):
            np.testing.assert_allclose(mean, other_mean, atol=1e-5)
            np.testing.assert_allclose(variance, other_variance, rtol=1e-4, atol=1e-5)
        judged = network(frames, route=FixedPath(tuple(code)), statistics=GivenStatistics(mine))
        assert difference([flow[path] for flow in together], [flow[0] for flow in judged]) <= 1e-5


def test_statistics_are_per_path():
    x = np.random.default_rng(1).normal(size=(3, 40, 1, 1, 2)) * np.reshape([1.0, 5.0, 9.0], (3, 1, 1, 1, 1))
    mean, variance = mean_and_variance(ops.convert_to_tensor(x.astype(np.float32)))
    np.testing.assert_allclose(mean, x.mean(axis=(1, 2, 3), keepdims=True), atol=1e-6)
    np.testing.assert_allclose(variance, x.var(axis=(1, 2, 3), keepdims=True), rtol=1e-5)


def test_the_closed_gradient_of_batch_norm_is_that_of_the_chain_rule():
    rng = np.random.default_rng(2)
    # Means far from zero, where a careless variance loses its digits.
    x = tf.constant(rng.normal(30.0, 2.0, (3, 200, 1, 1, 4)).astype(np.float32))
    gamma, beta = tf.constant([0.5, 1.0, -1.0, 2.0]), tf.constant([0.0, 1.0, 2.0, -3.0])
    weighting = rng.normal(size=x.shape).astype(np.float32)

    def value_and_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            y = function(x, gamma, beta)
            loss = ops.sum(y * weighting)
        return [y, *tape.gradient(loss, [x, gamma, beta])]

    closed = value_and_gradients(BatchStatistics().normalise)
    chain = value_and_gradients(lambda x, gamma, beta: normalised(x, mean_and_variance(x), gamma, beta))
    for mine, other in zip(closed, chain, strict=True):
        np.testing.assert_allclose(mine, other, atol=3e-5 * np.abs(other).max())


def test_weights_are_a_function_of_the_seed_alone():
    first, again, other = (FlowNetwork(load_search_space(), 2, seed=seed).trainable_variables for seed in (3, 3, 4))
    names = [variable.name for variable in first]
    assert len(set(names)) == len(names)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [(a, c) for a, c in zip(first, other, strict=True) if "kernel" in a.name]
    assert all(not np.array_equal(a, c) for a, c in kernels)


def test_initial_kernels_without_keras_are_those_of_the_network(network):
    weights = {variable.name: np.array(variable) for variable in network.trainable_variables}
    of_options = {name for name in weights if ".option" in name and network.option_of(name) and "kernel" in name}
    found = {}
    for block, option, kernels in option_kernels(network.space, WIDTH, seed=1):
        found |= kernels
        digit = [choice.name for choice in network.space.blocks].index(block)
        assert all(network.option_of(name) == (digit, option) for name in kernels)
    assert found.keys() == of_options
    for name, kernel in found.items():
        np.testing.assert_array_equal(kernel, weights[name])


def test_before_training_subnets_of_any_depth_are_the_same_function(frames):
    network = FlowNetwork(load_search_space(), WIDTH, seed=1)

    def flows(code):
        return network(frames, route=FixedPath(code), statistics=BatchStatistics())

    lightest, *others = (flows((*depths, 0, 1, 2, 0, 1)) for depths in ((0,) * 4, (2,) * 4, (0, 1, 2, 1)))
    assert all(difference(lightest, other) == 0.0 for other in others)
    assert difference(lightest, flows((0, 0, 0, 0, 1, 1, 2, 0, 1))) > 1e-3


def test_every_weight_belongs_to_its_option_or_to_all():
    network = FlowNetwork(load_search_space(), 2, seed=0)
    assert network.option_of("EB1.option2.block0.conv1.kernel") == (1, 2)
    assert network.option_of("H2Out.option0.kernel") == (8, 0)
    assert network.option_of("H1.norm.gamma") is None
    assert network.option_of("E0.option0.kernel") is None
    heads = {variable.name for variable in network.trainable_variables if network.is_head_kernel(variable.name)}
    assert heads == {f"H{scale}Out.option{option}.kernel" for scale in range(3) for option in range(3)}
    owners = {network.option_of(variable.name) for variable in network.trainable_variables}
    assert owners == {None} | {(digit, option) for digit in range(9) for option in range(3)}


def test_the_resize_is_bilinear_with_half_pixel_centres():
    x = ops.reshape(ops.convert_to_tensor([0.0, 1.0]), (1, 1, 1, 2, 1))
    # Centres of 4 pixels lie at -0.25, 0.25, 0.75, 1.25 of the 2; the outer two are clamped.
    np.testing.assert_allclose(np.ravel(resize_bilinear(x, 1, 4)), [0.0, 0.25, 0.75, 1.0], atol=1e-7)


def test_no_layer_keeps_running_statistics():
    network = FlowNetwork(load_search_space(), 2, seed=0)
    assert network.non_trainable_variables == []
    assert keras.backend.backend() in ("tensorflow", "jax")


class Row:
    """A toy kind: two convolutions in a row at a place for one, the second with kernel 3."""

    place = "kernel"

    def label(self, value):
        return f"conv {value}x{value} and 3x3"

    def short(self, value):
        return f"{value}+3"

    def convolutions(self, value, filters_in, filters_out):
        sizes = {
            "first": Convolution(value, filters_in, filters_out),
            "second": Convolution(3, filters_out, filters_out),
        }
        return {f".{name}": convolution for name, convolution in sizes.items()}

    def norms(self, value):
        return 0

    def layers(self, value, filters_in, filters_out, name, build):
        return [
            Conv(spec, strides, build.seed, name + part, build.precision, build.gain)
            for strides, (part, spec) in zip(
                (build.strides, 1), self.convolutions(value, filters_in, filters_out).items(), strict=True
            )
        ]

    def run(self, layers, x, size, statistics):
        return layers[1](layers[0](x, size=size))


def test_a_new_kind_of_block_is_one_class(frames, monkeypatch):
    monkeypatch.setitem(KINDS, "row", Row())
    blocks = (ChoiceBlock("E0", "row", (3, 5)), ChoiceBlock("DB0", "depth", (1, 2)), ChoiceBlock("H2", "row", (5, 3)))
    space = SearchSpace("rows", blocks, (0, 0, 0))
    network = started_network(space, WIDTH)
    assert network.count_params() == supernet_params(space, WIDTH)
    weights = {variable.name: ops.convert_to_numpy(variable) for variable in network.variables}
    found = {name: kernel for *_, kernels in option_kernels(space, WIDTH, seed=1) for name, kernel in kernels.items()}
    assert {"E0.option1.first.kernel", "H2.option0.second.kernel"} <= found.keys()
    for name, kernel in found.items():
        np.testing.assert_array_equal(weights[name], kernel)

    codes = fair_cycle(space, seed=7, step=0)
    recorded = RecordedStatistics()
    together = network(frames, route=FairCycle(ops.convert_to_tensor(codes)), statistics=recorded)
    assert len(recorded.taken) == len(batch_norm_owners(space, WIDTH))
    for path, code in enumerate(codes):
        fixed = network(frames, route=FixedPath(tuple(code)), statistics=BatchStatistics())
        assert difference([flow[path] for flow in together], [flow[0] for flow in fixed]) <= 1e-5
    assert describe_code((1, 0, 1), space)[0] == {
        "block": "E0",
        "kind": "row",
        "option": 1,
        "label": "conv 5x5 and 3x3",
    }
    # At a stage of residual blocks it has no place.
    with pytest.raises(UserError, match="EB0 is of kind depth, not row"):
        FlowNetwork(SearchSpace("rows", (ChoiceBlock("EB0", "row", (3,)),), (0,)), WIDTH, seed=1)


def test_the_schema_names_every_kind():
    block = load_schema("search_space.schema.json")["properties"]["blocks"]["items"]
    assert block["properties"]["kind"]["enum"] == list(KINDS)


def test_the_networks_precision_is_the_configs(monkeypatch):
    config = resolve_config(None, {"train.precision": "mixed_bfloat16", "network.init_neurons": 2})
    made = []

    def remembered(config, space):
        made.append(network_of(config, space))
        return made[-1]

    monkeypatch.setattr("edgeflownas.network.flow_network.network_of", remembered)
    (result,) = check_shapes(config, load_search_space(), [(0,) * 9], 45, 60, 1)
    assert result["faults"] == []
    (network,) = made
    assert {layer.compute_dtype for stage in network.stage_layers[:1] for layer in stage.options[0]} == {"bfloat16"}
