"""Decoded frames in memory: decoding is nearly all that reading a sample costs."""

import threading

import numpy as np

from edgeflownas.data.samples import Sample, read_sample, read_sample_flow


class FrameCache:
    """Reads samples as `read_sample` does, and keeps the frames of the first ones up to a bound.

    None is ever evicted for a newer one: a pass over the data reads each sample once, so an evicted sample would be
    needed again before the one that replaced it. Flow, which needs no decoding, is left to the system's file cache.
    """

    def __init__(self, megabytes: float) -> None:
        """Hold at most `megabytes` MiB of frames."""
        self._bytes_left = megabytes * 2**20
        self._frames: dict[Sample, tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same as `read_sample`; the frames are read-only. Threads may call it at the same time."""
        if kept := self._frames.get(sample):
            flow = read_sample_flow(sample)
            if flow.shape[:2] == kept[0].shape[:2]:
                return *kept, flow
        frame_0, frame_1, flow = read_sample(sample)
        self._keep(sample, frame_0, frame_1)
        return frame_0, frame_1, flow

    def _keep(self, sample: Sample, *frames: np.ndarray) -> None:
        for frame in frames:
            frame.setflags(write=False)
        with self._lock:
            size = sum(frame.nbytes for frame in frames)
            if sample not in self._frames and size <= self._bytes_left:
                self._bytes_left -= size
                self._frames[sample] = (frames[0], frames[1])
