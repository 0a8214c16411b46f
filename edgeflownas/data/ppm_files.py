"""PPM frames, binary and 8-bit (`P6`, largest value 255): FlyingChairs has them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeflownas.data.files import Opened, open_regular, read_rest, require_exact, require_size
from edgeflownas.errors import UserError

LONGEST_HEADER = 1024
"""Bytes in which the header must end, comments included."""

_GAP = rb"(?:[ \t\n\r\v\f]|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(rb"P6" + _GAP + rb"([0-9]{1,9})" + _GAP + rb"([0-9]{1,9})" + _GAP + rb"([0-9]{1,9})[ \t\n\r\v\f]")


@contextmanager
def open_ppm(path: Path) -> Iterator[Opened]:
    """Open a PPM file. The header is compared with the file's size before any memory is taken for the pixels.

    Raises:
        UserError: unreadable, no binary 8-bit PPM, a size that no frame has, or not exactly the bytes it claims.
    """
    with open_regular(path) as (file, status):
        header = _HEADER.match(start := file.read(LONGEST_HEADER))
        if not header:
            raise UserError(f"{path}: not a binary PPM file ('P6', width, height, 255); convert it, or fetch it again")
        width, height, largest = (int(number) for number in header.groups())
        if largest != 255:
            raise UserError(f"{path}: expected 8-bit RGB, found a largest value of {largest}; convert it")
        require_size(path, width, height)
        require_exact(path, "frame", status.st_size, header.end() + 3 * width * height, width, height)
        file.seek(header.end() - len(start), 1)
        yield Opened(path, file, height, width, status)


def decode_ppm(ppm: Opened) -> np.ndarray:
    """The pixels of an open PPM: (H, W, 3) uint8, RGB.

    Raises:
        UserError: the file has become shorter since it was opened.
    """
    pixels = np.empty((ppm.height, ppm.width, 3), np.uint8)
    read_rest(ppm, pixels.reshape(-1))
    return pixels
