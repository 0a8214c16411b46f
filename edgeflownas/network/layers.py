"""The layers of the network. All take x of shape (P, B, H, W, C): paths, batch, height, width, channels."""

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from edgeflownas.network import rewritings
from edgeflownas.network.stages import Convolution

BATCH_NORM_EPSILON = 1e-5


def he_normal(seed: int, name: str, gain: float = 1.0) -> Callable[..., np.ndarray]:
    """Initialiser for convolution kernels: normal with variance gain² · 2 / fan_in (He et al., arXiv:1502.01852).

    A pure function of (seed, name) drawn by NumPy, so that every backend starts from the same weights.
    """
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")

    def initialise(shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        deviation = gain * np.sqrt(2.0 / np.prod(shape[:-1]))
        values = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
        return (deviation * values).astype(np.float32)

    return initialise


def resize_bilinear(x: Any, height: int, width: int) -> Any:
    """Resize x (P, B, H, W, C) to (P, B, height, width, C), Keras's convention: half-pixel centres, clamped edges.

    No antialiasing, also when shrinking. Exports must use the same convention.
    """
    return _merge_paths(lambda y: ops.image.resize(y, (height, width), interpolation="bilinear"), x)


def _merge_paths(function: Callable[[Any], Any], x: Any) -> Any:
    """Apply a function of (N, H, W, C) to x (P, B, H, W, C), with N = P·B."""
    paths = x.shape[0]
    y = function(ops.reshape(x, (-1, *x.shape[2:])))
    return ops.reshape(y, (paths, -1, *y.shape[1:]))


class Conv(keras.layers.Layer):
    """Bias-free 'same' convolution, after a bilinear resize where the input does not have the wanted size.

    With `rewritten`, convolutions that are slow on CPUs are computed in the way of `rewritings`: same values.
    """

    def __init__(
        self, spec: Convolution, strides: int, seed: int, name: str, gain: float = 1.0, rewritten: bool = False
    ) -> None:
        super().__init__(name=name.replace(".", "_"))
        self.spec = spec
        self.strides = strides
        self.rewritten = rewritten
        self.kernel = self.add_weight(
            shape=spec.shape, initializer=he_normal(seed, f"{name}.kernel", gain), name=f"{name}.kernel"
        )
        self.built = True

    def call(self, x: Any, size: tuple[int, int] | None = None) -> Any:
        """Map (P, B, H, W, C) to (P, B, ceil(h / strides), ceil(w / strides), F), where (h, w) is `size` or (H, W)."""
        return _merge_paths(lambda y: self._convolve(y, size or y.shape[1:3]), x)

    def _convolve(self, x: Any, size: tuple[int, int]) -> Any:
        height, width = x.shape[1:3]
        kernel = ops.convert_to_tensor(self.kernel)
        if self.rewritten and size == (2 * height, 2 * width) and self.spec.kernel in rewritings.UPSAMPLED_KERNELS:
            return rewritings.upsampled_convolution(x, kernel)
        if size != (height, width):
            x = ops.image.resize(x, size, interpolation="bilinear")
        is_narrow = self.spec.filters_out <= rewritings.FOLDED_FILTERS
        fits = self.strides == 1 and size[0] % 2 == size[1] % 2 == 0
        if self.rewritten and fits and is_narrow and self.spec.kernel in rewritings.FOLDED_KERNELS:
            return rewritings.folded_convolution(x, kernel)
        return ops.conv(x, kernel, strides=self.strides, padding="same")


class BatchNorm(keras.layers.Layer):
    """Batch norm by moments it is handed; scale and offset are its only weights (Ioffe & Szegedy, arXiv:1502.03167)."""

    def __init__(self, channels: int, name: str) -> None:
        super().__init__(name=name.replace(".", "_"))
        self.gamma = self.add_weight(shape=(channels,), initializer="ones", name=f"{name}.gamma")
        self.beta = self.add_weight(shape=(channels,), initializer="zeros", name=f"{name}.beta")
        self.built = True

    def call(self, x: Any, statistics: Any) -> Any:
        """Normalise x (P, B, H, W, C) per path and channel by `statistics.moments(x)`."""
        mean, variance = statistics.moments(x)
        scale = self.gamma * ops.rsqrt(variance + BATCH_NORM_EPSILON)
        return x * scale + (self.beta - mean * scale)


class ResidualBlock(keras.layers.Layer):
    """conv3 - BN - ReLU - conv3 - BN, plus the input, then ReLU (He et al., arXiv:1512.03385)."""

    def __init__(self, spec: Convolution, seed: int, name: str) -> None:
        super().__init__(name=name.replace(".", "_"))
        self.conv0 = Conv(spec, 1, seed, f"{name}.conv0")
        self.norm0 = BatchNorm(spec.filters_out, f"{name}.norm0")
        self.conv1 = Conv(spec, 1, seed, f"{name}.conv1")
        self.norm1 = BatchNorm(spec.filters_out, f"{name}.norm1")
        self.built = True

    def call(self, x: Any, statistics: Any) -> Any:
        """Map (P, B, H, W, C) to the same shape."""
        y = ops.relu(self.norm0(self.conv0(x), statistics=statistics))
        y = self.norm1(self.conv1(y), statistics=statistics)
        return ops.relu(x + y)
