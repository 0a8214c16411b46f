"""Four ways to take the same training step: the two of the package, and two to compare them with."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.flow_network import FlowNetwork
from edgeflownas.network.routes import FixedPath, Options
from edgeflownas.network.statistics import mean_and_variance, normalised
from edgeflownas.training.losses import path_losses
from edgeflownas.training.supernet_model import TrainingModel

Step = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
"""(frames, flow, codes) -> whatever; everything is done when it returns."""

SETTINGS = {"learning_rate": 1e-4, "weight_decay": 4e-5, "grad_clip": 5.0}


class PlainStatistics:
    """Batch norm as one writes it down, with the gradient that follows from that."""

    def normalise(self, x: Any, gamma: Any, beta: Any) -> Any:
        """x (P, B, H, W, C) normalised by its own statistics."""
        return normalised(x, mean_and_variance(x), gamma, beta)


class MaskedPath:
    """One path the way of the predecessor: every option is computed, and all but one multiplied by zero."""

    def __init__(self, code: Any) -> None:
        self.code = code

    def __call__(self, digit: int, options: Options, x: Any) -> Any:
        """Weighted sum of all options."""
        mask = ops.one_hot(self.code[digit], len(options), dtype=x.dtype)
        return sum(mask[index] * option(x) for index, option in enumerate(options))


class MaskedModel(TrainingModel):
    """Sequential training whose paths are masked instead of switched, of plain operations."""

    def call(self, inputs: dict[str, Any]) -> list[Any]:
        """Flow at three scales for one path."""
        route = MaskedPath(inputs["codes"][0])
        return self.network(inputs["frames"], route=route, statistics=PlainStatistics())


def package_step(space: SearchSpace, width: int, way: str) -> Step:
    """`fused`, `sequential` or `masked`: one update of a training model."""
    if way == "masked":
        model: TrainingModel = MaskedModel(FlowNetwork(space, width, seed=0, rewritten=False), "sequential", **SETTINGS)
    else:
        model = TrainingModel(FlowNetwork(space, width, seed=0), way, **SETTINGS)
    return lambda frames, flow, codes: model.train_cycle(frames, flow, codes, lr=1e-4)


def floor_step(space: SearchSpace, width: int, codes: np.ndarray) -> Step:
    """Three fixed subnets of plain operations, forward and backward one after another, then one update.

    Each has a graph of its own, with only its options in it: what one would write by hand for these three codes.
    """
    network = FlowNetwork(space, width, seed=0, rewritten=False)
    updating = TrainingModel(network, "fused", **SETTINGS)
    passes = [_fixed_gradient(network, tuple(int(digit) for digit in code)) for code in codes]
    update = _compiled(lambda *gradients: updating.optimizer.apply(list(gradients), network.trainable_variables))

    def step(frames: np.ndarray, flow: np.ndarray, _: np.ndarray) -> None:
        totals: list[Any] = [0.0] * len(network.trainable_variables)
        for run, indices in passes:
            for index, gradient in zip(
                indices, run(ops.convert_to_tensor(frames), ops.convert_to_tensor(flow)), strict=True
            ):
                totals[index] = totals[index] + gradient
        update(*totals)
        ops.convert_to_numpy(updating.optimizer.global_norms)

    return step


def _fixed_gradient(network: FlowNetwork, code: tuple[int, ...]) -> tuple[Callable[..., Any], list[int]]:
    """A compiled function from a batch to the gradients of the variables that the subnet has, and their indices."""
    import tensorflow as tf  # the floor is measured with TensorFlow alone

    owned = [network.option_of(variable.name) for variable in network.trainable_variables]
    indices = [i for i, owner in enumerate(owned) if owner is None or code[owner[0]] == owner[1]]
    variables = [network.trainable_variables[index].value for index in indices]

    def run(frames: Any, flow: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            flows = network(frames, route=FixedPath(code), statistics=PlainStatistics())
            loss = ops.mean(path_losses(flows, flow)) / network.space.cycle_length
        return tape.gradient(loss, variables)

    return _compiled(run), indices


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    assert keras.backend.backend() == "tensorflow"
    compiled: Callable[..., Any] = tf.function(function, autograph=False)
    return compiled
