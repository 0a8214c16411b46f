"""The usual metrics of optical flow. All in pixels at full resolution."""

from typing import Any

from keras import ops

from edgeflownas.training.labels import mean_where_known, split_label

OUTLIER_PIXELS = (1.0, 3.0, 5.0)
FL_PIXELS, FL_SHARE = 3.0, 0.05


def flow_metrics(flow: Any, truth: Any) -> Any:
    """Metrics of each predicted flow field.

    Args:
        flow: (P, B, H, W, 2) predicted flow, pixels.
        truth: (B, H, W, 2) true flow, pixels; or (B, H, W, 3), the third channel above 0 where it is known. Pixels of
            unknown flow do not count.

    Returns:
        (P, B, 5) in the order of `records.METRICS`: the mean end-point error; the fractions of pixels with an end-point
        error over 1, 3 and 5 px; and Fl-all, the fraction over 3 px and over 5% of the true magnitude (KITTI 2015,
        Menze & Geiger, CVPR 2015).
    """
    truth, known = split_label(truth)
    counts = None if known is None else ops.cast(known[None, ..., 0] > 0.0, "float32")
    error = ops.sqrt(ops.sum(ops.square(flow - truth[None]), axis=-1))
    magnitude = ops.sqrt(ops.sum(ops.square(truth), axis=-1))[None]
    outliers = [error > limit for limit in OUTLIER_PIXELS]
    maps = [error, *outliers, ops.logical_and(error > FL_PIXELS, error > FL_SHARE * magnitude)]
    return ops.stack([mean_where_known(ops.cast(values, "float32"), counts, axes=(2, 3)) for values in maps], axis=-1)
