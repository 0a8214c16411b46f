"""PNG files, such as 8-bit RGB frames: header, checksums and pixels, each read no further than its user needs."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

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

GREY, RGB = 0, 2
"""Colour types."""

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_NAMES = {GREY: "grey", RGB: "RGB"}


@contextmanager
def open_png_of(path: Path, depth: int, colour: int) -> Iterator[Opened]:
    """Open a PNG file, and check its header: a small file may claim a frame that fills the memory.

    Args:
        depth: bits per channel that it must have.
        colour: GREY or RGB.

    Raises:
        UserError: unreadable, no PNG, of another kind, a size that no frame has, or a file far larger than its pixels.
    """
    with open_regular(path) as (file, status):
        width, height = _check_header(path, file.read(HEADER_BYTES), depth, colour)
        most = 2 * width * height * _CHANNELS[colour] * depth // 8 + SPARE_BYTES
        if status.st_size > most:
            raise UserError(
                f"{path}: {status.st_size} bytes are too many for {width}x{height} pixels (at most {most}); "
                "fetch the file again"
            )
        file.seek(0)
        yield Opened(path, file, height, width, status)


def open_png(path: Path) -> AbstractContextManager[Opened]:
    """Open a frame: 8-bit RGB.

    Raises:
        UserError: as `open_png_of`.
    """
    return open_png_of(path, 8, RGB)


def open_mask(path: Path) -> AbstractContextManager[Opened]:
    """Open a mask: 8-bit grey.

    Raises:
        UserError: as `open_png_of`.
    """
    return open_png_of(path, 8, GREY)


def _check_header(path: Path, header: bytes, depth: int, colour: int) -> tuple[int, int]:
    if not header:
        raise UserError(f"{path}: the file is empty; fetch it again")
    if header[:8] != SIGNATURE:
        raise UserError(f"{path}: not a PNG file; convert it, or fetch it again")
    if len(header) < HEADER_BYTES or header[8:16] != b"\0\0\0\x0dIHDR":
        raise UserError(f"{path}: truncated or damaged PNG header; fetch the file again")
    width, height, *found = struct.unpack(">IIBB", header[16:26])
    if found != [depth, colour]:
        channels = _CHANNELS.get(found[1], "an unknown number of")
        palette = " and a palette" if found[1] == 3 else ""
        raise UserError(
            f"{path}: expected {depth}-bit {_NAMES[colour]}, found {found[0]} bit, {channels} channel(s){palette}; "
            "convert it"
        )
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


def decode_png(png: Opened, dtype: np.dtype[Any], channels: int) -> np.ndarray:
    """The pixels of an open PNG as OpenCV has them: (H, W, 3) BGR, or (H, W) grey.

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
    shape = (png.height, png.width) if channels == 1 else (png.height, png.width, channels)
    if image.dtype != dtype or image.shape != shape:
        kind = f"{8 * dtype.itemsize}-bit {'grey' if channels == 1 else 'RGB'}"
        raise UserError(f"{png.path}: expected {kind}, found {image.dtype} of shape {image.shape}; convert it")
    return np.asarray(image)


def decode_frame(png: Opened) -> np.ndarray:
    """The pixels of an open frame: (H, W, 3) uint8, RGB.

    Raises:
        UserError: as `decode_png`.
    """
    image = decode_png(png, np.dtype(np.uint8), 3)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def decode_mask(png: Opened) -> np.ndarray:
    """Which pixels of an open mask are not 0: (H, W) bool.

    Raises:
        UserError: as `decode_png`.
    """
    return decode_png(png, np.dtype(np.uint8), 1) != 0
