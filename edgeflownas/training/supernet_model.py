"""The network as Keras models: one that trains, one that recalibrates, one that predicts, one that evaluates."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from edgeflownas.devices import gpu_visible
from edgeflownas.nas.search_space import ArchCode
from edgeflownas.network.flow_network import FlowNetwork
from edgeflownas.network.routes import FairCycle, FixedPath, SwitchedPath
from edgeflownas.network.statistics import BatchStatistics, GivenStatistics, RecordedStatistics
from edgeflownas.training.distribution import OneDevice, TensorFlowReplicas
from edgeflownas.training.losses import path_losses, sigma_of
from edgeflownas.training.metrics import flow_metrics
from edgeflownas.training.optimizer import FlatAdam, head_rate


def jit_compile() -> bool:
    """XLA for JAX, which has nothing else, and on GPUs; not for TensorFlow on CPU, where it is 8 to 11 times slower."""
    return keras.backend.backend() == "jax" or gpu_visible()


class TrainingModel(keras.Model):
    """A supernet that learns by fair cycles.

    Execution 'fused' runs all paths of a cycle at once, 'sequential' one after another; both make one update per
    cycle with the mean gradient of the paths' losses.
    """

    def __init__(
        self,
        network: FlowNetwork,
        execution: str,
        learning_rate: float,
        weight_decay: float,
        grad_clip: float,
        decoupled_weight_decay: bool = False,
        scaled_head_rate: bool = True,
        uncertainty_loss: bool = True,
        replicas: OneDevice | TensorFlowReplicas | None = None,
    ) -> None:
        """To be built within the scope of `replicas`; so is `network`."""
        super().__init__(name="training")
        self.network = network
        self.execution = execution
        self.uncertainty_loss = uncertainty_loss
        self.replicas = replicas or OneDevice()
        paths = network.space.cycle_length if execution == "fused" else 1
        self.losses_seen = self.add_weight(shape=(paths,), initializer="zeros", trainable=False, name="losses_seen")
        self.built = True
        self._option_index = {
            (digit, option): index
            for index, (digit, option) in enumerate(
                (digit, option)
                for digit, block in enumerate(network.space.blocks)
                for option in range(len(block.options))
            )
        }
        owners = [network.option_of(variable.name) for variable in network.trainable_variables]
        rates = [
            head_rate(variable.shape) if scaled_head_rate and network.is_head_kernel(variable.name) else 1.0
            for variable in network.trainable_variables
        ]
        optimizer = FlatAdam(
            learning_rate,
            weight_decay=weight_decay,
            decoupled=decoupled_weight_decay,
            rates=rates,
            clip_norm=grad_clip,
            option_of=[None if owner is None else self._option_index[owner] for owner in owners],
            options=len(self._option_index),
            passes=1 if execution == "fused" else network.space.cycle_length,
        )
        optimizer.build(network.trainable_variables)
        self.compile(optimizer=optimizer, jit_compile=jit_compile())
        self._step: Callable[[np.ndarray, np.ndarray, np.ndarray], None] = self._one_device_step
        if isinstance(self.replicas, TensorFlowReplicas):
            weights = network.trainable_variables
            self._step = self.replicas.compile(self._share_losses, weights, optimizer.flat, self._update)

    def call(self, inputs: dict[str, Any]) -> list[Any]:
        """Flow at three scales for `frames` (B, H, W, 6) along `codes` (P, blocks)."""
        codes = inputs["codes"]
        route = FairCycle(codes) if self.execution == "fused" else SwitchedPath(codes[0])
        return self.network(inputs["frames"], route=route, statistics=self._statistics())

    def _statistics(self) -> BatchStatistics:
        return BatchStatistics(self.replicas.average if self.replicas.synchronised else None)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean of the paths' losses, whose gradient is the accumulated gradient of the paths."""
        losses = path_losses(y_pred, y, self.uncertainty_loss)
        self.losses_seen.assign(losses)
        return ops.mean(losses)

    def _one_device_step(self, frames: np.ndarray, flow: np.ndarray, codes: np.ndarray) -> None:
        self.train_on_batch({"frames": frames, "codes": codes}, flow)

    def _share_losses(self, frames: Any, flow: Any, codes: Any) -> Any:
        return path_losses(self({"frames": frames, "codes": codes}), flow, self.uncertainty_loss)

    def _update(self, losses: Any, gradient: Any) -> None:
        self.losses_seen.assign(losses)
        self.optimizer.apply_flat(gradient)

    def train_cycle(self, frames: np.ndarray, flow: np.ndarray, codes: np.ndarray, lr: float) -> dict[str, Any]:
        """One training step on one batch.

        Args:
            frames: (B, H, W, 6) float32 in [-1, 1].
            flow: (B, H, W, 2 or 3) float32, the batch's `labels`.
            codes: (paths, blocks) int32 of a fair cycle.
            lr: learning rate of the update.

        Returns:
            What was observed: `losses` (paths,); `forward`, paths with a finite loss; `backward`, paths all of whose
            chosen options, but for those without weights, received a gradient; `optimizer_step`, by how much the
            optimizer's own counter moved; `global_grad_norm_before` and `_after` clipping.
        """
        self.optimizer.learning_rate.assign(lr)
        updates_before = self._updates()
        losses: list[float] = []
        backward = 0
        groups = [codes] if self.execution == "fused" else [codes[path : path + 1] for path in range(len(codes))]
        for group in groups:
            self._step(frames, flow, group)
            losses += ops.convert_to_numpy(self.losses_seen).tolist()
            reached = (ops.convert_to_numpy(self.optimizer.option_gradients) > 0.0) | self.optimizer.weightless
            backward += sum(
                all(reached[self._option_index[digit, int(option)]] for digit, option in enumerate(code))
                for code in group
            )
        before, after = ops.convert_to_numpy(self.optimizer.global_norms).tolist()
        return {
            "losses": losses,
            "forward": int(np.isfinite(losses).sum()),
            "backward": backward,
            "optimizer_step": self._updates() - updates_before,
            "global_grad_norm_before": before,
            "global_grad_norm_after": after,
        }

    def _updates(self) -> int:
        return int(ops.convert_to_numpy(self.optimizer.iterations))


