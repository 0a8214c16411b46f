"""The rewritten convolutions give the values and gradients of the plain ones, at the border too."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from edgeflownas.network.rewritings import (
    fold,
    folded_convolution,
    unfold,
    upsampled_convolution,
)


def plain_upsampled_convolution(x, kernel):
    size = (2 * x.shape[1], 2 * x.shape[2])
    return ops.conv(ops.image.resize(x, size, interpolation="bilinear"), kernel, padding="same")


def values_and_gradients(function, x, kernel, seed=5):
    """The output, and the gradients of a random weighting of it with respect to input and kernel."""
    x, kernel = tf.constant(x), tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = function(x, kernel)
        weighting = np.random.default_rng(seed).normal(size=y.shape).astype(np.float32)
        loss = ops.sum(y * weighting)
    return [np.asarray(values) for values in (y, *tape.gradient(loss, [x, kernel]))]


def assert_equal_up_to_rounding(fast, plain):
    for mine, other in zip(fast, plain, strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, atol=5e-6 * np.abs(other).max())


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("shape", [(2, 11, 15, 5), (1, 4, 4, 2)])
def test_the_upsampled_convolution_equals_resize_and_convolution(size, shape):
    rng = np.random.default_rng(size)
    x = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(size, size, shape[-1], 3)).astype(np.float32)
    fast = values_and_gradients(lambda x, kernel: unfold(upsampled_convolution(x, kernel)), x, kernel)
    assert_equal_up_to_rounding(fast, values_and_gradients(plain_upsampled_convolution, x, kernel))


@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_folded_convolution_equals_the_plain_one(size):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, 10, 14, 6)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 6, 4)).astype(np.float32)
    fast = values_and_gradients(lambda x, kernel: unfold(folded_convolution(fold(x), kernel)), x, kernel)
    plain = values_and_gradients(lambda x, kernel: ops.conv(x, kernel, padding="same"), x, kernel)
    assert_equal_up_to_rounding(fast, plain)
