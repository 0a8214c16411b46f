"""JPEG frames, 8-bit with three channels. The format has no checksums: damage within the pixels cannot be noticed."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.data.files import Opened, open_regular, read_rest, require_size
from edgeflownas.errors import UserError

LONGEST_HEADER = 2**20
"""Bytes in which the size must be told; before it there may be a preview or a colour profile."""
SPARE_BYTES = 2**20

_START, _END = b"\xff\xd8", b"\xff\xd9"
# Baseline, extended and progressive; the others are lossless or arithmetically coded, which OpenCV does not read.
_FRAME_HEADERS = (0xC0, 0xC1, 0xC2)
_OTHER_FRAME_HEADERS = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))


@contextmanager
def open_jpeg(path: Path) -> Iterator[Opened]:
    """Open a JPEG file, and look for its size.

    Raises:
        UserError: unreadable, no JPEG, not 8-bit with three channels, a size that no frame has, or it has no end.
    """
    with open_regular(path) as (file, status):
        width, height = _size_of(path, file.read(LONGEST_HEADER))
        require_size(path, width, height)
        if status.st_size > (most := 2 * 3 * width * height + SPARE_BYTES):
            raise UserError(
                f"{path}: {status.st_size} bytes are too many for {width}x{height} pixels (at most {most}); "
                "fetch the file again"
            )
        file.seek(-2, 2)
        if file.read(2) != _END:
            raise UserError(f"{path}: truncated JPEG: it has no end; fetch the file again")
        file.seek(0)
        yield Opened(path, file, height, width, status)


def _size_of(path: Path, data: bytes) -> tuple[int, int]:
    """Width and height, from the frame header that the segments before it lead to."""
    if not data:
        raise UserError(f"{path}: the file is empty; fetch it again")
    if data[:2] != _START:
        raise UserError(f"{path}: not a JPEG file; convert it, or fetch it again")
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if kind in _FRAME_HEADERS:
            depth, height, width, channels = struct.unpack_from(">BHHB", data, place + 4)
            if (depth, channels) != (8, 3):
                raise UserError(f"{path}: expected 8-bit RGB, found {depth} bit, {channels} channel(s); convert it")
            return width, height
        if kind in _OTHER_FRAME_HEADERS:
            raise UserError(f"{path}: is a JPEG of a rare kind (0x{kind:02x}); convert it")
        place += 2 + length
    raise UserError(f"{path}: truncated or damaged JPEG header; fetch the file again")


def check_jpeg(path: Path, data: np.ndarray) -> None:
    """Refuse what cannot be decoded; there are no checksums to look at instead.

    Raises:
        UserError: it cannot be decoded.
    """
    _decode(path, data)


def _decode(path: Path, data: np.ndarray) -> np.ndarray:
    try:
        # Not turned as its metadata ask for: the size is that of the header, as for every other format.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path}: damaged JPEG: its {len(data)} bytes cannot be decoded; fetch the file again")
    return np.asarray(image)


def decode_jpeg(jpeg: Opened) -> np.ndarray:
    """The pixels of an open JPEG: (H, W, 3) uint8, RGB.

    Raises:
        UserError: the image cannot be decoded, or does not match its header.
    """
    data = np.empty(jpeg.status.st_size, np.uint8)
    read_rest(jpeg, data)
    image = _decode(jpeg.path, data)
    if image.dtype != np.uint8 or image.shape != (jpeg.height, jpeg.width, 3):
        raise UserError(f"{jpeg.path}: expected 8-bit RGB, found {image.dtype} of shape {image.shape}; convert it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
