"""One step over several devices of a node, with the backend's own engine.

Every device holds the weights and takes its share of the batch. Batch norm's statistics are those of the whole batch
where it is synchronised, and those of each device's share where it is not.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import keras
import numpy as np

from edgeflownas.config import Config
from edgeflownas.errors import UserError

Losses = Callable[[Any, Any, Any], Any]
"""(frames, flow, codes) -> (paths,)."""


class OneDevice:
    """No distribution."""

    devices = 1
    synchronised = True

    def scope(self) -> AbstractContextManager[Any]:
        """Nothing to prepare."""
        return nullcontext()

    def average(self, value: Any) -> Any:
        """Of one device."""
        return value


class JaxReplicas(OneDevice):
    """`keras.distribution.DataParallel`: the program is written for the whole batch, and XLA divides it."""

    def __init__(self, synchronised: bool) -> None:
        if not synchronised:
            raise UserError(
                "train.sync_batch_norm false: under JAX the statistics are those of the whole batch; set it to true, "
                "or use KERAS_BACKEND=tensorflow"
            )
        self._distribution = _share_images()
        self.devices = self._distribution.num_model_replicas

    def scope(self) -> AbstractContextManager[Any]:
        """From here on, Keras places what is built."""
        keras.distribution.set_distribution(self._distribution)
        return nullcontext()


def _share_images() -> Any:
    class ShareImages(keras.distribution.DataParallel):
        """Splits arrays of images; every device gets codes and statistics, which have other ranks, completely."""

        def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
            """Where an input goes."""
            if len(data_shape) == 4 and data_shape[0] % self.num_model_replicas == 0:
                return super().get_data_layout(data_shape)
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    return ShareImages(devices=keras.distribution.list_devices())


class TensorFlowReplicas:
    """`tf.distribute.MirroredStrategy`: forward and backward on each device, one update for all."""

    def __init__(self, synchronised: bool) -> None:
        import tensorflow as tf

        self.synchronised = synchronised
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        self._strategy = tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
        self.devices: int = self._strategy.num_replicas_in_sync

    def scope(self) -> AbstractContextManager[Any]:
        """Variables made within are mirrored."""
        scope: AbstractContextManager[Any] = self._strategy.scope()
        return scope

    def average(self, value: Any) -> Any:
        """The mean of a value over the devices, within a step."""
        import tensorflow as tf

        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, value)

    def compile(
        self,
        losses_of: Losses,
        variables: Sequence[Any],
        flat: Callable[[Any], Any],
        update: Callable[[Any, Any], None],
    ) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
        """A step (frames, flow, codes) -> None.

        Args:
            losses_of: what each device computes on its share.
            variables: what to take the gradient of the mean loss of.
            flat: makes one vector of a list of gradients.
            update: is handed losses and flat gradient, both averaged over the devices.
        """
        import tensorflow as tf

        def share(frames: Any, flow: Any, codes: Any) -> tuple[Any, Any]:
            weights = [variable.value for variable in variables]
            with tf.GradientTape() as tape:
                losses = losses_of(frames, flow, codes)
                loss = tf.reduce_mean(losses)
            return losses, flat(tape.gradient(loss, weights))

        @tf.function(autograph=False)
        def step(frames: Any, flow: Any, codes: Any) -> None:
            found = self._strategy.run(share, args=(frames, flow, codes))
            update(*(self._strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None) for value in found))

        def shared(values: np.ndarray) -> Any:
            parts = np.split(values, self.devices)
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.convert_to_tensor(parts[context.replica_id_in_sync_group])
            )

        return lambda frames, flow, codes: step(shared(frames), shared(flow), tf.convert_to_tensor(codes))


@dataclass(frozen=True)
class DistributionSettings:
    """How a run is shared out over devices."""

    kind: Annotated[str, "train.distribution"]
    sync_batch_norm: Annotated[bool, "train.sync_batch_norm"]
    batch_size: Annotated[int, "train.batch_size"]


def replicas_of(config: Config) -> OneDevice | TensorFlowReplicas:
    """The devices that a run trains on, as `train.distribution` says. Imports the backend.

    Raises:
        UserError: `data_parallel` if the batch cannot be split evenly, or the requested batch norm is not possible.
    """
    settings = config.view(DistributionSettings)
    if settings.kind == "none":
        return OneDevice()
    kind = JaxReplicas if keras.backend.backend() == "jax" else TensorFlowReplicas
    replicas = kind(settings.sync_batch_norm)
    if settings.batch_size % replicas.devices:
        raise UserError(
            f"train.batch_size {settings.batch_size} cannot be split evenly over {replicas.devices} "
            "devices; expected a multiple, or fewer devices (CUDA_VISIBLE_DEVICES)"
        )
    return replicas


def distribution_facts(config: Config, replicas: OneDevice | TensorFlowReplicas) -> dict[str, Any]:
    """What the manifest records about the devices of a run."""
    return {
        "kind": config.view(DistributionSettings).kind,
        "devices": replicas.devices,
        "batch_norm": "whole batch" if replicas.synchronised else "per device",
    }
