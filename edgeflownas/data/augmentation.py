"""Random changes of training samples, as PWC-Net and RAFT make them; each a pure function of the seed and the position.

D. Sun et al.: PWC-Net, arXiv:1709.02371. Z. Teed and J. Deng: RAFT, arXiv:2003.12039, and their code. Both frames are
moved alike, and the flow with them; colours change alike, or differently now and then; noise and the eraser touch
pixels. What is 0 in the settings is off.
"""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np

from edgeflownas.data.flow_files import known_pixels
from edgeflownas.data.streams import Purpose, philox

DRAWS = 32
"""Numbers drawn for each position, each for one purpose: a change that is off moves no other."""
ERASED = (0.1, 0.25)
"""Smallest and largest side of a rectangle that the eraser takes, of the crop's."""

_GREY = np.array([0.299, 0.587, 0.114])
# RGB to luminance and two chroma axes of one length, about whose origin a hue turns.
_TO_YIQ = np.array([_GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class AugmentSettings:
    """How far each change goes at most.

    Attributes:
        flip_x, flip_y: probability of a mirror image, left to right or upside down.
        zoom: the frame is enlarged or shrunk by up to 2^zoom.
        stretch: one axis is by up to 2^stretch longer than the other.
        rotation: degrees to either side.
        brightness, contrast, saturation: factors of 1 ± this.
        hue: turns of the hue circle to either side.
        asymmetric: probability that the two frames' colours change independently.
        noise: largest standard deviation, grey levels.
        eraser: probability that one or two rectangles of the second frame are covered with its mean colour.
    """

    flip_x: Annotated[float, "data.augment.flip_x"] = 0.0
    flip_y: Annotated[float, "data.augment.flip_y"] = 0.0
    zoom: Annotated[float, "data.augment.zoom"] = 0.0
    stretch: Annotated[float, "data.augment.stretch"] = 0.0
    rotation: Annotated[float, "data.augment.rotation"] = 0.0
    brightness: Annotated[float, "data.augment.brightness"] = 0.0
    contrast: Annotated[float, "data.augment.contrast"] = 0.0
    saturation: Annotated[float, "data.augment.saturation"] = 0.0
    hue: Annotated[float, "data.augment.hue"] = 0.0
    asymmetric: Annotated[float, "data.augment.asymmetric"] = 0.0
    noise: Annotated[float, "data.augment.noise"] = 0.0
    eraser: Annotated[float, "data.augment.eraser"] = 0.0

    @property
    def any(self) -> bool:
        """Whether anything is on; `asymmetric` alone changes nothing."""
        return any(value for name, value in vars(self).items() if name != "asymmetric")

    @property
    def resamples(self) -> bool:
        """Whether frames are moved by more than whole pixels."""
        return bool(self.zoom or self.stretch or self.rotation)

    @property
    def colours(self) -> bool:
        """Whether colours change."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue)


@dataclass(frozen=True)
class Crop:
    """Two frames, (h, w, 3) uint8 RGB, and the flow from the first, (h, w, 2) float32, pixels; may hold marks."""

    frame_0: np.ndarray
    frame_1: np.ndarray
    flow: np.ndarray


class Augmentation:
    """The changes of one position of the training stream."""

    def __init__(self, settings: AugmentSettings, seed: int, position: int) -> None:
        self.settings = settings
        self._drawn = philox(seed, Purpose.AUGMENT, position).random_raw(DRAWS).astype(np.float64) / 2.0**64
        self._noise = np.random.Generator(philox(seed, Purpose.NOISE, position))
        flips = self._drawn[0] < settings.flip_x, self._drawn[1] < settings.flip_y
        self._signs = np.where(flips, -1.0, 1.0)

    def _within(self, draw: int, most: float) -> float:
        """Uniform between -most and most."""
        return float(2 * self._drawn[draw] - 1) * most

    def matrix(self) -> np.ndarray:
        """(2, 2): a step in the crop, in steps of the sample. Flow of the sample is this times flow of the crop."""
        settings = self.settings
        zoom, stretch = self._within(2, settings.zoom), self._within(3, settings.stretch)
        lengths = self._signs * 2.0 ** -np.array([zoom + stretch / 2, zoom - stretch / 2])
        angle = np.deg2rad(self._within(4, settings.rotation))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.asarray(turn * lengths)

    def flipped(self, crop: Crop) -> Crop:
        """A crop in its mirror image, if drawn: exactly, and without resampling."""
        steps = slice(None, None, int(self._signs[1])), slice(None, None, int(self._signs[0]))
        flow = crop.flow[steps] * self._signs.astype(np.float32)
        return Crop(np.ascontiguousarray(crop.frame_0[steps]), np.ascontiguousarray(crop.frame_1[steps]), flow)

    def resampled(self, sample: Crop, size: tuple[int, int], known: np.ndarray | None) -> Crop:
        """A crop of a sample, zoomed, stretched, turned and mirrored: all of it within the sample.

        Args:
            sample: at its own size, which is at least that of the crop.
            size: (height, width) of the crop.
            known: (H, W) bool where the sample's flow is known, if not everywhere. Flow is then that of the nearest
                pixel; a crop in which nothing is known is put around a known pixel.
        """
        whole = np.array([sample.flow.shape[1], sample.flow.shape[0]]) - 1.0
        half = np.array([size[1] - 1, size[0] - 1]) / 2
        matrix = self.matrix()
        reach = np.abs(matrix) @ half
        shrink = min(1.0, *(whole / (2 * np.maximum(reach, 1e-9))))
        matrix, reach = matrix * shrink, reach * shrink
        centre = reach + self._drawn[5:7] * (whole - 2 * reach)
        moved = self._warped(sample, matrix, centre - matrix @ half, size, known is not None)
        if known is not None and not known_pixels(moved.flow).any():
            pixels = np.flatnonzero(known)
            row, column = divmod(int(pixels[int(self._drawn[7] * len(pixels))]), known.shape[1])
            centre = np.clip([column, row], reach, whole - reach)
            moved = self._warped(sample, matrix, centre - matrix @ half, size, True)
        return moved

    def _warped(
        self, sample: Crop, matrix: np.ndarray, origin: np.ndarray, size: tuple[int, int], marked: bool
    ) -> Crop:
        """The crop whose pixel (x, y) is at `matrix @ (x, y) + origin` in the sample."""
        placed = np.column_stack([matrix, origin])

        def warp(values: np.ndarray, way: int) -> np.ndarray:
            flags = way | cv2.WARP_INVERSE_MAP
            return np.asarray(cv2.warpAffine(values, placed, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE))

        flow = warp(sample.flow, cv2.INTER_NEAREST if marked else cv2.INTER_LINEAR)
        turned = (flow.reshape(-1, 2) @ np.linalg.inv(matrix).T.astype(np.float32)).reshape(flow.shape)
        if marked:
            # A mark stays one, whatever the matrix makes of it.
            unknown = ~known_pixels(flow)
            turned[unknown] = flow[unknown]
        return Crop(warp(sample.frame_0, cv2.INTER_LINEAR), warp(sample.frame_1, cv2.INTER_LINEAR), turned)

    def painted(self, crop: Crop) -> Crop:
        """A crop with other colours, noise, and rectangles of frame 1 covered."""
        frames = [crop.frame_0, crop.frame_1]
        if self.settings.colours:
            pivot = float(_GREY @ cv2.mean(crop.frame_0)[:3])
            apart = self._drawn[8] < self.settings.asymmetric
            frames = [
                np.asarray(cv2.transform(frame, self._colours(16 if apart and number else 12, pivot)))
                for number, frame in enumerate(frames)
            ]
        if self.settings.noise:
            frames = [self._noisy(frame) for frame in frames]
        if self._drawn[20] < self.settings.eraser:
            frames[1] = self._erased(frames[1])
        return Crop(frames[0], frames[1], crop.flow)

    def _colours(self, draw: int, pivot: float) -> np.ndarray:
        """(3, 4): what becomes of a colour, by four numbers from `draw` on; `pivot` is the grey that contrast keeps."""
        settings = self.settings
        brightness = 1 + self._within(draw, settings.brightness)
        contrast = 1 + self._within(draw + 1, settings.contrast)
        saturation = 1 + self._within(draw + 2, settings.saturation)
        angle = 2 * np.pi * self._within(draw + 3, settings.hue)
        turn = np.eye(3)
        turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        greyed = saturation * np.eye(3) + (1 - saturation) * np.tile(_GREY, (3, 1))
        matrix = brightness * contrast * _FROM_YIQ @ turn @ _TO_YIQ @ greyed
        return np.column_stack([matrix, np.full(3, brightness * pivot * (1 - contrast))])

    def _noisy(self, frame: np.ndarray) -> np.ndarray:
        deviation = np.float32(self._drawn[9] * self.settings.noise)
        noise = self._noise.standard_normal(frame.shape, np.float32) * deviation
        return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)

    def _erased(self, frame: np.ndarray) -> np.ndarray:
        frame = frame.copy()
        colour = np.rint(cv2.mean(frame)[:3]).astype(np.uint8)
        height, width = frame.shape[:2]
        for draw in (21, 25) if self._drawn[29] < 0.5 else (21,):
            shares = ERASED[0] + self._drawn[draw : draw + 2] * (ERASED[1] - ERASED[0])
            tall, wide = max(1, round(shares[0] * height)), max(1, round(shares[1] * width))
            top = int(self._drawn[draw + 2] * (height - tall + 1))
            left = int(self._drawn[draw + 3] * (width - wide + 1))
            frame[top : top + tall, left : left + wide] = colour
        return frame
