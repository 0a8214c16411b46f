"""Batch-norm statistics as explicit inputs and outputs: the network keeps none of its own.

A forward pass is handed one of these objects, and every batch norm on the way asks it for its moments. They come
in the order of execution, which is the same for every route, so a list of moments taken by one pass can be given
to another.
"""

from collections.abc import Iterable
from typing import Any

from keras import ops

Moments = tuple[Any, Any]
"""Mean and variance, each (P, 1, 1, 1, C): one row per path, in the shape that broadcasts against activations."""


class BatchStatistics:
    """Each path is normalised by the moments of its own batch, exactly as if it had run alone."""

    def moments(self, x: Any) -> Moments:
        """Mean and variance of x (P, B, H, W, C) per path and channel."""
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        # E[(x - m)^2], not E[x^2] - m^2: the latter loses three digits of the gradients in float32.
        return mean, ops.mean(ops.square(x - mean), axis=(1, 2, 3), keepdims=True)


class RecordedStatistics(BatchStatistics):
    """Batch statistics that are also kept, in the order of execution, for recalibration."""

    def __init__(self) -> None:
        self.taken: list[Moments] = []

    def moments(self, x: Any) -> Moments:
        """Mean and variance of x (P, B, H, W, C) per path and channel."""
        self.taken.append(super().moments(x))
        return self.taken[-1]


class GivenStatistics:
    """Moments taken earlier, handed out in the order in which they were taken."""

    def __init__(self, moments: Iterable[Moments]) -> None:
        self._remaining = iter(moments)

    def moments(self, x: Any) -> Moments:
        """The next moments; x only says that a batch norm is asking."""
        return next(self._remaining)
