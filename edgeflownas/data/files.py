"""Opening files of a data set that may hold anything: nothing waits, and no memory is taken on a file's word alone."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeflownas.errors import UserError

MAX_SIDE = 16384
"""Largest width or height that is read, pixels."""
MAX_PIXELS = 2**25
"""Largest frame that is read, 8192×4096: far above any flow data set, and 256 MiB of flow at most."""


class Opened(NamedTuple):
    """A file whose header has been checked, read up to the header's end; its size in pixels, and its status."""

    path: Path
    file: FileIO
    height: int
    width: int
    status: os.stat_result


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[FileIO, os.stat_result]]:
    """Open a file for reading.

    Raises:
        UserError: it is missing, unreadable, a loop of links, or not a regular file (a pipe would wait for a writer).
    """
    try:
        # Unbuffered: headers and contents are all that is read.
        with open(path, "rb", 0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path}: not a regular file; put the sample's own file in its place")
            yield file, status
    except OSError as error:
        raise UserError(f"{path}: cannot read the file: {error.strerror}") from error


def read_rest(opened: Opened, buffer: np.ndarray) -> None:
    """Fill a buffer, (bytes,) uint8, from the current position of the file.

    Raises:
        UserError: the file has become shorter since it was opened.
    """
    rest = buffer.data
    while rest:
        count = opened.file.readinto(rest)
        if not count:
            raise UserError(f"{opened.path}: truncated: it shrank while it was read; fetch the file again")
        rest = rest[count:]


def require_size(path: Path, width: int, height: int) -> None:
    """Refuse a size that no frame or flow field has, before anything is allocated for it.

    Raises:
        UserError: a side outside 1 to MAX_SIDE, or more than MAX_PIXELS.
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise UserError(
            f"{path}: the header claims {width}x{height} pixels; expected a width and a height of 1 to {MAX_SIDE} "
            f"and at most {MAX_PIXELS} pixels"
        )


def require_exact(path: Path, what: str, found: int, expected: int, width: int, height: int) -> None:
    """Refuse a file of raw pixels that has more or fewer bytes than its header claims.

    Raises:
        UserError: it has.
    """
    if found != expected:
        fault = "truncated" if found < expected else "oversized"
        raise UserError(
            f"{path}: {fault} {what} file: the header claims {width}x{height} pixels, "
            f"so {expected} bytes were expected, found {found}; fetch the file again"
        )
