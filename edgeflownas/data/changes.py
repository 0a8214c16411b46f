"""What has happened to a data set since it was indexed: by names, sizes and times, which costs no reading."""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_file
from edgeflownas.data.bad_samples import NAMED
from edgeflownas.data.flying_chairs import FILE_KINDS, SPLITS, sample_files
from edgeflownas.data.inspection import FileState, file_state, same_files
from edgeflownas.errors import UserError


def check_unchanged(index: dict[str, Any]) -> list[str]:
    """Compare the files on disk with the index: names, sizes and times, and the bytes of files whose time has changed.

    Returns:
        Remarks on what the index does not list: samples that were left out as bad and have changed, and samples that
        came later. A run uses neither.

    Raises:
        UserError: listed files have vanished or changed (the first 10 are named).
    """
    faults: list[str] = []
    remarks: list[str] = []
    for split in SPLITS:
        folder, part = Path(index["root"]) / split, index["splits"][split]
        found: dict[str, list[FileState]] = defaultdict(lambda: [None] * len(FILE_KINDS))
        for name, kind, file in sample_files(index["root"], split):
            found[name][FILE_KINDS.index(kind)] = file_state(file)
        for entry in part["samples"]:
            if not same_files(entry, found[entry["name"]]):
                faults += _changes(folder, entry)
        for entry in part["rejected"]:
            # Of a name that is none of the layout's, the scan says nothing.
            states = found.get(entry["name"]) or [file_state(folder / f"{entry['name']}-{kind}") for kind in FILE_KINDS]
            if not same_files(entry, states):
                remarks.append(f"{split} {entry['name']} was left out as bad, and has changed since")
        if later := found.keys() - {entry["name"] for key in ("samples", "rejected") for entry in part[key]}:
            remarks.append(f"{split} has {len(later)} new sample(s), such as {min(later)}")
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise UserError(
            f"{index['root']}: the data are not what was indexed: {'; '.join(faults[:NAMED])}{more}. "
            "Restore the files, or build the index again"
        )
    return remarks


def _changes(folder: Path, entry: dict[str, Any]) -> list[str]:
    """Which of an entry's files are other than they were; a copied data set has new times and old bytes."""
    faults = []
    for kind, size, sha256 in zip(FILE_KINDS, entry["bytes"], entry["sha256"], strict=True):
        path = folder / f"{entry['name']}-{kind}"
        try:
            found = os.stat(path).st_size
            if found != size:
                faults.append(f"{path}: has {found} bytes, was indexed with {size}")
            elif sha256_file(path) != sha256:
                faults.append(f"{path}: has other bytes than were indexed")
        except OSError as error:
            faults.append(f"{path}: {error.strerror}")
    return faults
