"""Every combination of the heads' flows, summed and measured: the leaves of the tree.

The flow of a subnet is affine in its heads: each head's output, upsampled to full size, is added. All combinations of
a leaf are 27 sums in the 9-block space. As single operations of TensorFlow they took half of the time of the whole
evaluation; NumPy, in blocks that stay in the cache, takes a fourteenth of that (`benchmarks/README.md`). On a GPU, XLA
fuses them.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from keras import ops

from edgeflownas.devices import gpu_visible
from edgeflownas.runs.records import METRICS
from edgeflownas.selection.compiled import compiled
from edgeflownas.training.labels import split_label
from edgeflownas.training.metrics import FL_PIXELS, FL_SHARE, OUTLIER_PIXELS, flow_metrics

# Pixels of all combinations in a block: with two float32 for each, what the caches of a core hold.
BLOCK_PIXELS = 27 * 8192


class FlowSums:
    """Measures sums of one flow per head against the truth. Made once for a chunk of samples, used at every leaf."""

    def __init__(self, truth: np.ndarray) -> None:
        """Args: truth: (samples, H, W, 2 or 3) float32, pixels; as `flow_metrics` takes it."""
        self.samples, self.height, self.width = truth.shape[:3]
        self._truth = truth
        flow, known = split_label(truth)
        # Per sample: which pixels count, and their u and v.
        self._counted: list[Any] = [slice(None)] * self.samples
        if known is not None:
            self._counted = [np.flatnonzero(one) for one in known]
        planes = flow.reshape(self.samples, -1, 2).transpose(0, 2, 1)
        self._planes = [np.ascontiguousarray(uv[:, which]) for uv, which in zip(planes, self._counted, strict=True)]
        self._magnitude = [np.sqrt(np.square(uv).sum(axis=0)) for uv in self._planes]
        self._on_gpu = gpu_visible()
        self._compiled = compiled(self.measure_by_backend)

    def measure(self, heads: Sequence[Any]) -> np.ndarray:
        """Metrics of all combinations.

        Args:
            heads: per head, (options, samples, 2, H·W) float32, pixels, at full size.

        Returns:
            (options of the first head, of the second, …, samples, metrics) float64, in the order of `METRICS`.
        """
        if self._on_gpu:
            return np.asarray(self._compiled(heads, self._truth), np.float64)
        planes = [np.asarray(head) for head in heads]
        found = _threads().map(lambda sample: self._measure_sample(planes, sample), range(self.samples))
        return np.stack(list(found), axis=-2)

    def measure_by_backend(self, heads: Sequence[Any], truth: Any) -> Any:
        """`measure` as operations of the backend, for GPUs."""
        counts = [head.shape[0] for head in heads]
        total = heads[0]
        for head in heads[1:]:
            total = ops.reshape(total[:, None] + head[None], (-1, *head.shape[1:]))
        fields = ops.reshape(total, (-1, self.samples, 2, self.height, self.width))
        metrics = flow_metrics(ops.transpose(fields, (0, 1, 3, 4, 2)), truth)
        return ops.reshape(metrics, (*counts, self.samples, len(METRICS)))

    def _measure_sample(self, heads: list[np.ndarray], sample: int) -> np.ndarray:
        counts = tuple(len(head) for head in heads)
        combinations, pixels = math.prod(counts), self._planes[sample].shape[-1]
        blocks = max(1, round(combinations * pixels / BLOCK_PIXELS))
        length = -(-pixels // blocks)
        # The sums over the first head, the first two, …, for u and v.
        buffers = [np.empty((2, *counts[: level + 1], length), np.float32) for level in range(len(counts))]
        flags = np.empty((2, combinations, length), bool)
        totals = np.zeros((len(METRICS), combinations))
        for start in range(0, pixels, length):
            block = slice(start, min(start + length, pixels))
            here = block.stop - start
            counted = self._counted[sample]
            where = block if isinstance(counted, slice) else counted[block]
            sums = [buffer[..., :here] for buffer in buffers]
            for component in range(2):
                plane = self._planes[sample][component, block]
                np.subtract(heads[0][:, sample, component, where], plane, out=sums[0][component])
                for level in range(1, len(heads)):
                    options = heads[level][:, sample, component, where]
                    np.add(sums[level - 1][component][..., None, :], options, out=sums[level][component])
            np.multiply(sums[-1], sums[-1], out=sums[-1])
            error = np.add(sums[-1][0], sums[-1][1], out=sums[-1][0])
            error = np.sqrt(error, out=error).reshape(combinations, here)
            _add_metrics(totals, error, self._magnitude[sample][block], flags[..., :here])
        return np.ascontiguousarray((totals / pixels).T).reshape(*counts, len(METRICS))


@cache
def _threads() -> ThreadPoolExecutor:
    """One thread for each processor of this process; NumPy computes without Python's lock."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)))


def _add_metrics(totals: np.ndarray, error: np.ndarray, magnitude: np.ndarray, flags: np.ndarray) -> None:
    """Add the sums over some pixels of all metrics, (metrics, combinations), to `totals`.

    error: (combinations, pixels), end-point errors. magnitude: (pixels,), of the true flow. flags: to compute in.
    """
    totals[0] += error.sum(axis=-1)
    for place, limit in enumerate(OUTLIER_PIXELS, start=1):
        np.greater(error, np.float32(limit), out=flags[0])
        # Faster than a sum over the axis, which would convert every flag to an integer.
        totals[place] += [np.count_nonzero(row) for row in flags[0]]
        if limit == FL_PIXELS:
            np.greater(error, np.float32(FL_SHARE) * magnitude, out=flags[1])
            np.logical_and(flags[0], flags[1], out=flags[1])
            totals[-1] += [np.count_nonzero(row) for row in flags[1]]
