"""The FlyingChairs2 layout on disk: `<root>/{train,val}/NNNNNNN-img_0.png`, `-img_1.png`, `-flow_01.flo`."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeflownas.data.files import Opened
from edgeflownas.data.flow_files import decode_flow, open_flo
from edgeflownas.data.other_files import NAMED, Form, entry_name, forms, in_words, names_in, other_layout
from edgeflownas.data.png_files import decode_frame, open_png
from edgeflownas.errors import UserError

SPLITS = ("train", "val")
FILE_KINDS = ("img_0.png", "img_1.png", "flow_01.flo")
"""The three files of a sample, in the order used everywhere. FlyingChairs2 has more; other files are counted."""
LAYOUT = f"the layout is <root>/{{train,val}}/NNNNNNN-{{{','.join(FILE_KINDS)}}}"

_OPENERS = (open_png, open_png, open_flo)
_NUMBER = re.compile(r"[0-9]+")
_SAMPLE_FILE = re.compile(rf"([0-9]+)-({'|'.join(map(re.escape, FILE_KINDS))})")
# Another separator, case, prefix or file format; hidden files, such as those of macOS, are none of them.
_NEARLY = re.compile(
    r"(?P<name>[^.].*?)[-_. ]*"
    r"(?:img[-_. ]*(?P<frame>[01])\.(?:png|ppm|jpe?g|bmp|tiff?|webp)|flow[-_. ]*01\.(?:flo|pfm|png))\s*",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)


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


@dataclass(frozen=True)
class Scan:
    """What a split's folder holds.

    Attributes:
        samples: complete or not, in the order of their names.
        missing: by name of a sample, its files that are not there; with the file that may be meant, if there is one.
        other: the files and folders that belong to no sample.
    """

    samples: list[Sample]
    missing: dict[str, list[str]]
    other: list[Form]


def sample_files(root: Path | str, split: str) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """Every file of a split that belongs to a sample: the sample's name, which of the three it is, and the file.

    Raises:
        UserError: the root or the split's folder is missing or unreadable.
    """
    for file in _split_entries(root, split):
        if match := _SAMPLE_FILE.fullmatch(file.name):
            yield match[1], match[2], file


def _split_entries(root: Path | str, split: str) -> Iterator[os.DirEntry[str]]:
    folder = Path(root) / split
    try:
        os.stat(root)
    except OSError as error:
        raise UserError(
            f"{root}: no such data folder ({error.strerror}); correct data.root (nothing is generated in its place)"
        ) from error
    try:
        with os.scandir(folder) as files:
            yield from files
    except OSError as error:
        raise UserError(
            f"{folder}: the data folder has no split {split!r} that can be listed ({error.strerror}); {LAYOUT}"
            f"{_what_is_there(Path(root))}"
        ) from error


def _what_is_there(root: Path) -> str:
    """What a root without a split holds instead, down to one folder below: it may be another data set."""
    names = names_in(root)
    others = [name for name in names if name.rstrip("/") not in SPLITS]
    if not others:
        return "" if names else ". The folder is empty"
    folders = [name for name in others if name.endswith("/")][:NAMED]
    below = forms(name for folder in folders for name in names_in(root / folder))
    return f". It holds {in_words(forms(others))}{f'; there, {in_words(below)}' if below else ''}"


def scan_split(root: Path | str, split: str) -> Scan:
    """Read all names in a split's folder.

    A file whose name is almost that of a sample's file makes an incomplete sample, so that no sample is lost silently
    because of a typing error.

    Raises:
        UserError: as `sample_files`, or there is no file of a sample.
    """
    folder = Path(root) / split
    kinds_of: dict[str, set[str]] = {}
    near_files: dict[tuple[str, str], list[str]] = {}
    other: list[str] = []
    for file in _split_entries(root, split):
        if match := _SAMPLE_FILE.fullmatch(file.name):
            kinds_of.setdefault(match[1], set()).add(match[2])
        elif near := _nearly(file.name):
            near_files.setdefault(near, []).append(file.name)
        else:
            other.append(entry_name(file))
    nearly: dict[str, dict[str, str]] = {}
    for (name, kind), files in near_files.items():
        if kind not in kinds_of.get(name, set()):
            nearly.setdefault(name, {})[kind] = min(files)
            files.remove(min(files))
        other += files
    names = sorted(kinds_of.keys() | nearly.keys())
    if not names:
        holds = f". It holds {in_words(forms(other))}" if other else ""
        raise UserError(f"{folder}: the split {split!r} is empty: found no sample; {LAYOUT}{holds}")
    missing = {
        name: [_missing(name, kind, nearly.get(name, {})) for kind in FILE_KINDS if kind not in kinds]
        for name in names
        if len(kinds := kinds_of.get(name, set())) < len(FILE_KINDS)
    }
    return Scan([Sample(folder, name) for name in names], missing, forms(other))


def _nearly(name: str) -> tuple[str, str] | None:
    """Which sample's file, and which of its three, a name may be meant for that is none."""
    if other_layout(name) or not (match := _NEARLY.fullmatch(name)):
        return None
    return match["name"], FILE_KINDS[int(match["frame"]) if match["frame"] else 2]


def _missing(name: str, kind: str, nearly: Mapping[str, str]) -> str:
    wanted = f"{name if _NUMBER.fullmatch(name) else 'NNNNNNN'}-{kind}"
    if kind not in nearly:
        return wanted
    remedy = "rename it" if nearly[kind].strip().lower().endswith(Path(kind).suffix) else "convert it"
    return f"{wanted} (found {nearly[kind]}: {remedy})"


def list_samples(root: Path | str, split: str) -> list[Sample]:
    """The samples of a split, sorted by name.

    Raises:
        UserError: as `scan_split`, or a sample lacks one of its three files.
    """
    scan = scan_split(root, split)
    if scan.missing:
        files = [file for faults in scan.missing.values() for file in faults]
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        raise UserError(
            f"{Path(root) / split}: missing {', '.join(files[:10])}{more}; "
            "restore them, or remove the samples' other files"
        )
    return scan.samples


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
