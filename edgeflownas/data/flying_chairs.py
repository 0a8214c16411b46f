"""The FlyingChairs2 layout on disk: `<root>/{train,val}/NNNNNNN-img_0.png`, `-img_1.png`, `-flow_01.flo`."""

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.data.flow_files import read_flow
from edgeflownas.errors import UserError

SPLITS = ("train", "val")
FILE_KINDS = ("img_0.png", "img_1.png", "flow_01.flo")
"""The three files of a sample, in the order used everywhere. Other files (FlyingChairs2 ships many) are ignored."""

_SAMPLE_FILE = re.compile(rf"(\d+)-({'|'.join(map(re.escape, FILE_KINDS))})")


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


def scan_split(root: Path | str, split: str) -> tuple[list[Sample], dict[str, list[str]]]:
    """Every sample of a split in the order of its name, complete or not, and which files are missing of whom.

    Raises:
        UserError: the root or the split's folder is missing or unreadable, or holds no file of a sample.
    """
    root = Path(root)
    folder = root / split
    layout = f"the layout is <root>/{{train,val}}/NNNNNNN-{{{','.join(FILE_KINDS)}}}"
    if not root.is_dir():
        raise UserError(f"{root}: no such data folder; correct data.root, or generate it (data.source: synthetic)")
    if not folder.is_dir():
        raise UserError(f"{folder}: the data folder has no split {split!r}; {layout}")
    kinds_of: dict[str, set[str]] = {}
    try:
        for entry in folder.iterdir():
            if match := _SAMPLE_FILE.fullmatch(entry.name):
                kinds_of.setdefault(match[1], set()).add(match[2])
    except OSError as error:
        raise UserError(f"{folder}: cannot list the split: {error.strerror}") from error
    if not kinds_of:
        raise UserError(f"{folder}: the split {split!r} is empty: found no sample; {layout}")
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


def read_frame(path: Path | str) -> np.ndarray:
    """Read one frame.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UserError: the file is missing, is not an image OpenCV can decode, or is not 8-bit RGB.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot read the frame: {error.strerror}") from error
    # UNCHANGED, because COLOR would turn grey, transparent and 16-bit images into 8-bit RGB without a word.
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:  # a size beyond what OpenCV decodes
        image = None
    if image is None:
        raise UserError(f"{path}: not a readable image ({data.size} bytes); fetch the file again")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        channels = image.shape[2] if image.ndim == 3 else 1
        raise UserError(f"{path}: expected 8-bit RGB, found {image.dtype} with {channels} channel(s)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a frame pair and its flow.

    Returns:
        frame 0 and frame 1, (H, W, 3) uint8 RGB each, and the flow, (H, W, 2) float32, pixels.

    Raises:
        UserError: a file is missing or broken, or the three do not have the same size.
    """
    frame_0_path, frame_1_path, flow_path = sample.files
    frame_0, frame_1, flow = read_frame(frame_0_path), read_frame(frame_1_path), read_flow(flow_path)
    for path, array in ((frame_1_path, frame_1), (flow_path, flow)):
        if array.shape[:2] != frame_0.shape[:2]:
            raise UserError(
                f"{path}: is {array.shape[1]}x{array.shape[0]} pixels, but its frame 0 is "
                f"{frame_0.shape[1]}x{frame_0.shape[0]} (width x height); the three files of a sample have one size"
            )
    return frame_0, frame_1, flow
