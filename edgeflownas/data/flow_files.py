"""Middlebury .flo files: `PIEH`, int32 width, int32 height, then H×W×2 float32, all little-endian, u before v."""

import os
import struct
from pathlib import Path

import numpy as np

from edgeflownas.errors import UserError

MAGIC = b"PIEH"
HEADER_BYTES = 12
BYTES_PER_PIXEL = 8
MAX_SIDE = 16384
"""Largest width or height that is read, in pixels: far above any flow data set, and 2 GiB at most in memory."""


def read_flow(path: Path | str) -> np.ndarray:
    """Read a flow field.

    The header's claim is compared with the file's size before any memory is taken for the pixels.

    Args:
        path: a Middlebury .flo file.

    Returns:
        (H, W, 2) float32, pixels: [..., 0] is the x-displacement u, [..., 1] the y-displacement v. Values are not
        judged; a file of NaN reads as NaN.

    Raises:
        UserError: the file cannot be opened, has another magic, a size outside 1 to MAX_SIDE, or not exactly as
            many bytes as its header claims.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno()).st_size
            width, height = _read_header(path, file.read(HEADER_BYTES))
            expected = HEADER_BYTES + width * height * BYTES_PER_PIXEL
            if found != expected:
                fault = "truncated" if found < expected else "oversized"
                raise UserError(
                    f"{path}: {fault} flow file: the header claims {width}x{height} pixels, "
                    f"so {expected} bytes were expected, found {found}; fetch the file again"
                )
            values = np.fromfile(file, dtype="<f4", count=width * height * 2)
    except OSError as error:
        raise UserError(f"{path}: cannot read the flow file: {error.strerror}") from error
    return values.reshape(height, width, 2).astype(np.float32, copy=False)


def _read_header(path: Path | str, header: bytes) -> tuple[int, int]:
    """Width and height that a header claims, both within 1 to MAX_SIDE."""
    if header[:4] != MAGIC:
        raise UserError(
            f"{path}: not a .flo file: expected the magic {MAGIC.decode()!r}, "
            f"found {header[:4].decode('ascii', 'backslashreplace')!r}"
        )
    if len(header) < HEADER_BYTES:
        raise UserError(
            f"{path}: truncated flow file: expected a header of {HEADER_BYTES} bytes, found {len(header)}; "
            "fetch the file again"
        )
    width, height = struct.unpack("<ii", header[4:])
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UserError(
            f"{path}: the header claims {width}x{height} pixels; expected a width and a height of 1 to {MAX_SIDE}"
        )
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
