"""The layers of the network. All take x of shape (P, B, H, W, C): paths, batch, height, width, channels.

On CPUs some of them return, and accept, the same activations folded: (P, B, H/2, W/2, 4, C), see `rewritings`.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from edgeflownas.network import rewritings
from edgeflownas.network.initial_weights import RESIDUAL_SCALE, initial_kernel
from edgeflownas.network.kinds import Convolution


def resize_bilinear(x: Any, height: int, width: int) -> Any:
    """Resize x (P, B, H, W, C) to (P, B, height, width, C), Keras's convention: half-pixel centres, clamped edges.

    No antialiasing, also when shrinking. Exports must use the same convention.
    """
    return _merge_paths(lambda y: ops.image.resize(y, (height, width), interpolation="bilinear"), x)


def unfolded(x: Any) -> Any:
    """x as (P, B, H, W, C), also where it comes folded."""
    return _merge_paths(rewritings.unfold, x) if len(x.shape) == 6 else x


def _merge_paths(function: Callable[[Any], Any], x: Any) -> Any:
    """Apply a function of (N, …) to x (P, B, …), with N = P·B."""
    paths = x.shape[0]
    y = function(ops.reshape(x, (-1, *x.shape[2:])))
    return ops.reshape(y, (paths, -1, *y.shape[1:]))


class Conv(keras.layers.Layer):
    """Bias-free 'same' convolution, after a bilinear resize where the input does not have the wanted size.

    `precision` is Keras's dtype policy: 'mixed_bfloat16' multiplies in bfloat16 and keeps the weights in float32; the
    other layers work in float32. With `folds`, the output is folded if it resizes by exactly 2; a folded input stays
    folded if there is no resize.
    """

    def __init__(
        self,
        spec: Convolution,
        strides: int,
        seed: int,
        name: str,
        precision: str,
        gain: float = 1.0,
        folds: bool = False,
    ) -> None:
        super().__init__(name=name.replace(".", "_"), dtype=precision)
        self.spec = spec
        self.strides = strides
        self.folds = folds
        self.kernel = self.add_weight(
            shape=spec.shape,
            initializer=lambda shape, dtype=None: initial_kernel(seed, f"{name}.kernel", shape, gain),
            name=f"{name}.kernel",
        )
        self.built = True

    def call(self, x: Any, size: tuple[int, int] | None = None) -> Any:
        """Map (P, B, H, W, C) to (P, B, ceil(h / strides), ceil(w / strides), F), where (h, w) is `size` or (H, W)."""
        return _merge_paths(lambda y: self._convolve(y, size), x)

    def _convolve(self, x: Any, size: tuple[int, int] | None) -> Any:
        kernel = ops.convert_to_tensor(self.kernel)
        if len(x.shape) == 5:
            if size is None:
                return rewritings.folded_convolution(x, kernel)
            x = rewritings.unfold(x)
        height, width = x.shape[1:3]
        folds = self.folds and size == (2 * height, 2 * width) and min(height, width) >= rewritings.SMALLEST
        if folds and self.spec.kernel in rewritings.upsampled_kernels():
            return rewritings.upsampled_convolution(x, kernel)
        if size not in (None, (height, width)):
            x = ops.image.resize(x, size, interpolation="bilinear")
        y = ops.conv(x, kernel, strides=self.strides, padding="same")
        return rewritings.fold(y) if folds else y


class BatchNorm(keras.layers.Layer):
    """Batch norm with given statistics; its only weights are scale and offset (Ioffe & Szegedy, 1502.03167)."""

    def __init__(self, channels: int, name: str, scale: float = 1.0) -> None:
        super().__init__(name=name.replace(".", "_"))
        start = keras.initializers.Constant(scale)
        self.gamma = self.add_weight(shape=(channels,), initializer=start, name=f"{name}.gamma")
        self.beta = self.add_weight(shape=(channels,), initializer="zeros", name=f"{name}.beta")
        self.built = True

    def call(self, x: Any, statistics: Any) -> Any:
        """Normalise x (P, B, …, C) per path and channel, by the mean and variance that `statistics` has for it."""
        # Copied into tensors: TensorFlow's custom gradients do not accept variables.
        gamma, beta = ops.copy(self.gamma), ops.copy(self.beta)
        if len(x.shape) == 5:
            return statistics.normalise(x, gamma, beta)
        # Folded: the order of the pixels makes no difference here.
        paths, _, height, width, pixels, channels = x.shape
        y = statistics.normalise(ops.reshape(x, (paths, -1, height, width * pixels, channels)), gamma, beta)
        return ops.reshape(y, (paths, -1, *x.shape[2:]))


class ResidualBlock(keras.layers.Layer):
    """conv3 - BN - ReLU - conv3 - BN, plus the input, then ReLU (He et al., arXiv:1512.03385).

    Before training it is the identity, up to the last ReLU (`initial_weights.RESIDUAL_SCALE`).
    """

    def __init__(self, spec: Convolution, seed: int, name: str, precision: str) -> None:
        super().__init__(name=name.replace(".", "_"))
        self.conv0 = Conv(spec, 1, seed, f"{name}.conv0", precision)
        self.norm0 = BatchNorm(spec.filters_out, f"{name}.norm0")
        self.conv1 = Conv(spec, 1, seed, f"{name}.conv1", precision)
        self.norm1 = BatchNorm(spec.filters_out, f"{name}.norm1", scale=RESIDUAL_SCALE)
        self.built = True

    def call(self, x: Any, statistics: Any) -> Any:
        """Map (P, B, H, W, C) to the same shape."""
        y = ops.relu(self.norm0(self.conv0(x), statistics=statistics))
        y = self.norm1(self.conv1(y), statistics=statistics)
        return ops.relu(x + y)
