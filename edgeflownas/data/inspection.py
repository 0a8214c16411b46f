"""Inspect the samples of a data set: what each contains, or why it cannot be used."""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeflownas.data.files import Opened, read_rest
from edgeflownas.data.flow_files import BYTES_PER_PIXEL, HEADER_BYTES, LARGEST_KNOWN
from edgeflownas.data.flying_chairs import Sample, open_sample
from edgeflownas.data.png_files import check_checksums
from edgeflownas.errors import UserError

Entry = dict[str, Any]
"""A sample in `data_index.json`: one that cannot be used has a `reason`, without the folder it lies in."""
FileState = tuple[int, int] | None
"""Size in bytes and time of the last change in ns; None for a file that cannot be reached."""


BLOCK_BYTES = 2**20
"""How much flow is processed at once: little enough that the results stay in the processor's cache, and in few calls,
because threads wait for one another after each."""


class _Buffers(threading.local):
    """Memory of an inspecting thread: allocating it for each sample would cost more time than the digests."""

    def __init__(self) -> None:
        self.file = np.empty(BLOCK_BYTES, np.uint8)
        self.clipped = np.empty(BLOCK_BYTES // 4, np.float32)
        self.lengths = np.empty(BLOCK_BYTES // BYTES_PER_PIXEL, np.float32)

    def bytes(self, count: int) -> np.ndarray:
        """A buffer, (count,) uint8, whose content the next call overwrites."""
        if count > len(self.file):
            self.file = np.empty(count, np.uint8)
        return self.file[:count]


_buffers = _Buffers()


def inspect_sample(sample: Sample, missing: Sequence[str], crop: tuple[int, int], max_flow: float) -> Entry:
    """Read a sample's three files once, and check everything that needs no decoding of its frames.

    Args:
        sample: what to read.
        missing: names of its missing files.
        crop: (height, width) that it must at least have, pixels.
        max_flow: flow is clipped to ± this before its zero-flow EPE is computed, pixels.
    """
    try:
        if missing:
            raise UserError(f"missing {', '.join(missing)}")
        with open_sample(sample) as opened:
            *frames, flow = opened
            if flow.height < crop[0] or flow.width < crop[1]:
                raise UserError(
                    f"{frames[0].path}: is {flow.height}x{flow.width} pixels (height x width), smaller than the crop "
                    f"{crop[0]}x{crop[1]}"
                )
            digests = [_inspect_frame(frame) for frame in frames]
            inspected = _inspect_flow(flow, max_flow)
    except UserError as error:
        reason = str(error).replace(f"{sample.folder}{os.sep}", "")
        return {"name": sample.name, "reason": reason, **stamps([file_state(path) for path in sample.files])}
    return {
        "name": sample.name,
        "height": flow.height,
        "width": flow.width,
        "zero_flow_epe": inspected.zero_flow_epe,
        "clipped_pixels": inspected.clipped,
        "sha256": [*digests, inspected.digest],
        **stamps([(one.status.st_size, one.status.st_mtime_ns) for one in opened]),
    }


def _inspect_frame(png: Opened) -> str:
    """The digest of a PNG without damage."""
    data = _buffers.bytes(png.status.st_size)
    read_rest(png, data)
    check_checksums(png.path, data)
    return hashlib.sha256(data.data).hexdigest()


class _Flow(NamedTuple):
    """What a flow file holds: its digest, the mean length of its clipped flow (pixels), how many pixels are clipped."""

    digest: str
    zero_flow_epe: float
    clipped: int


def _inspect_flow(flo: Opened, max_flow: float) -> _Flow:
    pixels = flo.height * flo.width
    flo.file.seek(0)
    digest = hashlib.sha256(flo.file.read(HEADER_BYTES))
    total, clipped, not_finite, unknown = 0.0, 0, 0, 0
    for begin in range(0, pixels * BYTES_PER_PIXEL, BLOCK_BYTES):
        block = _buffers.bytes(min(BLOCK_BYTES, pixels * BYTES_PER_PIXEL - begin))
        read_rest(flo, block)
        digest.update(block.data)
        flow = block.view("<f4")
        lengths = _lengths(flow)
        longest = lengths.max()  # NaN if one is
        if not longest <= LARGEST_KNOWN:
            not_finite += _count_pixels(~np.isfinite(flow))
            unknown += _count_pixels(np.isfinite(flow) & (np.abs(flow) > LARGEST_KNOWN))
        if not longest <= max_flow:
            kept = np.clip(flow, -max_flow, max_flow, out=_buffers.clipped[: len(flow)])
            clipped += _count_pixels(kept != flow)
            lengths = _lengths(kept)
        total += float(lengths.sum())
    if not_finite:
        raise UserError(f"{flo.path}: flow is not finite at {not_finite} of {pixels} pixels")
    if unknown:
        raise UserError(
            f"{flo.path}: flow is unknown (beyond {LARGEST_KNOWN:.0e}, Middlebury's mark) at {unknown} of {pixels} "
            f"pixels ({unknown / pixels:.1%}); training would take it for motion"
        )
    if total == 0:
        raise UserError(f"{flo.path}: flow is zero everywhere, as if it had never been filled in")
    return _Flow(digest.hexdigest(), total / pixels, clipped)


def _count_pixels(components: np.ndarray) -> int:
    """How many pixels have a marked component; (2n,) bool."""
    return int(np.count_nonzero(components.view(np.uint16)))


def _lengths(flow: np.ndarray) -> np.ndarray:
    """Lengths, (n,) float32, of flow vectors, (2n,) float32; the next call overwrites them."""
    with np.errstate(over="ignore"):
        # As complex numbers, because their absolute value is one pass and a fifth of the time of hypot.
        return np.abs(flow.view(np.complex64), out=_buffers.lengths[: len(flow) // 2])


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
    """Whether an entry's files still have the sizes and times with which they were inspected."""
    return stamps(states) == {key: entry[key] for key in ("bytes", "mtime_ns")}


def copies(splits: Mapping[str, Sequence[Entry]], within_split: bool) -> dict[str, dict[str, str]]:
    """Why samples are copies, by split and name: both frames have the bytes of another sample's.

    Of copies within a split, all but the first are listed. Of a sample in both splits, the training one is listed: a
    network must not be evaluated on what it was trained on.

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
