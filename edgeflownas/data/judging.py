"""Judge the samples of a data set: what each holds, or why it cannot be used."""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.data.files import Opened, read_rest
from edgeflownas.data.flow_files import BYTES_PER_PIXEL, HEADER_BYTES
from edgeflownas.data.flying_chairs import Sample, open_sample
from edgeflownas.data.png_files import check_checksums
from edgeflownas.errors import UserError

Entry = dict[str, Any]
"""A sample in `data_index.json`: one that cannot be used has a `reason`, without the folder it lies in."""
FileState = tuple[int, int] | None
"""Size in bytes and time of the last change in ns; None for a file that cannot be reached."""


BLOCK_BYTES = 2**20
"""How much flow is looked at in one go: what is computed from it stays in the processor's cache, in few calls, because
threads wait for one another after each."""


class _Buffers(threading.local):
    """Memory of a thread that judges: taking it anew for each sample costs more time than the digests do."""

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
        with open_sample(sample) as opened:
            *frames, flow = opened
            if flow.height < crop[0] or flow.width < crop[1]:
                raise UserError(
                    f"{frames[0].path}: is {flow.height}x{flow.width} pixels (height x width), smaller than the crop "
                    f"{crop[0]}x{crop[1]}"
                )
            digests = [_judge_frame(frame) for frame in frames]
            digest, epe = _judge_flow(flow, max_flow)
    except UserError as error:
        reason = str(error).replace(f"{sample.folder}{os.sep}", "")
        return {"name": sample.name, "reason": reason, **stamps([file_state(path) for path in sample.files])}
    return {
        "name": sample.name,
        "height": flow.height,
        "width": flow.width,
        "zero_flow_epe": epe,
        "sha256": [*digests, digest],
        **stamps([(one.status.st_size, one.status.st_mtime_ns) for one in opened]),
    }


def _judge_frame(png: Opened) -> str:
    """The digest of a PNG without damage."""
    data = _buffers.bytes(png.status.st_size)
    read_rest(png, data)
    check_checksums(png.path, data)
    return hashlib.sha256(data.data).hexdigest()


def _judge_flow(flo: Opened, max_flow: float) -> tuple[str, float]:
    """The digest of a flow file, and its zero-flow EPE: the mean length of the flow clipped to ±max_flow, pixels."""
    pixels = flo.height * flo.width
    flo.file.seek(0)
    digest = hashlib.sha256(flo.file.read(HEADER_BYTES))
    total, bad = 0.0, 0
    for begin in range(0, pixels * BYTES_PER_PIXEL, BLOCK_BYTES):
        block = _buffers.bytes(min(BLOCK_BYTES, pixels * BYTES_PER_PIXEL - begin))
        read_rest(flo, block)
        digest.update(block.data)
        flow = block.view("<f4")
        lengths = _lengths(flow)
        longest = lengths.max()  # NaN if one is
        if not np.isfinite(longest):
            bad += int(np.count_nonzero(~np.isfinite(flow).reshape(-1, 2).all(axis=1)))
        if not longest <= max_flow:
            lengths = _lengths(np.clip(flow, -max_flow, max_flow, out=_buffers.clipped[: len(flow)]))
        total += float(lengths.sum())
    if bad:
        raise UserError(f"{flo.path}: flow is not finite at {bad} of {pixels} pixels")
    if total == 0:
        raise UserError(f"{flo.path}: flow is zero everywhere, as if it had never been filled in")
    return digest.hexdigest(), total / pixels


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
