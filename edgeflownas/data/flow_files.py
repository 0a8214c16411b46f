"""Middlebury .flo files: `PIEH`, int32 width, int32 height, then H×W×2 float32, all little-endian, u before v."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeflownas.data.files import MAX_SIDE, Opened, open_regular, read_rest, require_exact, require_size
from edgeflownas.errors import UserError

MAGIC = b"PIEH"
HEADER_BYTES = 12
BYTES_PER_PIXEL = 8
LARGEST_KNOWN = 1e9
"""Middlebury's mark: a pixel with a component beyond this (they write 1e10) has no known flow."""
UNKNOWN = 1e10
"""What such a pixel holds in memory, whatever format says that it is not known."""


def known_pixels(flow: np.ndarray) -> np.ndarray:
    """Where flow (H, W, 2) is known: (H, W) bool. NaN is no mark, but a fault."""
    return np.asarray(~(np.abs(flow) > LARGEST_KNOWN).any(axis=-1))


@contextmanager
def open_flo(path: Path) -> Iterator[Opened]:
    """Open a .flo file. The header is compared with the file's size before any memory is taken for the pixels.

    Raises:
        UserError: the file cannot be opened, has another magic, a size that no flow field has, or not exactly as many
            bytes as its header claims.
    """
    with open_regular(path) as (file, status):
        width, height = _check_header(path, file.read(HEADER_BYTES))
        expected = HEADER_BYTES + width * height * BYTES_PER_PIXEL
        require_exact(path, "flow", status.st_size, expected, width, height)
        yield Opened(path, file, height, width, status)


def decode_flow(flo: Opened) -> np.ndarray:
    """The flow field of an open .flo file.

    Returns:
        (H, W, 2) float32, pixels: [..., 0] is the x-displacement u, [..., 1] the y-displacement v. Values are not
        checked; a file of NaN reads as NaN.

    Raises:
        UserError: the file has become shorter since it was opened.
    """
    data = np.empty(flo.height * flo.width * BYTES_PER_PIXEL, np.uint8)
    read_rest(flo, data)
    return data.view("<f4").astype(np.float32, copy=False).reshape(flo.height, flo.width, 2)


def read_flow(path: Path | str) -> np.ndarray:
    """Read a flow field, (H, W, 2) float32, pixels.

    Raises:
        UserError: as `open_flo`.
    """
    with open_flo(Path(path)) as flo:
        return decode_flow(flo)


def _check_header(path: Path, header: bytes) -> tuple[int, int]:
    """Width and height that a header claims."""
    if not header:
        raise UserError(f"{path}: the file is empty; fetch it again")
    if header[:4] != MAGIC:
        hint = "; it was written big-endian: write it little-endian" if header[:4] == MAGIC[::-1] else ""
        raise UserError(
            f"{path}: not a .flo file: expected the magic {MAGIC.decode()!r}, "
            f"found {header[:4].decode('ascii', 'backslashreplace')!r}{hint}"
        )
    if len(header) < HEADER_BYTES:
        raise UserError(
            f"{path}: truncated flow file: expected a header of {HEADER_BYTES} bytes, found {len(header)}; "
            "fetch the file again"
        )
    width, height = struct.unpack("<ii", header[4:])
    swapped = struct.unpack(">ii", header[4:])
    # A size of which both readings make sense does not exist.
    if all(1 <= side <= MAX_SIDE for side in swapped):
        raise UserError(
            f"{path}: the header claims {width}x{height} pixels, or {swapped[0]}x{swapped[1]} if it was written "
            "big-endian: write it little-endian"
        )
    require_size(path, width, height)
    return width, height


def write_flow(path: Path | str, flow: np.ndarray) -> None:
    """Write a flow field.

    Args:
        path: the .flo file to write; an existing one is replaced.
        flow: (H, W, 2), pixels; stored as float32.

    Raises:
        ValueError: `flow` has another shape.
    """
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"flow must have shape (H, W, 2), got {flow.shape}")
    height, width = flow.shape[:2]
    with open(path, "wb") as file:
        file.write(MAGIC + struct.pack("<ii", width, height))
        file.write(np.ascontiguousarray(flow, dtype="<f4").tobytes())
