"""Scenes without layers: one fine texture under one smooth motion, with exact flow. What a network learns soonest.

Frame 0 samples the texture of frame 1 where its pixels go, so the flow is the motion, without approximation; nothing is
hidden, and every pixel has detail to be found again.
"""

import cv2
import numpy as np

from edgeflownas.data.scenes import Scene, SceneSettings

_SUPERSAMPLING = 2
"""Texture pixels per frame pixel and axis."""
_BLUR = 1.5
"""Standard deviation of the blur of the noise that makes the texture's finest detail, frame pixels."""
_ENLARGED = (1, 4)
"""Of the same noise, how much larger its octaves are."""
_GREY, _CONTRAST = 128.0, 40.0
"""Mean and standard deviation of each colour, grey levels."""
_GRID = (3, 4)
"""Rows and columns of independent displacements; between them the motion is a bicubic surface."""
_OVERSHOOT = 1.9
"""How far OpenCV's bicubic surface may go beyond the displacements that it passes through, 1.375 along each axis."""


def render_smooth_scene(settings: SceneSettings, rng: np.random.Generator) -> Scene:
    """Draw one scene; the generator's state decides all of it.

    Args:
        settings: `max_motion` bounds the displacement of each grid point along each axis; `shapes` plays no role.
    """
    size = (settings.height, settings.width)
    margin = int(np.ceil(_OVERSHOOT * settings.max_motion)) + 1
    texture = _texture(rng, *(_SUPERSAMPLING * (side + 2 * margin) for side in size))
    shifts = rng.uniform(-settings.max_motion, settings.max_motion, (*_GRID, 2)).astype(np.float32)
    flow = cv2.resize(shifts, size[::-1], interpolation=cv2.INTER_CUBIC)
    everywhere = np.zeros(size, np.uint8)
    frames = (_sample(texture, margin, flow), _sample(texture, margin, np.zeros_like(flow)))
    return Scene(frames, flow, (everywhere, everywhere))


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) float32, grey levels: noise of several sizes of detail, each equally strong."""
    total = np.zeros((height, width, 3), np.float32)
    for enlarged in _ENLARGED:
        noise = rng.standard_normal((-(-height // enlarged), -(-width // enlarged), 3), np.float32)
        octave = cv2.GaussianBlur(noise, (0, 0), _SUPERSAMPLING * _BLUR, borderType=cv2.BORDER_REFLECT)
        octave = cv2.resize(octave / octave.std(), (width, height), interpolation=cv2.INTER_CUBIC)
        total = total + octave
    return _GREY + _CONTRAST / np.float32(np.sqrt(len(_ENLARGED))) * total


def _sample(texture: np.ndarray, margin: int, shift: np.ndarray) -> np.ndarray:
    """The frame whose pixels see the texture at their own place plus a shift: (H, W, 3) uint8.

    Args:
        margin: of the texture around the frame, frame pixels.
        shift: (H, W, 2) float32, frame pixels.
    """
    rows, columns = np.mgrid[: shift.shape[0], : shift.shape[1]].astype(np.float32)
    x, y = (
        _SUPERSAMPLING * (place + shift[..., axis] + margin + 0.5) - 0.5 for axis, place in enumerate((columns, rows))
    )
    frame = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
