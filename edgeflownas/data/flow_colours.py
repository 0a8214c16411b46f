"""Flow as colours: hue is the direction, saturation the length, by the colour wheel of Middlebury.

S. Baker, D. Scharstein, J. P. Lewis, S. Roth, M. J. Black, R. Szeliski: A Database and Evaluation Methodology for
Optical Flow. International Journal of Computer Vision 92 (2011), section 4.2 and their `colorcode.cpp`.
"""

import numpy as np

# Steps between red, yellow, green, cyan, blue, magenta and red again, spaced as the eye tells them apart.
_STEPS = (15, 6, 4, 11, 13, 6)
_BEYOND = 0.75


def colour_wheel() -> np.ndarray:
    """The 55 fully saturated colours around the wheel, (55, 3) int in 0 to 255, from red by yellow and green."""
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]])
    parts = [
        255 * corners[i] + (corners[i + 1] - corners[i]) * (255 * np.arange(steps) // steps)[:, None]
        for i, steps in enumerate(_STEPS)
    ]
    return np.concatenate(parts)


def flow_colours(flow: np.ndarray, radius: float) -> np.ndarray:
    """Colour-code a flow field.

    Args:
        flow: (..., 2), u to the right and v down, pixels; NaN where it is not known, which is black.
        radius: the length that has full saturation, pixels. Zero flow is white; longer flow is darkened.

    Returns:
        (..., 3) uint8 RGB.
    """
    known = np.isfinite(flow).all(axis=-1)[..., None]
    u, v = np.moveaxis(np.where(known, flow, 0), -1, 0) / radius
    length = np.hypot(u, v)[..., None]
    wheel = colour_wheel()
    position = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = np.floor(position).astype(int)
    share = (position - below)[..., None]
    hue = (1 - share) * wheel[below] + share * wheel[(below + 1) % len(wheel)]
    colour = np.where(length <= 1, 255 - length * (255 - hue), hue * _BEYOND)
    return np.where(known, np.floor(colour), 0).astype(np.uint8)


def wheel_picture(size: int) -> np.ndarray:
    """The legend: the colour of every flow vector from the centre, up to length 1; (size, size, 4) uint8 RGBA."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    inside = np.hypot(flow[..., 0], flow[..., 1]) <= 1
    return np.dstack([flow_colours(flow, 1.0), np.where(inside, 255, 0).astype(np.uint8)])
