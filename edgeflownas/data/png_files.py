"""PNG frames, 8-bit RGB: header, checksums and pixels, each read no further than its user needs."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.data.files import Opened, open_regular, read_rest, require_size
from edgeflownas.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 33
"""Signature (8), then the chunk IHDR: length and type (8), content (13), checksum (4)."""
SPARE_BYTES = 2**20
"""What a file may hold besides its pixels: text, colour profiles."""
MOST_ALONE = 5 * 2**10
"""Bytes that Python's zlib sums without letting other threads run."""

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_RGB = 2


@contextmanager
def open_png(path: Path) -> Iterator[Opened]:
    """Open a PNG file, and check its header: a small file may claim a frame that fills the memory.

    Raises:
        UserError: unreadable, no PNG, not 8-bit RGB, a size that no frame has, or a file far larger than its pixels.
    """
    with open_regular(path) as (file, status):
        width, height = _check_header(path, file.read(HEADER_BYTES))
        if status.st_size > (most := 2 * 3 * width * height + SPARE_BYTES):
            raise UserError(
                f"{path}: {status.st_size} bytes are too many for {width}x{height} pixels (at most {most}); "
                "fetch the file again"
            )
        file.seek(0)
        yield Opened(path, file, height, width, status)


def _check_header(path: Path, header: bytes) -> tuple[int, int]:
    if not header:
        raise UserError(f"{path}: the file is empty; fetch it again")
    if header[:8] != SIGNATURE:
        raise UserError(f"{path}: not a PNG file; convert it, or fetch it again")
    if len(header) < HEADER_BYTES or header[8:16] != b"\0\0\0\x0dIHDR":
        raise UserError(f"{path}: truncated or damaged PNG header; fetch the file again")
    width, height, depth, colour = struct.unpack(">IIBB", header[16:26])
    if (depth, colour) != (8, _RGB):
        channels = _CHANNELS.get(colour, "an unknown number of")
        palette = " and a palette" if colour == 3 else ""
        raise UserError(f"{path}: expected 8-bit RGB, found {depth} bit, {channels} channel(s){palette}; convert it")
    require_size(path, width, height)
    return width, height


def check_checksums(path: Path, data: np.ndarray) -> None:
    """Go through a PNG's chunks and compare their checksums, which decodes nothing and takes a fiftieth of the time.

    So a file that was cut, or changed anywhere after it was written, is found. What an encoder compressed wrongly
    under a right checksum is not; `decode_frame` refuses that.

    Args:
        path: names the file.
        data: its bytes, (bytes,) uint8.

    Raises:
        UserError: the file ends too early, has bytes after its end, or a checksum that does not fit.
    """
    view, place = data.data, len(SIGNATURE)
    while place + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, place)
        end = place + 8 + length
        if end + 4 > len(view):
            break
        if _crc32(view[place + 4 : end]) != struct.unpack_from(">I", view, end)[0]:
            raise UserError(f"{path}: damaged PNG: the checksum at byte {place} does not fit; fetch the file again")
        place = end + 4
        if kind == b"IEND":
            if place != len(view):
                raise UserError(f"{path}: damaged PNG: {len(view) - place} bytes after its end; fetch the file again")
            return
    raise UserError(f"{path}: truncated PNG: its {len(view)} bytes end within a chunk; fetch the file again")


def _crc32(content: memoryview) -> int:
    # Small ones in two parts: of more than 5 KiB zlib lets other threads run meanwhile, and to be let in again takes as
    # long as the sum of one of libpng's chunks of 8 KiB.
    if MOST_ALONE < len(content) <= 2 * MOST_ALONE:
        return zlib.crc32(content[MOST_ALONE:], zlib.crc32(content[:MOST_ALONE]))
    return zlib.crc32(content)


def decode_frame(png: Opened) -> np.ndarray:
    """The pixels of an open PNG: (H, W, 3) uint8, RGB.

    Raises:
        UserError: a checksum is wrong, the image cannot be decoded, or does not match its header.
    """
    data = np.empty(png.status.st_size, np.uint8)
    read_rest(png, data)
    # OpenCV believes a chunk's length and takes the memory before it looks for the bytes.
    check_checksums(png.path, data)
    # UNCHANGED, because COLOR would drop a transparent colour without a word.
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{png.path}: damaged PNG: its {len(data)} bytes cannot be decoded; fetch the file again")
    if image.dtype != np.uint8 or image.shape != (png.height, png.width, 3):
        raise UserError(f"{png.path}: expected 8-bit RGB, found {image.dtype} of shape {image.shape}; convert it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_frame(path: Path) -> np.ndarray:
    """Read one frame: (H, W, 3) uint8, RGB.

    Raises:
        UserError: as `open_png` and `decode_frame`.
    """
    with open_png(path) as png:
        return decode_frame(png)
