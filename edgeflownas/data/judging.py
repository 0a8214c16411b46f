"""Judge the samples of a data set: what each holds, or why it cannot be used."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.data.flow_files import decode_flow
from edgeflownas.data.flying_chairs import Sample, read_files
from edgeflownas.data.png_files import check_checksums
from edgeflownas.errors import UserError

Entry = dict[str, Any]
"""A sample in `data_index.json`: one that cannot be used has a `reason`, without the folder it lies in."""
FileState = tuple[int, int] | None
"""Size in bytes and time of the last change in ns; None for a file that cannot be reached."""


def judge(sample: Sample, missing: Sequence[str], crop: tuple[int, int], max_flow: float) -> Entry:
    """Read a sample's three files once, and judge all that can be known without decoding its frames.

    Args:
        sample: what to read.
        missing: names of its files that are not there.
        crop: (height, width) that it must at least have, pixels.
        max_flow: flow is clipped to ± this before its zero-flow EPE is taken, pixels.
    """
    try:
        if missing:
            raise UserError(f"missing {', '.join(missing)}")
        *pngs, flo = contents = read_files(sample)
        height, width = flo.height, flo.width
        if height < crop[0] or width < crop[1]:
            raise UserError(
                f"{sample.files[0]}: is {height}x{width} pixels (height x width), smaller than the crop "
                f"{crop[0]}x{crop[1]}"
            )
        for path, png in zip(sample.files, pngs, strict=False):
            check_checksums(path, png.data)
        flow = decode_flow(flo)
        if not np.isfinite(flow).all():
            bad = np.count_nonzero(~np.isfinite(flow).all(axis=2))
            raise UserError(f"{sample.files[2]}: flow is not finite at {bad} of {height * width} pixels")
        epe = zero_flow_epe(flow, max_flow)
        if epe == 0:
            raise UserError(f"{sample.files[2]}: flow is zero everywhere, as if it had never been filled in")
    except UserError as error:
        reason = str(error).replace(f"{sample.folder}{os.sep}", "")
        return {"name": sample.name, "reason": reason, **stamps([file_state(path) for path in sample.files])}
    return {
        "name": sample.name,
        "height": height,
        "width": width,
        "zero_flow_epe": epe,
        "sha256": [hashlib.sha256(content.data.data).hexdigest() for content in contents],
        **stamps([(content.status.st_size, content.status.st_mtime_ns) for content in contents]),
    }


def zero_flow_epe(flow: np.ndarray, max_flow: float) -> float:
    """EPE of predicting no motion: the mean length of the flow clipped to ±max_flow per component, pixels."""
    clipped = np.clip(flow, -max_flow, max_flow, dtype=np.float32)
    # As complex numbers, because their absolute value is one pass and a fifth of the time of hypot.
    return float(np.abs(clipped.view(np.complex64)).mean(dtype=np.float64))


def file_state(file: Path | os.DirEntry[str]) -> FileState:
    """Size and time of a file; None if it cannot be reached."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def stamps(states: Sequence[FileState]) -> dict[str, list[int | None]]:
    """Sizes and times as an entry has them."""
    return {"bytes": [state and state[0] for state in states], "mtime_ns": [state and state[1] for state in states]}


def same_files(entry: Entry, states: Sequence[FileState]) -> bool:
    """Whether an entry's files have the sizes and times that they were judged with."""
    return stamps(states) == {key: entry[key] for key in ("bytes", "mtime_ns")}


def copies(splits: Mapping[str, Sequence[Entry]], within_split: bool) -> dict[str, dict[str, str]]:
    """Why samples are copies, by split and name: both frames have the bytes of another sample's.

    Of copies within a split, all but the first are meant. Of a sample in both splits it is the training one: what a
    network is judged on must not be what it was trained on.

    Args:
        splits: usable entries of "train" and "val".
        within_split: whether copies within one split count.
    """
    reasons: dict[str, dict[str, str]] = {"train": {}, "val": {}}
    seen: dict[tuple[str, ...], str] = {}
    for split in ("val", "train"):
        own: dict[tuple[str, ...], str] = {}
        for entry in splits[split]:
            frames = tuple(entry["sha256"][:2])
            original = seen.get(frames) or (own.get(frames) if within_split else None)
            if original:
                reasons[split][entry["name"]] = f"has the frames of {original}: a copy"
            own.setdefault(frames, f"{split} {entry['name']}")
        seen |= own
    return reasons
