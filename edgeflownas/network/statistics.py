"""Batch-norm statistics as explicit inputs and outputs: the network itself keeps none.

A forward pass takes one of these objects, and every batch norm normalises through it. Statistics are in the order of
execution, which is the same for every route, so the statistics that one pass recorded can be used by another."""

from collections.abc import Callable, Iterable
from typing import Any

from keras import ops

from edgeflownas.network.gradients import custom_gradient

BATCH_NORM_EPSILON = 1e-5

Average = Callable[[Any], Any]

MeanAndVariance = tuple[Any, Any]
"""Mean and variance, each (P, 1, 1, 1, C): one row per path, in the shape that broadcasts against activations."""


class BatchStatistics:
    """Each path is normalised by the statistics of its own batch, exactly as if it had run alone.

    `average` is the mean over the devices that share the batch.
    """

    def __init__(self, average: Average | None = None) -> None:
        self.average = average or (lambda value: value)

    def normalise(self, x: Any, gamma: Any, beta: Any) -> Any:
        """x (P, B, H, W, C) normalised, scaled by gamma and shifted by beta, both (C,)."""
        return normalised_by_batch(x, gamma, beta, self.average)


class RecordedStatistics:
    """Batch statistics that are also kept, in the order of execution, for recalibration."""

    def __init__(self) -> None:
        self.taken: list[MeanAndVariance] = []

    def normalise(self, x: Any, gamma: Any, beta: Any) -> Any:
        """x (P, B, H, W, C) normalised, scaled by gamma and shifted by beta, both (C,)."""
        self.taken.append(mean_and_variance(x))
        return normalised(x, self.taken[-1], gamma, beta)


class GivenStatistics:
    """Statistics recorded earlier, used in the order in which they were recorded."""

    def __init__(self, statistics: Iterable[MeanAndVariance]) -> None:
        self._remaining = iter(statistics)

    def normalise(self, x: Any, gamma: Any, beta: Any) -> Any:
        """x (P, B, H, W, C) normalised by the next statistics, scaled by gamma and shifted by beta, both (C,)."""
        return normalised(x, next(self._remaining), gamma, beta)


def mean_and_variance(x: Any) -> MeanAndVariance:
    """Mean and variance of x (P, B, H, W, C) per path and channel."""
    mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
    # E[(x - m)^2], not E[x^2] - m^2: the latter loses three digits of the gradients in float32.
    return mean, ops.mean(ops.square(x - mean), axis=(1, 2, 3), keepdims=True)


def normalised(x: Any, statistics: MeanAndVariance, gamma: Any, beta: Any) -> Any:
    """x (P, B, H, W, C) normalised by given statistics, then scaled by gamma and shifted by beta, both (C,)."""
    mean, variance = statistics
    scale = gamma * ops.rsqrt(variance + BATCH_NORM_EPSILON)
    return x * scale + (beta - mean * scale)


def normalised_by_batch(x: Any, gamma: Any, beta: Any, average: Average) -> Any:
    """x (P, B, H, W, C) normalised by the statistics of the batch, then scaled by gamma and shifted by beta, both (C,).

    With the gradient in closed form (Ioffe & Szegedy, arXiv:1502.03167, section 3), which reads the activations half as
    often as the chain rule through the statistics. If devices share the batch, `average` combines their statistics, and
    those of the gradient, into those of the whole batch; the gradient is that of the sum of the devices' losses.
    """
    axes = (1, 2, 3)

    def mean(value: Any) -> Any:
        return ops.mean(value, axis=axes, keepdims=True)

    @custom_gradient
    def normalise(x: Any, gamma: Any, beta: Any) -> Any:
        centred = x - average(mean(x))
        inverse = ops.rsqrt(average(mean(ops.square(centred))) + BATCH_NORM_EPSILON)
        scale = gamma * inverse

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            shift, slope = mean(upstream), mean(upstream * centred)
            dx = (upstream - (centred * (average(slope) * ops.square(inverse)) + average(shift))) * scale
            count = ops.cast(ops.shape(x)[1] * (x.shape[2] * x.shape[3]), x.dtype)
            return dx, count * ops.sum(slope * inverse, axis=(0, *axes)), count * ops.sum(shift, axis=(0, *axes))

        return centred * scale + beta, gradient

    return normalise(x, gamma, beta)
