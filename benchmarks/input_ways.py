"""Ways to read the same samples: the package's, with and without a cache, and two to compare them with."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from edgeflownas.artifacts import sha256_file
from edgeflownas.data.augmentation import AugmentSettings
from edgeflownas.data.frame_cache import FrameCache
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.prefetch import prefetch
from edgeflownas.data.samples import Sample, read_sample

CROP = (180, 240)
FLIPS_AND_COLOURS = AugmentSettings(
    flip_x=0.5, flip_y=0.1, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.16, asymmetric=0.2
)
BATCH = 8


def exhaust(results: Any) -> None:
    """Take everything and keep nothing."""
    deque(results, maxlen=0)


def pipeline(
    samples: Sequence[Sample], pairs: int, threads: int, cached: bool = False, augment: AugmentSettings | None = None
) -> Callable[[], None]:
    """Training batches as a run reads them; the cache is warm from the second call on."""
    read = FrameCache(megabytes=1024).read if cached else read_sample
    batches = FlowBatches(samples, CROP, BATCH, steps_per_epoch=pairs // BATCH, read=read, augment=augment)
    return lambda: exhaust(prefetch(lambda index: batches.batch(0, index), range(batches.steps_per_epoch), threads))


def thread_pool(samples: Sequence[Sample], pairs: int, threads: int) -> Callable[[], None]:
    """What one would write by hand: OpenCV's readers in a thread pool, centre crop, scaled, stacked into batches."""

    def load(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        frames = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in sample.files[:2]]
        flow = cv2.readOpticalFlow(str(sample.files[2]))
        top, left = (flow.shape[0] - CROP[0]) // 2, (flow.shape[1] - CROP[1]) // 2
        window = (slice(top, top + CROP[0]), slice(left, left + CROP[1]))
        images = np.concatenate([frame[window] for frame in frames], axis=-1)
        return images.astype(np.float32) / 127.5 - 1, np.clip(flow[window], -50, 50) / 20

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            loaded = pool.map(load, itertools.islice(itertools.cycle(samples), pairs))
            for _ in range(pairs // BATCH):
                frames, flow = zip(*itertools.islice(loaded, BATCH), strict=True)
                np.stack(frames), np.stack(flow)

    return run


def decode_limit(samples: Sequence[Sample], pairs: int, threads: int) -> Callable[[], None]:
    """Nothing but the image library's decoder, on files that are in memory already."""
    files = [[np.fromfile(path, np.uint8) for path in sample.files[:2]] for sample in samples[:8]]

    def decode(pair: list[np.ndarray]) -> None:
        for data in pair:
            cv2.imdecode(data, cv2.IMREAD_UNCHANGED)

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            exhaust(pool.map(decode, itertools.islice(itertools.cycle(files), pairs)))

    return run


def read_and_hash(samples: Sequence[Sample], threads: int) -> Callable[[], None]:
    """SHA-256 of every file of the samples, by threads: the least that an index with digests can cost."""

    def digests(sample: Sample) -> list[str]:
        return [sha256_file(path) for path in sample.files]

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            exhaust(pool.map(digests, samples))

    return run
