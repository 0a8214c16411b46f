"""Random scenes in the manner of FlyingChairs: textured layers, each under its own affine motion, with exact flow.

Every layer is a texture on a plane with an outline. Both frames sample the same plane, frame 0 at rest and frame 1
under the inverse of the layer's motion, so the flow of a pixel is its layer's motion there, without approximation.
After Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015, section 4.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from edgeflownas.data.textures import random_texture

_SUPERSAMPLING = 2
"""Texture pixels per frame pixel and axis."""
_BACKGROUND_MARGIN = 16
"""Frame pixels of background outside the frame; what moves in from further out is mirrored, in both frames alike."""


@dataclass(frozen=True)
class SceneSettings:
    """What scenes look like.

    Attributes:
        height, width: size of a frame, pixels.
        max_motion: largest translation of a layer's centre between the frames, pixels. Rotation and scaling about
            that centre come on top.
        shapes: fewest and most foreground shapes.
    """

    height: int
    width: int
    max_motion: float = 40.0
    shapes: tuple[int, int] = (3, 8)


@dataclass(frozen=True)
class Scene:
    """Two frames and the motion between them.

    Attributes:
        frames: frame 0 and frame 1, (H, W, 3) uint8 RGB each.
        flow: (H, W, 2) float32, pixels: where each pixel of frame 0 goes, visible there or not.
        layers: for each frame, which layer is in front, (H, W) uint8; 0 is the background.
    """

    frames: tuple[np.ndarray, np.ndarray]
    flow: np.ndarray
    layers: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Layer:
    canvas: np.ndarray  # (h, w, 4) float32: RGB times alpha, and alpha in 0 to 1
    origin: np.ndarray  # frame-0 position (x, y) of the canvas's upper left corner, pixels
    motion: np.ndarray  # (3, 3): frame-0 position to frame-1 position


def render_scene(settings: SceneSettings, rng: np.random.Generator) -> Scene:
    """Draw one scene; the generator's state decides all of it."""
    background_shift = _shift(rng, mean=settings.max_motion / 10, most=settings.max_motion / 3)
    layers = [_background(settings, rng, background_shift)]
    for _ in range(rng.integers(settings.shapes[0], settings.shapes[1] + 1)):
        layers.append(_shape(settings, rng, background_shift))

    size = (settings.height, settings.width)
    frame_0, front_0 = _composite(layers, [np.eye(3)] * len(layers), size)
    frame_1, front_1 = _composite(layers, [layer.motion for layer in layers], size)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    motion = np.stack([layer.motion[:2] - np.eye(3)[:2] for layer in layers])[front_0]
    flow = motion[..., 0] * columns[..., None] + motion[..., 1] * rows[..., None] + motion[..., 2]
    return Scene((frame_0, frame_1), flow.astype(np.float32), (front_0, front_1))


def _shift(rng: np.random.Generator, mean: float, most: float) -> np.ndarray:
    """A translation (x, y) in a random direction, its length exponential (mostly moderate, some large) up to `most`."""
    length = -mean * np.log1p(-rng.random() * (1 - np.exp(-most / mean))) if most > 0 else 0.0
    angle = rng.uniform(0, 2 * np.pi)
    return length * np.array([np.cos(angle), np.sin(angle)])


