"""KITTI's flow: a 16-bit RGB PNG. u = (R - 2^15) / 64, v = (G - 2^15) / 64, in pixels; B is 0 where nothing is known.

Menze and Geiger, Object Scene Flow for Autonomous Vehicles, CVPR 2015, and the development kit's readme.
"""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from edgeflownas.data.files import Opened
from edgeflownas.data.flow_files import UNKNOWN
from edgeflownas.data.png_files import RGB, decode_png, open_png_of
from edgeflownas.errors import UserError

ZERO = 2**15
STEPS_PER_PIXEL = 64


def open_flow_png(path: Path) -> AbstractContextManager[Opened]:
    """Open a 16-bit RGB PNG.

    Raises:
        UserError: as `png_files.open_png_of`.
    """
    return open_png_of(path, 16, RGB)


def decode_flow_png(png: Opened) -> np.ndarray:
    """The flow of an open PNG: (H, W, 2) float32, pixels, `UNKNOWN` where the third channel is 0.

    Raises:
        UserError: the file is damaged, or its third channel holds anything but 0 and 1.
    """
    blue, green, red = np.moveaxis(decode_png(png, np.dtype(np.uint16), 3), -1, 0)
    if blue.max() > 1:
        raise UserError(f"{png.path}: its third channel holds {blue.max()}; expected 0 (unknown) or 1: no KITTI flow")
    flow = np.stack([red, green], axis=-1).astype(np.float32)
    flow -= ZERO
    flow /= STEPS_PER_PIXEL
    flow[blue == 0] = UNKNOWN
    return flow
