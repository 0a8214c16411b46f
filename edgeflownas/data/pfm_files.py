"""PFM flow, as FlyingThings3D has it: `PF`, width, height, -1 (little-endian), 3 float32 per pixel, bottom row first.

u and v are the first two channels; the third is not used.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeflownas.data.files import Opened, open_regular, read_rest, require_exact, require_size
from edgeflownas.errors import UserError

CHANNELS = 3
BYTES_PER_PIXEL = 4 * CHANNELS
LONGEST_HEADER = 128

_HEADER = re.compile(rb"(P[Ff])\s([0-9]{1,9})[ \t]([0-9]{1,9})\s([-+.0-9eE]{1,30})\n")


@contextmanager
def open_pfm(path: Path) -> Iterator[Opened]:
    """Open a PFM file. The header is compared with the file's size before any memory is taken for the pixels.

    Raises:
        UserError: unreadable, no little-endian PFM of three channels, a size that no flow field has, or not exactly
            the bytes that its header claims.
    """
    with open_regular(path) as (file, status):
        header = _HEADER.match(start := file.read(LONGEST_HEADER))
        if not header:
            raise UserError(f"{path}: not a PFM file ('PF', width, height, -1); fetch it again")
        if header[1] == b"Pf":
            raise UserError(f"{path}: expected a PFM of three channels ('PF'), found one channel ('Pf'): no flow")
        _require_scale(path, header[4].decode("ascii"))
        width, height = int(header[2]), int(header[3])
        require_size(path, width, height)
        require_exact(path, "flow", status.st_size, header.end() + width * height * BYTES_PER_PIXEL, width, height)
        file.seek(header.end() - len(start), 1)
        yield Opened(path, file, height, width, status)


def _require_scale(path: Path, text: str) -> None:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if scale == 1:
        raise UserError(f"{path}: was written big-endian (scale {text}): write it little-endian (scale -1)")
    if scale != -1:
        raise UserError(
            f"{path}: expected the scale -1 (little-endian), found {text}: the unit of the flow is not known"
        )


def decode_pfm(pfm: Opened) -> np.ndarray:
    """The flow field of an open PFM file.

    Returns:
        (H, W, 2) float32, pixels, top row first. Values are not checked.

    Raises:
        UserError: the file has become shorter since it was opened.
    """
    data = np.empty(pfm.height * pfm.width * BYTES_PER_PIXEL, np.uint8)
    read_rest(pfm, data)
    pixels = data.view("<f4").reshape(pfm.height, pfm.width, CHANNELS)
    return np.ascontiguousarray(pixels[::-1, :, :2], dtype=np.float32)
