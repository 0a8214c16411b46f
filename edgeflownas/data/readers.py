"""Readers by suffix: frames from .png, .ppm and .jpg, flow from .flo, .pfm and KITTI's 16-bit .png."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeflownas.data import flow_files, jpeg_files, kitti_files, pfm_files, png_files, ppm_files
from edgeflownas.data.files import Opened
from edgeflownas.errors import UserError


class Reader(NamedTuple):
    """One file format.

    open: checks the header and the file's size.
    decode: what an open file holds.
    check: refuses damage in a file's bytes, (bytes,) uint8, that `open` cannot see; the cheapest way there is.
    """

    open: Callable[[Path], AbstractContextManager[Opened]]
    decode: Callable[[Opened], np.ndarray]
    check: Callable[[Path, np.ndarray], None]


def _no_more_to_check(path: Path, data: np.ndarray) -> None:
    """Of raw pixels every value is possible."""


_JPEG = Reader(jpeg_files.open_jpeg, jpeg_files.decode_jpeg, jpeg_files.check_jpeg)
FRAMES: Mapping[str, Reader] = {
    ".png": Reader(png_files.open_png, png_files.decode_frame, png_files.check_checksums),
    ".ppm": Reader(ppm_files.open_ppm, ppm_files.decode_ppm, _no_more_to_check),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}
FLOWS: Mapping[str, Reader] = {
    ".flo": Reader(flow_files.open_flo, flow_files.decode_flow, _no_more_to_check),
    ".pfm": Reader(pfm_files.open_pfm, pfm_files.decode_pfm, _no_more_to_check),
    ".png": Reader(kitti_files.open_flow_png, kitti_files.decode_flow_png, png_files.check_checksums),
}


def _reader(readers: Mapping[str, Reader], path: Path) -> Reader:
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise UserError(f"{path}: expected one of {', '.join(readers)}, found {suffix or 'no suffix'}; convert it")
    return readers[suffix]


def open_frame(path: Path) -> AbstractContextManager[Opened]:
    """Open a frame by its suffix, with its header checked.

    Raises:
        UserError: a suffix that is none of `FRAMES`, or as the format's own `open`.
    """
    return _reader(FRAMES, path).open(path)


def decode_frame(frame: Opened) -> np.ndarray:
    """The pixels of an open frame: (H, W, 3) uint8, RGB.

    Raises:
        UserError: the file is damaged.
    """
    return _reader(FRAMES, frame.path).decode(frame)


def check_frame(frame: Opened, data: np.ndarray) -> None:
    """Refuse a damaged frame; `data` is the whole file, (bytes,) uint8.

    Raises:
        UserError: it is damaged.
    """
    _reader(FRAMES, frame.path).check(frame.path, data)


def read_frame(path: Path) -> np.ndarray:
    """Read one frame: (H, W, 3) uint8, RGB.

    Raises:
        UserError: as `open_frame` and `decode_frame`.
    """
    with open_frame(path) as frame:
        return decode_frame(frame)


def open_flow(path: Path) -> AbstractContextManager[Opened]:
    """Open a flow file by its suffix, with its header checked.

    Raises:
        UserError: a suffix that is none of `FLOWS`, or as the format's own `open`.
    """
    return _reader(FLOWS, path).open(path)


def decode_flow(flow: Opened) -> np.ndarray:
    """An open file's flow: (H, W, 2) float32, pixels; beyond `flow_files.LARGEST_KNOWN` where it is not known.

    Raises:
        UserError: the file is damaged.
    """
    return _reader(FLOWS, flow.path).decode(flow)


def read_flow(path: Path) -> np.ndarray:
    """Read a flow field, as `decode_flow` has it.

    Raises:
        UserError: as `open_flow` and `decode_flow`.
    """
    with open_flow(path) as flow:
        return decode_flow(flow)
