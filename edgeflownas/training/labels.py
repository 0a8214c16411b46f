"""Labels: what the network should predict, and where that is known.

A label is (B, H, W, 2), the true flow divided by `data.flow_scale`; or, where a data set has unknown flow,
(B, H, W, 3), whose third channel is 1 where the flow is known and 0 elsewhere. A set that is known everywhere costs
nothing.
"""

from typing import Any

import numpy as np
from keras import ops

from edgeflownas.network.layers import resize_bilinear

SMALLEST_SHARE = 1e-3
"""Of the four pixels that a resized one is made of, the weight from which on the known ones count: below it, rounding
would."""


def split_label(label: Any) -> tuple[Any, Any]:
    """The flow of a label (..., 2), and where it is known (..., 1): above 0; None if it is known everywhere."""
    return (label[..., :2], label[..., 2:]) if label.shape[-1] == 3 else (label, None)


def resize_label(flow: Any, known: Any, height: int, width: int) -> tuple[Any, Any]:
    """Resize a label's parts, (B, H, W, 2) and (B, H, W, 1) or None, to a scale of the network; values are unchanged.

    Each resized flow vector is the mean of its known neighbours, with the weights of the bilinear resize.

    Returns:
        (1, B, height, width, 2), and (1, B, height, width, 1), 1.0 where a neighbour is known, or None.
    """
    if known is None:
        return resize_bilinear(flow[None], height, width), None
    share = resize_bilinear(known[None], height, width)
    total = resize_bilinear((flow * known)[None], height, width)
    return total / ops.maximum(share, SMALLEST_SHARE), ops.cast(share >= SMALLEST_SHARE, flow.dtype)


def mean_where_known(values: Any, known: Any, axes: tuple[int, int]) -> Any:
    """The mean over two spatial axes, of the known pixels alone; 0 where none is.

    Args:
        values: (P, B, H, W, …).
        known: the same shape with 1.0 or 0.0, or 1 instead of a size; None for everywhere.
        axes: those of H and W.
    """
    if known is None:
        return ops.mean(values, axis=axes)
    return ops.sum(values * known, axis=axes) / ops.maximum(ops.sum(known, axis=axes), 1.0)


def true_flow(label: np.ndarray, flow_scale: float) -> np.ndarray:
    """The flow of a label in pixels, (B, H, W, 2) float32; NaN where it is not known."""
    flow, known = split_label(label)
    pixels = flow * np.float32(flow_scale)
    return pixels if known is None else np.where(known > 0, pixels, np.float32(np.nan))
