"""Inspect the samples of a data set: what each contains, or why it cannot be used."""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.data.files import Opened, read_rest
from edgeflownas.data.flow_files import BYTES_PER_PIXEL, HEADER_BYTES, LARGEST_KNOWN
from edgeflownas.data.readers import check_frame
from edgeflownas.data.samples import Sample, decode_labels, open_sample
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


def inspect_sample(
    sample: Sample, missing: Sequence[str], crop: tuple[int, int], max_flow: float, may_be_unknown: bool = False
) -> Entry:
    """Read a sample's files once, and check everything that needs no decoding of its frames.

    Args:
        sample: what to read.
        missing: names of its missing files.
        crop: (height, width) that it must at least have, pixels.
        max_flow: flow is clipped to ± this before its zero-flow EPE is computed, pixels.
        may_be_unknown: whether its flow may be unknown at some pixels, which then do not count.
    """
    try:
        if missing:
            raise UserError(f"missing {', '.join(missing)}")
        with open_sample(sample) as opened:
            frames, flow = opened[:2], opened[2]
            if flow.height < crop[0] or flow.width < crop[1]:
                raise UserError(
                    f"{frames[0].path}: is {flow.height}x{flow.width} pixels (height x width), smaller than the crop "
                    f"{crop[0]}x{crop[1]}"
                )
            digests = [_inspect_frame(frame) for frame in frames]
            totals = _Totals(max_flow)
            if flow.path.suffix == ".flo" and len(opened) == 3:
                digests.append(_inspect_in_blocks(flow, totals))
            else:
                digests += _inspect_labels(opened[2:], totals)
            facts = totals.facts(flow, may_be_unknown)
    except UserError as error:
        reason = str(error).replace(f"{sample.folder}{os.sep}", "")
        return {"name": sample.name, "reason": reason, **stamps([file_state(path) for path in sample.files])}
    return {
        "name": sample.name,
        "height": flow.height,
        "width": flow.width,
        **facts,
        "sha256": digests,
        **stamps([(one.status.st_size, one.status.st_mtime_ns) for one in opened]),
    }


def _inspect_frame(frame: Opened) -> str:
    """The digest of a frame without damage."""
    frame.file.seek(0)
    data = _buffers.bytes(frame.status.st_size)
    read_rest(frame, data)
    check_frame(frame, data)
    return hashlib.sha256(data.data).hexdigest()


def _inspect_in_blocks(flo: Opened, totals: "_Totals") -> str:
    """Add up a .flo file, and return its digest."""
    size = flo.height * flo.width * BYTES_PER_PIXEL
    flo.file.seek(0)
    digest = hashlib.sha256(flo.file.read(HEADER_BYTES))
    for begin in range(0, size, BLOCK_BYTES):
        block = _buffers.bytes(min(BLOCK_BYTES, size - begin))
        read_rest(flo, block)
        digest.update(block.data)
        totals.add(block.view("<f4"))
    return digest.hexdigest()


def _inspect_labels(labels: Sequence[Opened], totals: "_Totals") -> list[str]:
    """Add up a flow that must be decoded or has a mask, and return the files' digests."""
    digests = []
    for label in labels:
        begin = label.file.tell()
        label.file.seek(0)
        data = _buffers.bytes(label.status.st_size)
        read_rest(label, data)
        digests.append(hashlib.sha256(data.data).hexdigest())
        label.file.seek(begin)
    components = decode_labels(labels).reshape(-1)
    per_block = BLOCK_BYTES // components.itemsize
    for begin in range(0, len(components), per_block):
        totals.add(components[begin : begin + per_block])
    return digests


class _Totals:
    """What a flow adds up to, block by block."""

    def __init__(self, max_flow: float) -> None:
        self._max_flow = max_flow
        self._length = 0.0
        self._clipped = self._not_finite = self._unknown = 0

    def add(self, flow: np.ndarray) -> None:
        """A block of vectors, (2n,) float32, of at most BLOCK_BYTES."""
        lengths = _lengths(flow)
        longest = lengths.max()  # NaN if one is
        if not longest <= LARGEST_KNOWN:
            not_finite = ~np.isfinite(flow)
            marked = ~not_finite & (np.abs(flow) > LARGEST_KNOWN)
            self._not_finite += _count_pixels(not_finite)
            self._unknown += _count_pixels(marked)
            flow = flow.copy()
            flow.reshape(-1, 2)[marked.view(np.uint16) != 0] = 0
            lengths = _lengths(flow)
            longest = lengths.max()
        if not longest <= self._max_flow:
            kept = np.clip(flow, -self._max_flow, self._max_flow, out=_buffers.clipped[: len(flow)])
            self._clipped += _count_pixels(kept != flow)
            lengths = _lengths(kept)
        self._length += float(lengths.sum())

    def facts(self, flow: Opened, may_be_unknown: bool) -> Entry:
        """What an entry says of the flow: the mean length of its clipped, known vectors (pixels), and counts of pixels.

        Raises:
            UserError: it is not finite, zero or unknown everywhere, or unknown anywhere where that is a fault.
        """
        pixels = flow.height * flow.width
        known = pixels - self._unknown
        if self._not_finite:
            raise UserError(f"{flow.path}: flow is not finite at {self._not_finite} of {pixels} pixels")
        if self._unknown and not may_be_unknown:
            raise UserError(
                f"{flow.path}: flow is unknown (beyond {LARGEST_KNOWN:.0e}, Middlebury's mark) at {self._unknown} of "
                f"{pixels} pixels ({self._unknown / pixels:.1%}); training would take it for motion"
            )
        if not known:
            raise UserError(f"{flow.path}: flow is unknown at every pixel")
        if self._length == 0:
            raise UserError(f"{flow.path}: flow is zero everywhere, as if it had never been filled in")
        unknown = {"unknown_pixels": self._unknown} if self._unknown else {}
        return {"zero_flow_epe": self._length / known, "clipped_pixels": self._clipped, **unknown}


def _count_pixels(components: np.ndarray) -> int:
    """How many pixels have a marked component; (2n,) bool."""
    return int(np.count_nonzero(components.view(np.uint16)))


def _lengths(flow: np.ndarray) -> np.ndarray:
    """Lengths, (n,) float32, of flow vectors, (2n,) float32; the next call overwrites them."""
    with np.errstate(over="ignore"):
        # As complex numbers, because their absolute value is one pass and a fifth of the time of hypot.
        return np.abs(flow.view(np.complex64), out=_buffers.lengths[: len(flow) // 2])


def file_state(file: Path | str) -> FileState:
    """Size and time of a file; None if it cannot be reached."""
    try:
        status = os.stat(file)
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

    Of copies within a split, all but the first are listed. Of a sample in "train" and another split, the training one
    is listed: a network must not be evaluated on what it was trained on. The splits that are evaluated on have nothing
    to do with one another.

    Args:
        splits: usable entries of "train", and of those that are evaluated on.
        within_split: whether copies within one split count.
    """
    reasons: dict[str, dict[str, str]] = {split: {} for split in splits}
    evaluated: dict[tuple[str, ...], str] = {}
    for split in sorted(splits, key=lambda split: split == "train"):
        own: dict[tuple[str, ...], str] = {}
        for entry in splits[split]:
            frames = tuple(entry["sha256"][:2])
            original = evaluated.get(frames) if split == "train" else None
            original = original or (own.get(frames) if within_split else None)
            if original:
                reasons[split][entry["name"]] = f"has the frames of {original}: a copy"
            own.setdefault(frames, f"{split} {entry['name']}")
        evaluated = own | evaluated
    return reasons
