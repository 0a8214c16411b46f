"""Checkpoints: one file with everything to continue, written to a temporary name and renamed.

A checkpoint is an .npz archive: NumPy arrays (`weights.<name>`, `optimizer.<index>`) and a JSON header, read
without pickle. The header carries a SHA-256 over all arrays. Imports no Keras, so that gates can read headers.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgeflownas.artifacts import write_atomic
from edgeflownas.errors import UserError

FORMAT = "edgeflownas-checkpoint-1"
HEADER = "header"


@dataclass(frozen=True)
class Checkpoint:
    """A header (JSON values) and arrays by name."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


def save_checkpoint(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a checkpoint atomically; a failure leaves the file that was there."""
    full_header = {**header, "format": FORMAT, "sha256": _digest(arrays)}
    encoded = np.frombuffer(json.dumps(full_header, allow_nan=False).encode(), dtype=np.uint8)

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, **{HEADER: encoded}, **dict(arrays))

    write_atomic(path, write)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify its checksum.

    Raises:
        UserError: missing, truncated, changed, or not a checkpoint of this package; says which file and what is wrong.
    """
    header, arrays = _read(path, with_arrays=True)
    if _digest(arrays) != header["sha256"]:
        raise UserError(f"{path}: damaged checkpoint: its arrays do not match its checksum")
    return Checkpoint(header, arrays)


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
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(bytes(archive[HEADER]))
            arrays = {name: archive[name] for name in archive.files if name != HEADER} if with_arrays else {}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, AttributeError) as error:
        raise UserError(f"{path}: damaged checkpoint or none of EdgeFlowNAS: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path}: not an EdgeFlowNAS checkpoint of format {FORMAT}")
    return header, arrays


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.data)
    return digest.hexdigest()
