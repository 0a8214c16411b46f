"""Checkpoints: one file with everything to continue, written to a temporary name and renamed.

A checkpoint is an .npz archive: NumPy arrays (`weights.<name>`, `optimizer.<index>`) and a JSON header. The header
carries a SHA-256 over all arrays. Reading one executes nothing (no pickle) and never takes more memory than the file
is long, whatever sizes it claims. Imports no Keras, so that gates can read headers.
"""

import hashlib
import io
import json
import struct
import tokenize
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgeflownas.artifacts import parse_json, write_atomic
from edgeflownas.errors import UserError

FORMAT = "edgeflownas-checkpoint-1"
HEADER = "header"
SUFFIX = ".npy"
NPY_VERSION = (1, 0)
# What Python's zipfile and NumPy's array headers raise on bytes that nobody wrote.
READ_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RuntimeError),
    *(SyntaxError, MemoryError, struct.error, tokenize.TokenError, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class Checkpoint:
    """A header (JSON values) and arrays by name, and the file that they were read from."""

    path: Path
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


def save_checkpoint(
    path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], keep: Path | None = None
) -> None:
    """Write a checkpoint atomically; a failure leaves the file that was there, a success keeps it as `keep`."""
    full_header = {**header, "format": FORMAT, "sha256": _digest(arrays)}
    encoded = np.frombuffer(json.dumps(full_header, allow_nan=False).encode(), dtype=np.uint8)

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, **{HEADER: encoded}, **dict(arrays))

    write_atomic(path, write, keep)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify its checksum.

    Raises:
        UserError: missing, truncated, changed, or not a checkpoint of this package; says which file and what is wrong.
    """
    header, arrays = _read(path, with_arrays=True)
    if _digest(arrays) != header.get("sha256"):
        raise UserError(f"{path}: damaged checkpoint: its arrays do not match its checksum")
    return Checkpoint(path, header, arrays)


def read_header(path: Path | str) -> dict[str, Any]:
    """Read only the header: epoch, global_step, config_hash, best and the rest of the run's state.

    Raises:
        UserError: missing, or not a readable checkpoint of this package.
    """
    return _read(Path(path), with_arrays=False)[0]


def _read(path: Path, with_arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        _check_is_archive(path)
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path.stat().st_size)
            header = parse_json(bytes(_read_array(archive, HEADER)), where=HEADER)
            names = [name.removesuffix(SUFFIX) for name in archive.namelist()] if with_arrays else []
            arrays = {name: _read_array(archive, name) for name in names if name != HEADER}
    except (*READ_ERRORS, UserError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: damaged checkpoint or none of EdgeFlowNAS: {reason}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path}: not an EdgeFlowNAS checkpoint of format {FORMAT}")
    return header, arrays


def _check_is_archive(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(4)
    if not start:
        raise ValueError("the file is empty")
    if start != b"PK\x03\x04":
        raise ValueError("it does not begin as one; another file has its name, or its start was overwritten")
    if not zipfile.is_zipfile(path):
        raise ValueError("it begins as one and its end is missing, so it was cut short")


def _check_sizes(archive: zipfile.ZipFile, file_size: int) -> None:
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it has compressed members, which no checkpoint has")
    claimed = sum(member.file_size for member in members)
    if claimed > file_size:
        raise ValueError(f"it claims to hold {claimed} bytes, and the file has {file_size}")


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """A view of the member's own bytes: a shape that they do not fill is refused, not allocated."""
    content = archive.read(name + SUFFIX)
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != NPY_VERSION:
        raise ValueError(f"{name} is not of NumPy format {NPY_VERSION}")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    values = np.frombuffer(content, dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.data)
    return digest.hexdigest()
