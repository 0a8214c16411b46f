"""The training loss: L1 with learned uncertainty, at three scales, per path."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from edgeflownas.training.labels import mean_where_known, resize_label, split_label

SCALE_WEIGHTS = (0.125, 0.25, 0.5)
"""Coarse to fine."""

MIN_SIGMA = 1e-3


def sigma_of(logits: Any) -> Any:
    """The sigma of an uncertainty logit, in units of `data.flow_scale`."""
    return ops.maximum(ops.softplus(logits + MIN_SIGMA), MIN_SIGMA)


def path_losses(flows: Sequence[Any], label: Any, uncertainty: bool = True) -> Any:
    """Loss of each path, averaged over pixels and the two components of each sample, and over the batch.

    Per scale: mean |e| + mean(|e| / sigma) + mean softplus(s), with e the error, s the uncertainty logits and
    sigma = max(softplus(s + 1e-3), 1e-3), as `sigma_of` has it; the scales weighted by `SCALE_WEIGHTS`. The L2
    penalty on the kernels is added to the gradient by the optimizer and is not part of this number.

    Args:
        flows: per scale, coarse to fine, (P, B, h, w, 4): u, v and two logits, in units of `data.flow_scale`.
        label: (B, H, W, 2) true flow in the same unit, or (B, H, W, 3) with a channel that says where it is known
            (`labels`); it is resized to each scale, its values unchanged. Pixels of unknown flow do not count.
        uncertainty: without it, mean |e| alone.

    Returns:
        (P,) float32.
    """
    total = 0.0
    true, known = split_label(label)
    for weight, flow in zip(SCALE_WEIGHTS, flows, strict=True):
        target, counts = resize_label(true, known, *flow.shape[2:4])
        motion, logits = ops.split(flow, 2, axis=-1)
        error = ops.abs(motion - target)
        pixels = error
        if uncertainty:
            pixels = error + error / sigma_of(logits) + ops.softplus(logits)
        if counts is None:
            total = total + weight * ops.mean(pixels, axis=(1, 2, 3, 4))
        else:
            total = total + weight * ops.mean(mean_where_known(pixels, counts, axes=(2, 3)), axis=(1, 2))
    return total
