"""What has happened to a data set since it was indexed: by names, sizes and times, which costs no reading."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_file
from edgeflownas.data.bad_samples import NAMED
from edgeflownas.data.index import entry_sample
from edgeflownas.data.inspection import FileState, file_state, same_files
from edgeflownas.data.layouts.registry import layout_of
from edgeflownas.data.samples import Sample
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
    layout = layout_of(index)
    for split, part in index["splits"].items():
        scan = layout.scan(Path(index["root"]), split, index.get("passes", "all"))
        for entry in part["samples"]:
            sample = entry_sample(index, split, entry)
            if not same_files(entry, _states(sample)):
                faults += _changes(sample, entry)
        for entry in part["rejected"]:
            if not same_files(entry, _states(entry_sample(index, split, entry))):
                remarks.append(f"{split} {entry['name']} was left out as bad, and has changed since")
        if later := {sample.name for sample in scan.samples} - {
            entry["name"] for key in ("samples", "rejected") for entry in part[key]
        }:
            remarks.append(f"{split} has {len(later)} new sample(s), such as {min(later)}")
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise UserError(
            f"{index['root']}: the data are not what was indexed: {'; '.join(faults[:NAMED])}{more}. "
            "Restore the files, or build the index again"
        )
    return remarks


def _states(sample: Sample) -> list[FileState]:
    # As strings: tens of thousands of path objects take longer than the system's calls.
    return [file_state(f"{sample.folder}{os.sep}{part}") for part in sample.parts]


def _changes(sample: Sample, entry: Mapping[str, Any]) -> list[str]:
    """Which of an entry's files are other than they were; a copied data set has new times and old bytes."""
    faults = []
    for path, size, sha256 in zip(sample.files, entry["bytes"], entry["sha256"], strict=True):
        try:
            found = os.stat(path).st_size
            if found != size:
                faults.append(f"{path}: has {found} bytes, was indexed with {size}")
            elif sha256_file(path) != sha256:
                faults.append(f"{path}: has other bytes than were indexed")
        except OSError as error:
            faults.append(f"{path}: {error.strerror}")
    return faults
