"""Exact rewritings of the network's slow convolutions, for CPUs. The values are those of the plain way, up to rounding.

Half of a training step on a CPU goes into wide kernels on large, narrow activations (H1, H2 and the output heads).
The same sums come out of convolutions at half the resolution with four times the channels, which the CPU's kernels
handle better: 2×2 pixels become one pixel with 4 channel groups ("space to depth") and back. Which kernel sizes gain
was measured with `python -m benchmarks.fair_step`.

Both rest on one fact: an output pixel 2i + a (a = 0 or 1) that reads the fine pixel 2i + a + d reads pixel
(a + d) mod 2 of the coarse cell i + floor((a + d) / 2).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from keras import ops

UPSAMPLED_KERNELS = (5, 7)
FOLDED_KERNELS = (5, 7)
FOLDED_FILTERS = 4
"""Folding pays where few channels come out: at the output heads."""


def upsampled_convolution(x: Any, kernel: Any) -> Any:
    """A 'same' convolution of x resized ×2 (bilinear, half-pixel centres), without the resized array.

    Resizing and convolving are both linear, so away from the border they are one convolution of x itself, whose
    kernel is a fixed linear map of `kernel`. At the border the resize clamps and the convolution pads zeros, which
    no single kernel does: a frame of a few pixels is computed the plain way.

    Args:
        x: (N, h, w, C).
        kernel: (k, k, C, F), k odd and at least 3.

    Returns:
        (N, 2h, 2w, F).
    """
    size = kernel.shape[0]
    taps = _resize_taps(size)
    composite = ops.einsum("atd,bse,decf->tscabf", taps, taps, kernel)
    composite = ops.reshape(composite, (*composite.shape[:3], -1))
    inner = ops.depth_to_space(ops.conv(x, composite, padding="valid"), 2)
    frame = 2 * (taps.shape[1] // 2)
    # So many cells of x determine the first `frame` fine pixels and what their kernels reach.
    cells = (frame + size // 2 + 1) // 2 + 1
    top = plain_upsampled_convolution(x[:, :cells], kernel)[:, :frame]
    bottom = plain_upsampled_convolution(x[:, -cells:], kernel)[:, -frame:]
    left = plain_upsampled_convolution(x[:, :, :cells], kernel)[:, frame:-frame, :frame]
    right = plain_upsampled_convolution(x[:, :, -cells:], kernel)[:, frame:-frame, -frame:]
    return ops.concatenate([top, ops.concatenate([left, inner, right], axis=2), bottom], axis=1)


def plain_upsampled_convolution(x: Any, kernel: Any) -> Any:
    """The same, the plain way."""
    size = (2 * x.shape[1], 2 * x.shape[2])
    return ops.conv(ops.image.resize(x, size, interpolation="bilinear"), kernel, padding="same")


def folded_convolution(x: Any, kernel: Any) -> Any:
    """A 'same' convolution computed on 2×2 cells.

    Args:
        x: (N, H, W, C), H and W even.
        kernel: (k, k, C, F), k odd.

    Returns:
        (N, H, W, F).
    """
    taps = _cell_taps(kernel.shape[0])
    folded = ops.einsum("atpd,bsqe,decf->tspqcabf", taps, taps, kernel)
    folded = ops.reshape(folded, (*folded.shape[:2], 4 * kernel.shape[2], -1))
    return ops.depth_to_space(ops.conv(ops.space_to_depth(x, 2), folded, padding="same"), 2)


@lru_cache
def _cell_taps(size: int) -> np.ndarray:
    """(2, T, 2, size): 1 where output pixel a of a cell reads, with its tap d, pixel p of the cell at offset t."""
    radius = size // 2
    reach = (radius + 1) // 2
    taps = np.zeros((2, 2 * reach + 1, 2, size), np.float32)
    for a in range(2):
        for d in range(size):
            cell, pixel = divmod(a + d - radius, 2)
            taps[a, reach + cell, pixel, d] = 1.0
    return taps


@lru_cache
def _resize_taps(size: int) -> np.ndarray:
    """(2, T, size): with which weight output pixel a of a cell reads, with its tap d, the coarse pixel at offset t."""
    # Bilinear ×2 with half-pixel centres: fine pixel 0 of a cell is 1/4 of the cell before and 3/4 of its own;
    # pixel 1 is 3/4 of its own and 1/4 of the next.
    resize = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]], np.float32)
    cells = _cell_taps(size)
    taps = np.zeros((2, cells.shape[1] + 2, size), np.float32)
    for offset in range(3):
        taps[:, offset : offset + cells.shape[1]] += np.einsum("atpd,p->atd", cells, resize[:, offset])
    # Outermost offsets that no tap reaches would only cost time.
    while not taps[:, 0].any() and not taps[:, -1].any():
        taps = taps[:, 1:-1]
    return taps
