"""What a layout is: it knows names and folders of a data set, and nothing behind it does."""

import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeflownas.data.other_files import NAMED, Form, entry_name, forms, in_words, names_in
from edgeflownas.data.samples import Sample
from edgeflownas.errors import UserError

SPLITS = ("train", "val")
_FURTHER = "val_"
PASSES = ("all", "clean", "final")
"""Which renderings of a scene are used, where a data set has more than one."""
VAL_SHARE = 10
"""Without an official split, every tenth group is for validation."""


@dataclass(frozen=True)
class Scan:
    """What a split holds.

    Attributes:
        samples: complete or not, in the order of their names.
        missing: by name of a sample, its files that are not there; with the file that may be meant, if there is one.
        other: the files and folders that belong to no sample.
        unknown: names of the samples whose flow may be unknown at some pixels; elsewhere, such flow is a fault.
    """

    samples: list[Sample]
    missing: dict[str, list[str]]
    other: list[Form]
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        name: the value of `data.layout`.
        title: what the data set is called.
        tree: where its files are, below the root.
        uses: the names at the root that it knows.
        fits: whether a root may be of this layout, by what lies there.
        scan: the samples of a split, "train", "val" or "all", of some `PASSES`.
        splits: those of a data set that is trained on: `SPLITS`, and a `further_split` for each set that is evaluated
            on besides.
        judged: the split to evaluate on when nothing is trained: "all" where no split is official.
        matched: where, (H, W) bool, what a sample's first frame shows is visible in its second, too; None if the data
            set does not say.
        passes: whether it has more than one of a scene.
        expected: names of files that ship with it beside those of samples, and are not used: nothing to remark.
        is_folder: whether its root is a folder.
        split: how the samples are divided, for people.
    """

    name: str
    title: str
    tree: str
    split: str
    uses: tuple[str, ...]
    fits: Callable[[Path], bool]
    scan: Callable[[Path, str, str], Scan]
    judged: str = "val"
    matched: Callable[[Sample], np.ndarray | None] = lambda sample: None
    passes: bool = False
    splits: Callable[[Path], tuple[str, ...]] = lambda root: SPLITS
    expected: re.Pattern[str] = field(default=re.compile("(?!)"))
    is_folder: bool = True

    def __str__(self) -> str:
        """A data set of this layout, for people."""
        return f"a {self.title} folder" if self.is_folder else f"a {self.title}"


@dataclass(frozen=True)
class Candidate:
    """A sample that should be there, by its files' names relative to the root, and the group it belongs to.

    Samples of one group, such as a scene, are alike: they are all for training or all for validation.
    """

    name: str
    parts: tuple[str, ...]
    group: str


def further_split(name: str) -> str:
    """The split of a further validation set."""
    return f"{_FURTHER}{name}"


def further_sets(splits: Iterable[str]) -> list[str]:
    """The names of the further validation sets among some splits, in their order."""
    return [split.removeprefix(_FURTHER) for split in splits if split.startswith(_FURTHER)]


class Names:
    """The files of a data set that are there, and those that belong to none of its samples.

    Attributes:
        there: names relative to the root.
        other: names alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.there: set[str] = set()
        self.other: list[str] = []

    def matching(self, folder: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        """Those in a folder that are of samples, by name: what matches a pattern whole."""
        found = []
        for name in listed(self._root, folder):
            if match := pattern.fullmatch(name):
                self.there.add(f"{folder}/{name}")
                found.append(match)
            else:
                self.other.append(name)
        return found


def require_root(root: Path | str) -> None:
    """Refuse a root that is not there.

    Raises:
        UserError: it is not there, or cannot be reached.
    """
    try:
        os.stat(root)
    except OSError as error:
        raise UserError(
            f"{root}: no such data folder ({error.strerror}); correct data.root (nothing is generated in its place)"
        ) from error


def scan_of(
    root: Path,
    split: str,
    candidates: Iterable[Candidate],
    there: Collection[str],
    other: Iterable[str],
    tree: str,
    unknown: bool = False,
) -> Scan:
    """The scan that follows from what a split should hold and the names (relative to the root) that are there.

    `unknown` says whether flow may be unknown at some pixels.

    Raises:
        UserError: there are no candidates.
    """
    found = sorted(candidates, key=lambda candidate: candidate.name)
    other_forms = forms(other)
    if not found:
        raise UserError(f"{root}: the split {split!r} is empty: found no sample; {tree}{what_is_there(root)}")
    missing = {
        candidate.name: faults
        for candidate in found
        if (faults := [part for part in candidate.parts if part not in there])
    }
    samples = [Sample(root, candidate.name, candidate.parts) for candidate in found]
    return Scan(samples, missing, other_forms, frozenset(sample.name for sample in samples) if unknown else frozenset())


def split_by_group(root: Path, split: str, candidates: Collection[Candidate]) -> list[Candidate]:
    """The candidates of a split where there is no official one: every tenth group by name, or the last of fewer.

    The split "all" has all of them.

    Raises:
        UserError: all are of one group, which cannot be both trained on and evaluated on.
    """
    if split == "all":
        return list(candidates)
    groups = sorted({candidate.group for candidate in candidates})
    if len(groups) == 1:
        raise UserError(
            f"{root}: all {len(candidates)} sample(s) belong to {groups[0]}; expected at least two groups, one for "
            "training and one for validation"
        )
    held_back = set(groups[VAL_SHARE - 1 :: VAL_SHARE] or groups[-1:])
    return [candidate for candidate in candidates if (candidate.group in held_back) == (split == "val")]


def chosen_passes(root: Path, passes: str, folders: dict[str, str]) -> list[str]:
    """The folders of the passes that are asked for and there; `folders` maps "clean" and "final" to theirs.

    Raises:
        UserError: none is there.
    """
    wanted = [folder for name, folder in folders.items() if passes in ("all", name)]
    there = [folder for folder in wanted if has_folder(root, folder)]
    if not there:
        raise UserError(f"{root}: holds no {' or '.join(wanted)}, which data.passes {passes} asks for")
    return there


def listed(root: Path, folder: str) -> list[str]:
    """The names in a folder below the root, sorted; folders end in `/`. None if it is not there.

    Raises:
        UserError: it is there and cannot be listed, so that nobody could say what is missing.
    """
    try:
        with os.scandir(root / folder) as files:
            return sorted(entry_name(file) for file in files)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{root / folder}: the folder cannot be listed ({error.strerror})") from error


def has_folder(root: Path, folder: str) -> bool:
    """Whether there is such a folder below the root; False, too, where that cannot be seen."""
    return os.path.isdir(root / folder)


def subfolders(root: Path, folder: str) -> list[str]:
    """The folders in a folder below the root, sorted."""
    return [name[:-1] for name in listed(root, folder) if name.endswith("/")]


def what_is_there(root: Path, without: Collection[str] = ()) -> str:
    """What a root without a sample holds instead, down to one folder below: it may be another data set."""
    names = names_in(root)
    others = [name for name in names if name.rstrip("/") not in without]
    if not others:
        return "" if names else ". The folder is empty"
    folders = [name for name in others if name.endswith("/")][:NAMED]
    below = forms(name for folder in folders for name in names_in(root / folder))
    return f". It holds {in_words(forms(others))}{f'; there, {in_words(below)}' if below else ''}"