def _affine(centre: np.ndarray, shift: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    """Rotation and scaling about `centre`, then a shift: (3, 3)."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = centre + shift - turn @ centre
    return matrix


def _background(settings: SceneSettings, rng: np.random.Generator, shift: np.ndarray) -> _Layer:
    height, width = (_SUPERSAMPLING * (size + 2 * _BACKGROUND_MARGIN) for size in (settings.height, settings.width))
    opaque = np.ones((height, width, 1), np.float32)
    centre = np.array([settings.width, settings.height]) / 2
    degrees, scale = np.clip(rng.normal(0, 1.0), -3, 3), np.exp(np.clip(rng.normal(0, 0.01), -0.03, 0.03))
    return _Layer(
        np.concatenate([random_texture(rng, height, width), opaque], axis=2),
        np.full(2, -_BACKGROUND_MARGIN - 0.5),
        _affine(centre, shift, degrees, scale),
    )


def _shape(settings: SceneSettings, rng: np.random.Generator, background_shift: np.ndarray) -> _Layer:
    """A textured shape that moves relative to the background, as the chairs do."""
    radius = min(settings.height, settings.width) * rng.uniform(0.1, 0.32)
    side = 2 * int(np.ceil(radius)) + 6
    texture = random_texture(rng, _SUPERSAMPLING * side, _SUPERSAMPLING * side)
    alpha = _outline_mask(rng, _SUPERSAMPLING * radius, _SUPERSAMPLING * side)[..., None]
    centre = rng.uniform(0, [settings.width, settings.height])
    most = settings.max_motion - np.hypot(*background_shift)
    shift = background_shift + _shift(rng, mean=settings.max_motion / 5, most=most)
    degrees, scale = np.clip(rng.normal(0, 7), -20, 20), np.exp(np.clip(rng.normal(0, 0.06), -0.2, 0.2))
    return _Layer(
        np.concatenate([texture * alpha, alpha], axis=2), centre - side / 2, _affine(centre, shift, degrees, scale)
    )


def _outline_mask(rng: np.random.Generator, radius: float, side: int) -> np.ndarray:
    """Opacity of a random ellipse, polygon, star or blob, sometimes with a hole: (side, side) float32, 0 to 1."""
    kind = rng.choice(["ellipse", "polygon", "star", "blob"])
    corners = int(rng.integers(3, 8))
    steps = {"polygon": corners, "star": 2 * corners}.get(kind, 90)
    angle = np.arange(steps) * (2 * np.pi / steps)
    reach = np.ones(steps)
    if kind == "star":
        reach[1::2] = rng.uniform(0.35, 0.7)
    elif kind == "blob":
        waves = np.arange(2, 6)[:, None]
        reach += (rng.normal(0, 0.4, (4, 1)) / waves * np.cos(waves * angle + rng.uniform(0, 6.3, (4, 1)))).sum(axis=0)
        reach = np.clip(reach / reach.max(), 0.2, 1)
    points = radius * reach[:, None] * np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.4, 1)], axis=1)
    turn = rng.uniform(0, 2 * np.pi)
    points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    # Two outlines make a ring: fillPoly counts crossings. Holes show the background through the shape, as legs do.
    outlines = [points, 0.55 * points] if rng.random() < 0.2 else [points]
    fraction_bits = 6
    corners_fixed = [np.rint((line + (side - 1) / 2) * 2**fraction_bits).astype(np.int32) for line in outlines]
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, corners_fixed, 255, cv2.LINE_AA, fraction_bits)
    return cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255


def _composite(layers: list[_Layer], motions: list[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The frame, (H, W, 3) uint8, and the front layer per pixel, (H, W) uint8, with layers moved and laid in order."""
    height, width = size
    image = np.zeros((height, width, 3), np.float32)
    front = np.zeros((height, width), np.uint8)
    for number, (layer, motion) in enumerate(zip(layers, motions, strict=True)):
        border = cv2.BORDER_REFLECT_101 if number == 0 else cv2.BORDER_CONSTANT
        moved = cv2.warpAffine(
            layer.canvas,
            (_to_canvas(layer) @ np.linalg.inv(motion))[:2],
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
        )
        colour, alpha = moved[..., :3], moved[..., 3:]
        image = colour + (1 - alpha) * image
        front[alpha[..., 0] > 0.5] = number
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), front


def _to_canvas(layer: _Layer) -> np.ndarray:
    """(3, 3): frame-0 position to canvas pixel. Positions of pixels are their centres, in both."""
    matrix = np.diag([_SUPERSAMPLING, _SUPERSAMPLING, 1.0])
    matrix[:2, 2] = -_SUPERSAMPLING * layer.origin - 0.5
    return matrix
