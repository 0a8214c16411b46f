"""Evaluating subnets on a data set that they were not trained on, at its frames' own size, as benchmarks report it.

All numbers are means over the known pixels of the whole set, not over its samples, as Sintel and KITTI count. Flow is
not clipped.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeflownas.data.evaluation_set import EvaluationSet
from edgeflownas.data.flow_files import LARGEST_KNOWN
from edgeflownas.data.pipeline import scale_frames
from edgeflownas.data.prefetch import prefetch
from edgeflownas.data.samples import Sample, read_sample
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.runs.records import METRICS
from edgeflownas.training.evaluation import CycleStatistics, Evaluator, Watch
from edgeflownas.training.metrics import FL_PIXELS, FL_SHARE, OUTLIER_PIXELS

MOTION_RANGES = {"s0-10": (0.0, 10.0), "s10-40": (10.0, 40.0), "s40+": (40.0, np.inf)}
"""True motion from … up to …, pixels: MPI Sintel's."""

Place = tuple[str, str]
"""The pass, and the pixels that count: all, matched, unmatched, or one of `MOTION_RANGES`."""


def evaluate_set(
    evaluator: Evaluator,
    cycles: np.ndarray,
    statistics: list[CycleStatistics],
    tested: EvaluationSet,
    workers: int,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Evaluate every subnet of some fair cycles on a data set, one frame pair at a time.

    Args:
        cycles: (cycles, paths, blocks) int32.
        statistics: of each cycle, from `Evaluator.recalibrate`.
        tested: the data set.
        workers: threads that read.
        watch: called before each sample; a batch is one sample.

    Returns:
        `layout`, `root`, `digest`, `samples`; `zero_flow`, a row for each pass and kind of pixel; and `subnets`, per
        subnet its `code` and such `rows`. A row has `pass`, `pixels_of`, the number of `pixels`, and the metrics.
    """
    pixels: dict[Place, int] = defaultdict(int)
    lengths: dict[Place, float] = defaultdict(float)
    subnets = cycles.shape[0] * cycles.shape[1]
    totals: dict[Place, np.ndarray] = defaultdict(lambda: np.zeros((subnets, len(METRICS))))
    for number, (sample, (frame_0, frame_1, flow)) in enumerate(_read(tested.samples, workers), start=1):
        if watch:
            watch({"part": "validation", "batch": number, "subnet": 1, "at_once": subnets, "subnets": subnets})
        frames = np.empty((1, *flow.shape[:2], 6), np.float32)
        scale_frames(frame_0, frame_1, frames[0])
        known = (np.abs(flow) <= LARGEST_KNOWN).all(axis=-1)
        truth = np.where(known[..., None], flow, 0)
        length = np.linalg.norm(truth, axis=-1)
        predicted = [
            evaluator.flow_at_any_size(codes, own, frames)[:, 0] for codes, own in zip(cycles, statistics, strict=True)
        ]
        error = np.linalg.norm(np.concatenate(predicted) - truth, axis=-1)
        for kind, counted in _kinds(known, length, tested.layout.matched(sample)):
            place = (tested.pass_of(sample), kind)
            pixels[place] += int(counted.sum())
            lengths[place] += float(length[counted].sum(dtype=np.float64))
            totals[place] += _sums(error[:, counted], length[counted])
    places = [place for place in pixels if pixels[place]]
    return {
        "layout": tested.layout.name,
        "root": tested.root,
        "digest": tested.digest,
        "samples": len(tested.samples),
        "zero_flow": [{**_head(place, pixels[place]), "epe": lengths[place] / pixels[place]} for place in places],
        "subnets": [
            {
                "code": format_code(code),
                "rows": [
                    {
                        **_head(place, pixels[place]),
                        **dict(zip(METRICS, (totals[place][row] / pixels[place]).tolist(), strict=True)),
                    }
                    for place in places
                ],
            }
            for row, code in enumerate(cycles.reshape(subnets, -1))
        ],
    }


def _read(samples: list[Sample], workers: int) -> Iterator[tuple[Sample, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    return prefetch(lambda sample: (sample, read_sample(sample)), samples, workers)


def _head(place: Place, pixels: int) -> dict[str, Any]:
    return {"pass": place[0], "pixels_of": place[1], "pixels": pixels}


def _kinds(known: np.ndarray, length: np.ndarray, matched: np.ndarray | None) -> Iterator[tuple[str, np.ndarray]]:
    yield "all", known
    if matched is not None:
        yield "matched", known & matched
        yield "unmatched", known & ~matched
    for kind, (least, most) in MOTION_RANGES.items():
        yield kind, known & (length >= least) & (length < most)


def _sums(error: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Sums over pixels of each metric, (subnets, metrics), in the order of `METRICS`; error: (subnets, pixels)."""
    fl = (error > FL_PIXELS) & (error > np.float32(FL_SHARE) * length)
    maps = [error, *(error > limit for limit in OUTLIER_PIXELS), fl]
    return np.stack([values.sum(axis=1, dtype=np.float64) for values in maps], axis=1)