class RecalibrationModel(keras.Model):
    """Maps frames and the codes of a fair cycle to the batch-norm statistics of that batch."""

    def __init__(self, network: FlowNetwork) -> None:
        super().__init__(name="recalibration")
        self.network = network
        self.built = True
        self.compile(jit_compile=jit_compile())

    def call(self, inputs: dict[str, Any]) -> list[Any]:
        """(mean, variance) of every batch norm in order of execution."""
        statistics = RecordedStatistics()
        self.network(inputs["frames"], route=FairCycle(inputs["codes"]), statistics=statistics)
        return [list(pair) for pair in statistics.taken]


class PredictionModel(keras.Model):
    """Maps frames, the codes of a fair cycle and given statistics to what every path predicts."""

    def __init__(self, network: FlowNetwork, flow_scale: float) -> None:
        super().__init__(name="prediction")
        self.network = network
        self.flow_scale = flow_scale
        self.built = True
        self.compile(jit_compile=jit_compile())

    def call(self, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """Flow (P, B, H, W, 2) and its uncertainty (P, B, H, W, 2) at the finest scale, in pixels."""
        statistics = GivenStatistics(inputs["statistics"])
        finest = self.network(inputs["frames"], route=FairCycle(inputs["codes"]), statistics=statistics)[-1]
        return finest[..., :2] * self.flow_scale, sigma_of(finest[..., 2:]) * self.flow_scale


class SubnetModel(keras.Model):
    """Maps frames to what one subnet predicts, with statistics that are part of the graph: nothing else is in it."""

    def __init__(self, network: FlowNetwork, code: ArchCode, statistics: Sequence[Any], flow_scale: float) -> None:
        """Args: statistics: [mean, variance] of the subnet's batch norms, as `path_statistics` picks them."""
        super().__init__(name="subnet")
        self.network = network
        self.code = code
        self.given = statistics
        self.flow_scale = flow_scale
        self.built = True
        self.compile(jit_compile=jit_compile())

    def call(self, frames: Any) -> Any:
        """Flow (B, H, W, 2) at the finest scale, in pixels."""
        flows = self.network(frames, route=FixedPath(self.code), statistics=GivenStatistics(self.given))
        return flows[-1][0, ..., :2] * self.flow_scale


class MetricsModel(keras.Model):
    """Maps a batch, the codes of a fair cycle and given statistics to the metrics of every path and sample."""

    def __init__(self, network: FlowNetwork, flow_scale: float) -> None:
        super().__init__(name="metrics")
        self.network = network
        self.flow_scale = flow_scale
        self.built = True
        self.compile(jit_compile=jit_compile())

    def call(self, inputs: dict[str, Any]) -> Any:
        """Metrics (P, B, 5) of the finest scale, in pixels."""
        given: Sequence[Any] = inputs["statistics"]
        flows = self.network(inputs["frames"], route=FairCycle(inputs["codes"]), statistics=GivenStatistics(given))
        return flow_metrics(flows[-1][..., :2] * self.flow_scale, inputs["flow"] * self.flow_scale)
