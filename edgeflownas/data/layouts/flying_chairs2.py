"""The FlyingChairs2 layout on disk: `<root>/{train,val}/NNNNNNN-img_0.png`, `-img_1.png`, `-flow_01.flo`."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeflownas.data.layouts.flying_things3d_subset import subset_folders
from edgeflownas.data.layouts.layout import SPLITS, Layout, Scan, has_folder, require_root, what_is_there
from edgeflownas.data.other_files import entry_name, forms, in_words, other_layout
from edgeflownas.data.samples import Sample
from edgeflownas.errors import UserError

FILE_KINDS = ("img_0.png", "img_1.png", "flow_01.flo")
"""The three files of a sample, in the order used everywhere. FlyingChairs2 has more; other files are counted."""
TREE = f"the layout is <root>/{{train,val}}/NNNNNNN-{{{','.join(FILE_KINDS)}}}"

_NUMBER = re.compile(r"[0-9]+")
_SAMPLE_FILE = re.compile(rf"([0-9]+)-({'|'.join(map(re.escape, FILE_KINDS))})")
# Another separator, case, prefix or file format; hidden files, such as those of macOS, are none of them.
_NEARLY = re.compile(
    r"(?P<name>[^.].*?)[-_. ]*"
    r"(?:img[-_. ]*(?P<frame>[01])\.(?:png|ppm|jpe?g|bmp|tiff?|webp)|flow[-_. ]*01\.(?:flo|pfm|png))\s*",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)


def sample_of(folder: Path, name: str) -> Sample:
    """The sample in a split's folder whose file names begin with that number."""
    return Sample(folder, name, tuple(f"{name}-{kind}" for kind in FILE_KINDS))


def _split_entries(root: Path | str, split: str) -> Iterator[os.DirEntry[str]]:
    folder = Path(root) / split
    require_root(root)
    try:
        with os.scandir(folder) as files:
            yield from files
    except OSError as error:
        raise UserError(
            f"{folder}: the data folder has no split {split!r} that can be listed ({error.strerror}); {TREE}"
            f"{what_is_there(Path(root), without=SPLITS)}"
        ) from error


def scan_split(root: Path | str, split: str) -> Scan:
    """Read all names in a split's folder.

    A file whose name is almost that of a sample's file makes an incomplete sample, so that no sample is lost silently
    because of a typing error.

    Raises:
        UserError: the root or the split's folder is missing or unreadable, or there is no file of a sample.
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
        raise UserError(f"{folder}: the split {split!r} is empty: found no sample; {TREE}{holds}")
    missing = {
        name: [_missing(name, kind, nearly.get(name, {})) for kind in FILE_KINDS if kind not in kinds]
        for name in names
        if len(kinds := kinds_of.get(name, set())) < len(FILE_KINDS)
    }
    return Scan([sample_of(folder, name) for name in names], missing, forms(other))


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


def _fits(root: Path) -> bool:
    return any(has_folder(root, split) for split in SPLITS) and not subset_folders(root)


LAYOUT = Layout(
    name="flying_chairs2",
    title="FlyingChairs2",
    tree="train/ and val/",
    split="train for training, val for validation",
    uses=SPLITS,
    fits=_fits,
    scan=lambda root, split, passes: scan_split(root, split),
    # What it holds besides the three files of a sample.
    expected=re.compile(
        r"[0-9]+-(flow_10\.flo|(occ|mb)_(01|10)\.png|(occ|mb)_weights_(01|10)\.pfm|oids_[01]\.png)", re.ASCII
    ),
)
