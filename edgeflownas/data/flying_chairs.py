"""The FlyingChairs2 layout on disk: `<root>/{train,val}/NNNNNNN-img_0.png`, `-img_1.png`, `-flow_01.flo`."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeflownas.data.files import Opened
from edgeflownas.data.flow_files import decode_flow, open_flo
from edgeflownas.data.png_files import decode_frame, open_png
from edgeflownas.errors import UserError

SPLITS = ("train", "val")
FILE_KINDS = ("img_0.png", "img_1.png", "flow_01.flo")
"""The three files of a sample, in the order used everywhere. Other files (FlyingChairs2 ships many) are ignored."""
LAYOUT = f"the layout is <root>/{{train,val}}/NNNNNNN-{{{','.join(FILE_KINDS)}}}"

_OPENERS = (open_png, open_png, open_flo)
_SAMPLE_FILE = re.compile(rf"([0-9]+)-({'|'.join(map(re.escape, FILE_KINDS))})")


@dataclass(frozen=True, order=True)
class Sample:
    """One frame pair with its flow: a folder and the number that its three file names share."""

    folder: Path
    name: str

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Paths of frame 0, frame 1 and the flow from 0 to 1."""
        frame_0, frame_1, flow = (self.folder / f"{self.name}-{kind}" for kind in FILE_KINDS)
        return frame_0, frame_1, flow


def sample_files(root: Path | str, split: str) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """Every file of a split that belongs to a sample: the sample's name, which of the three it is, and the file.

    Raises:
        UserError: the root or the split's folder is missing or unreadable.
    """
    folder = Path(root) / split
    try:
        os.stat(root)
    except OSError as error:
        raise UserError(
            f"{root}: no such data folder ({error.strerror}); correct data.root, or generate it "
            "(data.source: synthetic)"
        ) from error
    try:
        with os.scandir(folder) as files:
            for file in files:
                if match := _SAMPLE_FILE.fullmatch(file.name):
                    yield match[1], match[2], file
    except OSError as error:
        raise UserError(
            f"{folder}: the data folder has no split {split!r} that can be listed ({error.strerror}); {LAYOUT}"
        ) from error


def scan_split(root: Path | str, split: str) -> tuple[list[Sample], dict[str, list[str]]]:
    """Every sample of a split in the order of its name, complete or not, and which files are missing of whom.

    Raises:
        UserError: as `sample_files`, or there is no file of a sample.
    """
    folder = Path(root) / split
    kinds_of: dict[str, set[str]] = {}
    for name, kind, _ in sample_files(root, split):
        kinds_of.setdefault(name, set()).add(kind)
    if not kinds_of:
        raise UserError(f"{folder}: the split {split!r} is empty: found no sample; {LAYOUT}")
    missing = {
        name: [f"{name}-{kind}" for kind in FILE_KINDS if kind not in kinds]
        for name, kinds in sorted(kinds_of.items())
        if len(kinds) < len(FILE_KINDS)
    }
    return [Sample(folder, name) for name in sorted(kinds_of)], missing


def list_samples(root: Path | str, split: str) -> list[Sample]:
    """The samples of a split, sorted by name.

    Raises:
        UserError: as `scan_split`, or a sample lacks one of its three files.
    """
    samples, missing = scan_split(root, split)
    if missing:
        files = [file for faults in missing.values() for file in faults]
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        raise UserError(
            f"{Path(root) / split}: missing {', '.join(files[:10])}{more}; "
            "restore them, or remove the samples' other files"
        )
    return samples


@contextmanager
def open_sample(sample: Sample) -> Iterator[tuple[Opened, Opened, Opened]]:
    """Open a frame pair and its flow, and compare their sizes before anything is decoded.

    Raises:
        UserError: a file is missing or broken, or the three do not have the same size.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(opens(path)) for opens, path in zip(_OPENERS, sample.files, strict=True)]
        first = opened[0]
        for one in opened:
            if (one.height, one.width) != (first.height, first.width):
                raise UserError(
                    f"{one.path}: is {one.width}x{one.height} pixels, but its frame 0 is "
                    f"{first.width}x{first.height} (width x height); the three files of a sample have one size"
                )
        yield opened[0], opened[1], opened[2]


def read_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a frame pair and its flow.

    Returns:
        frame 0 and frame 1, (H, W, 3) uint8 RGB each, and the flow, (H, W, 2) float32, pixels.

    Raises:
        UserError: as `open_sample`, or a frame cannot be decoded.
    """
    with open_sample(sample) as (frame_0, frame_1, flow):
        return decode_frame(frame_0), decode_frame(frame_1), decode_flow(flow)
