"""How frames of any size become the network's, and how predicted flow comes back."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edgeflownas.data.order import centre_crop

WAYS = ("resize", "crop", "tiles", "full")
OVERLAP = 0.25
"""Of a tile's sides, how much of it at least another one covers, too."""
TILES_AT_ONCE = 8


@dataclass(frozen=True)
class Fit:
    """Frames for a network that takes (height, width).

    Attributes:
        way: "resize" takes the whole frame, "crop" its middle, as the evaluation does. "tiles" leaves it at its own
            size and predicts windows of the network's size that overlap, "full" leaves it at its own size altogether.
        size: (height, width) of the network, pixels.
    """

    way: str
    size: tuple[int, int]

    @property
    def takes_smaller(self) -> bool:
        """Whether frames may be smaller than the network's size."""
        return self.way in ("resize", "full")

    def frame(self, frame: np.ndarray) -> np.ndarray:
        """A frame, (H, W, 3), at the size that is predicted."""
        if self.way == "resize":
            shrinks = frame.shape[0] > self.size[0] or frame.shape[1] > self.size[1]
            return _resized(frame, self.size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return frame[self._window(frame)] if self.way == "crop" else frame

    def truth(self, flow: np.ndarray) -> np.ndarray:
        """The true flow, (H, W, 2), of the part of the frame that is predicted."""
        return flow[self._window(flow)] if self.way == "crop" else flow

    def flow(self, predict: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> np.ndarray:
        """The flow of a pair at the size that is predicted, (h, w, 2) float32, pixels of that size.

        Args:
            predict: the network, (B, H, W, 6) to (B, H, W, 2).
            frames: (h, w, 6), two frames as `frame` gives them, scaled.
        """
        return _tiled(predict, frames, self.size) if self.way == "tiles" else np.asarray(predict(frames[None])[0])

    def predicted(self, flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Predicted flow, (h, w, 2), at the size of the truth and in its pixels."""
        if flow.shape[:2] == size:
            return flow
        scale = np.array([size[1] / flow.shape[1], size[0] / flow.shape[0]], np.float32)
        return _resized(flow, size, cv2.INTER_LINEAR) * scale

    def _window(self, values: np.ndarray) -> tuple[slice, slice]:
        top, left = centre_crop((values.shape[0], values.shape[1]), self.size)
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])


def _resized(values: np.ndarray, size: tuple[int, int], way: int) -> np.ndarray:
    return np.asarray(cv2.resize(values, size[::-1], interpolation=way))


def tile_starts(whole: int, tile: int) -> list[int]:
    """Where tiles begin along one axis: spread evenly, from border to border, each overlapping the next."""
    if whole == tile:
        return [0]
    overlap = round(OVERLAP * tile)
    count = -(-(whole - overlap) // (tile - overlap))
    return np.linspace(0, whole - tile, count).round().astype(int).tolist()


def _tiled(predict: Callable[[np.ndarray], np.ndarray], frames: np.ndarray, tile: tuple[int, int]) -> np.ndarray:
    """The flow of tiles, blended where they overlap: the closer to a tile's middle, the more it counts."""
    height, width = frames.shape[:2]
    corners = [(top, left) for top in tile_starts(height, tile[0]) for left in tile_starts(width, tile[1])]
    weight = np.outer(_ramp(tile[0]), _ramp(tile[1]))[..., None]
    total, weights = np.zeros((height, width, 2), np.float32), np.zeros((height, width, 1), np.float32)
    at_once = min(TILES_AT_ONCE, len(corners))
    for first in range(0, len(corners), at_once):
        some = corners[first : first + at_once]
        windows = [(slice(top, top + tile[0]), slice(left, left + tile[1])) for top, left in some]
        batch = np.zeros((at_once, *tile, frames.shape[2]), np.float32)  # always as large: one trace is enough
        batch[: len(some)] = [frames[window] for window in windows]
        for window, flow in zip(windows, predict(batch), strict=False):
            total[window] += flow * weight
            weights[window] += weight
    return total / weights


def _ramp(length: int) -> np.ndarray:
    """Weights that fall from the middle to both ends, (length,) float32, above 0."""
    distance = np.abs(np.arange(length) - (length - 1) / 2)
    return (1 - distance / (length / 2)).astype(np.float32)
