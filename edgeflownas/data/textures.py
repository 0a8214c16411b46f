"""Random colour textures with structure at several scales, so that motion over them can be recovered.

All sizes here are in texture pixels; all textures are (H, W, 3) floats, RGB in grey levels 0 to 255.
"""

import cv2
import numpy as np

_BAND_LIMIT_SIGMA = 1.1
"""Blur that removes what a half-resolution frame could not show, so that every resampling agrees with every other."""

_FINEST_CELL = 3
"""Size of the finest detail that the noise has; the band limit would remove any finer."""


def random_texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A texture of a random kind, (height, width, 3): clouds, a mosaic of stones, or wavy stripes.

    Every kind carries fine grain and soft shading on top; colours come from a random palette.
    """
    grey = rng.uniform(30, 225, (3, 1, 1, 1))
    palette = (grey + rng.uniform(0.2, 0.8) * (rng.uniform(0, 255, (3, 1, 1, 3)) - grey)).astype(np.float32)
    kind = rng.choice(["clouds", "mosaic", "stripes"], p=[0.35, 0.4, 0.25])
    if kind == "clouds":
        texture = _clouds(rng, height, width, palette)
    elif kind == "mosaic":
        texture = _mosaic(rng, height, width, palette)
    else:
        texture = _stripes(rng, height, width, palette)
    grain = 9 * fractal(rng, height, width, 3, coarsest=24)
    shading = 1 + 0.15 * fractal(rng, height, width, 1, coarsest=max(height, width) // 2)
    texture = np.clip((texture + grain) * shading, 0, 255)
    return cv2.GaussianBlur(texture, (0, 0), _BAND_LIMIT_SIGMA)


def fractal(rng: np.random.Generator, height: int, width: int, channels: int, coarsest: int) -> np.ndarray:
    """Noise with octaves from `coarsest` down to 3 pixels: (height, width, channels) float32, mean 0, deviation 1."""
    cells = [_FINEST_CELL]
    while cells[-1] * 2 <= coarsest:
        cells.append(cells[-1] * 2)
    # From coarse to fine on grids that grow, so that only the last step works at full size.
    total = np.zeros((1, 1, channels), np.float32)
    for cell in reversed(cells):
        grid = rng.random((-(-height // cell) + 1, -(-width // cell) + 1, channels), dtype=np.float32) - 0.5
        total = _resize(total, grid.shape[0], grid.shape[1]) + cell**0.5 * grid
    total -= total.mean(axis=(0, 1))
    return _resize(total / (total.std() + 1e-6), height, width)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic; unlike OpenCV's, it keeps a channel axis of length 1."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, image.shape[2])


def _clouds(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Three colours that run into one another."""
    mix = fractal(rng, height, width, 2, coarsest=96)
    weights = 1 / (1 + np.exp(-3 * mix))
    first, second = weights[..., :1], weights[..., 1:]
    return (palette[0] * first + palette[1] * (1 - first)) * second + palette[2] * (1 - second)


def _mosaic(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Voronoi cells, each in one colour, with dark joints."""
    spacing = rng.uniform(12, 40)
    count = max(4, int(height * width / spacing**2))
    seeds = np.full((height, width), 255, np.uint8)
    seeds[rng.integers(height, size=count), rng.integers(width, size=count)] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = palette[rng.integers(3, size=count + 1), 0, 0] + rng.normal(0, 28, (count + 1, 3)).astype(np.float32)
    return colours[label] * (1 - 0.5 * np.clip(distance / spacing, 0, 0.9))[..., None]


def _stripes(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Bands across a random direction, bent enough that no two places look alike."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(14, 40)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across = (columns * np.cos(angle) + rows * np.sin(angle)) / period
    bend = fractal(rng, height, width, 2, coarsest=160)
    band = 1 / (1 + np.exp(-6 * np.sin(2 * np.pi * across + 2.2 * bend[..., 0])))[..., None]
    tint = 1 / (1 + np.exp(-2 * bend[..., 1:]))
    return palette[0] * band + (palette[1] * tint + palette[2] * (1 - tint)) * (1 - band)
