"""Exact rewritings of slow operations, for CPUs. Values and gradients equal those of plain operations, up to rounding.

A third of a training step is spent on wide kernels on large, narrow activations: H1, H2 and the output heads behind
them. The same sums can be computed by convolutions at half the resolution with four times the channels, which CPUs
handle better and which, for 7×7 behind a resize, need half the multiplications. Their activations stay *folded* between
the
two: a folded array (..., h, w, 4, C) holds the pixel (2i + a, 2j + b) of (..., 2h, 2w, C) at [..., i, j, 2a + b, :].
Batch norm and ReLU do not care.

All of it rests on one fact: an output pixel 2i + a (a = 0 or 1) that reads the fine pixel 2i + a + d reads pixel
(a + d) mod 2 of the coarse cell i + floor((a + d) / 2).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from keras import ops

from edgeflownas.devices import onednn_computes
from edgeflownas.network.readers import readers

SMALLEST = 4
"""Cells, in height and in width, that `upsampled_convolution` needs: its two borders must not overlap."""


def upsampled_kernels() -> tuple[int, ...]:
    """Where `upsampled_convolution` was measured to be faster than resize and convolution (`benchmarks/README.md`)."""
    return (7,) if onednn_computes() else (3, 5, 7)


def fold(x: Any) -> Any:
    """(N, 2h, 2w, C) -> (N, h, w, 4, C)."""
    y = ops.space_to_depth(x, 2)
    return ops.reshape(y, (-1, *y.shape[1:3], 4, x.shape[-1]))


def unfold(x: Any) -> Any:
    """(N, h, w, 4, C) -> (N, 2h, 2w, C)."""
    return ops.depth_to_space(_flat(x), 2)


def _flat(x: Any) -> Any:
    return ops.reshape(x, (-1, *x.shape[1:3], 4 * x.shape[4]))


def folded_convolution(x: Any, kernel: Any) -> Any:
    """A 'same' convolution of folded x.

    Args:
        x: (N, h, w, 4, C), folded.
        kernel: (k, k, C, F), k odd.

    Returns:
        (N, h, w, 4, F), folded.
    """
    cells = cell_taps(kernel.shape[0])
    folded = _composite("apsd,bqte->stpqabde", cells, cells, "stpqabde,decf->stpqcabf", kernel)
    folded = ops.reshape(folded, (*folded.shape[:2], 4 * kernel.shape[2], -1))
    y = ops.conv(_flat(x), folded, padding="same")
    return ops.reshape(y, (-1, *y.shape[1:3], 4, kernel.shape[3]))


def upsampled_convolution(x: Any, kernel: Any) -> Any:
    """A 'same' convolution of x resized ×2 (bilinear, half-pixel centres), without the resized array.

    Resizing and convolving are both linear: together they are one convolution of x itself, whose kernel is a fixed
    linear map of `kernel` (tensor product of `resize_taps` down and across). With zeros around x instead of the
    clamped edge, only the fine pixels 0 and -1 of the resized array come out wrong, by ∓ a quarter of the edge pixel,
    and likewise at the other three edges: convolving that error is a matter of one row or one column of x.

    Args:
        x: (N, h, w, C), h and w at least `SMALLEST`.
        kernel: (k, k, C, F), k odd, from 3 to 7.

    Returns:
        (N, h, w, 4, F), folded.
    """
    taps = resize_taps(kernel.shape[0])
    inner_x, upper_x, lower_x, left_x, right_x = readers(x, 5)
    inner_kernel, *edge_kernels = readers(kernel, 5)
    composite = _composite("asd,bte->stabde", taps, taps, "stabde,decf->stcabf", inner_kernel)
    y = ops.conv(inner_x, ops.reshape(composite, (*composite.shape[:3], -1)), padding="same")
    y = ops.reshape(y, (-1, *x.shape[1:3], 4, kernel.shape[3]))
    y = y + _rows_correction(upper_x[:, :1], lower_x[:, -1:], edge_kernels[:2], x.shape[1])
    return y + _columns_correction(left_x[:, :, :1], right_x[:, :, -1:], edge_kernels[2:], x.shape[2])


def _rows_correction(upper: Any, lower: Any, kernels: list[Any], height: int) -> Any:
    """What the upper and lower edge change: the error down, the true resize across."""
    width = upper.shape[2]
    size, filters = kernels[0].shape[0], kernels[0].shape[3]
    strips = []
    edges = ((upper, _edge_taps(size)), (lower, _edge_taps(size)[::-1, ::-1, ::-1]))
    for (row, taps), kernel in zip(edges, kernels, strict=True):
        rows = taps.shape[0]
        strip_kernel = ops.reshape(ops.einsum("iad,decf->eciaf", taps, kernel), (1, size, kernel.shape[2], -1))
        resized = ops.image.resize(row, (1, 2 * width), interpolation="bilinear")
        strip = ops.conv(resized, strip_kernel, padding="same")
        strip = ops.reshape(strip, (-1, width, 2, rows, 2, filters))
        strips.append(ops.reshape(ops.transpose(strip, (0, 3, 1, 4, 2, 5)), (-1, rows, width, 4, filters)))
    return _apart(strips, axis=1, length=height)


def _columns_correction(left: Any, right: Any, kernels: list[Any], width: int) -> Any:
    """What the left and right edge change: the error across, the resize with zeros around down."""
    height = left.shape[1]
    size, filters = kernels[0].shape[0], kernels[0].shape[3]
    down = resize_taps(size)
    strips = []
    edges = ((left, _edge_taps(size)), (right, _edge_taps(size)[::-1, ::-1, ::-1]))
    for (column, taps), kernel in zip(edges, kernels, strict=True):
        columns = taps.shape[0]
        strip_kernel = _composite("asd,jbe->sjabde", down, taps, "sjabde,decf->scjabf", kernel)
        strip = ops.conv(
            column, ops.reshape(strip_kernel, (-1, 1, kernel.shape[2], columns * 4 * filters)), padding="same"
        )
        strips.append(ops.reshape(strip, (-1, height, columns, 4, filters)))
    return _apart(strips, axis=2, length=width)


def _apart(strips: list[Any], axis: int, length: int) -> Any:
    """Two strips (N, h, w, 4, F) at the ends of `axis`, with zeros between them up to `length`."""
    first, last = strips
    gap = list(ops.shape(first))
    gap[axis] = length - 2 * first.shape[axis]
    return ops.concatenate([first, ops.zeros(gap, first.dtype), last], axis=axis)


def _composite(product: str, down: np.ndarray, across: np.ndarray, contraction: str, kernel: Any) -> Any:
    """A fixed linear map of `kernel`, whose matrix is a product of taps down and across."""
    return ops.einsum(contraction, np.einsum(product, down, across), kernel)


@lru_cache
def cell_taps(size: int) -> np.ndarray:
    """(2, 2, T, size): 1 where output pixel a of a cell reads, with its tap d, pixel p of the cell at offset t."""
    radius = size // 2
    reach = (radius + 1) // 2
    taps = np.zeros((2, 2, 2 * reach + 1, size), np.float32)
    for a in range(2):
        for d in range(size):
            cell, pixel = divmod(a + d - radius, 2)
            taps[a, pixel, reach + cell, d] = 1.0
    return taps


@lru_cache
def resize_taps(size: int) -> np.ndarray:
    """(2, T, size): with which weight output pixel a of a cell reads, with its tap d, the coarse pixel at offset t."""
    # Bilinear ×2 with half-pixel centres: fine pixel 0 of a cell is 1/4 of the cell before and 3/4 of its own;
    # pixel 1 is 3/4 of its own and 1/4 of the next.
    resize = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]], np.float32)
    cells = cell_taps(size)
    taps = np.zeros((2, cells.shape[2] + 2, size), np.float32)
    for offset in range(3):
        taps[:, offset : offset + cells.shape[2]] += np.einsum("aptd,p->atd", cells, resize[:, offset])
    # Outermost offsets that no tap reaches would only cost time.
    while not taps[:, 0].any() and not taps[:, -1].any():
        taps = taps[:, 1:-1]
    return taps


@lru_cache
def _edge_taps(size: int) -> np.ndarray:
    """(R, 2, size): how tap d of output pixel a in cell i, counted from an edge, reads the error there.

    The true fine pixel 0 is the edge pixel itself where zeros around x give 3/4 of it; the true fine pixel -1 is the
    convolution's zero where they give 1/4.
    """
    radius = size // 2
    cells = (radius + 2) // 2
    taps = np.zeros((cells, 2, size), np.float32)
    for i in range(cells):
        for a in range(2):
            for d in range(size):
                taps[i, a, d] = {0: 0.25, -1: -0.25}.get(2 * i + a + d - radius, 0.0)
    return taps
