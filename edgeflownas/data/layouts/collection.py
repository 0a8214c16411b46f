"""Several data sets in one run: a YAML file that lists them, in place of a folder.

    train:
    - {root: /data/FlyingThings3D, weight: 3}
    - {root: /data/FlyingChairs2}
    val:
    - {root: /data/FlyingChairs2}
    - {root: /data/MPI-Sintel, layout: sintel, passes: final}

Of every 4 samples of the training stream, 3 are of the first set here, and 1 is of the second. The first set of `val`
is the run's validation split; each further one is a split of its own. A file that lists sets without these two keys
trains on them, and evaluates on the first.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import validate
from edgeflownas.data.layouts.layout import SPLITS, Layout, Scan, further_split
from edgeflownas.data.other_files import Form
from edgeflownas.data.samples import Sample
from edgeflownas.errors import UserError
from edgeflownas.yaml_files import read_yaml

NAME = "collection"
SUFFIXES = (".yaml", ".yml")

FindLayout = Callable[[Path, str, str], Layout]
"""(root, `data.layout`, `data.passes`) -> the layout of one data set."""


@dataclass(frozen=True)
class DataSet:
    """One of the sets: `label` begins the names of its samples.

    weight: of a training set, its share of the training stream.
    name: of a validation set, what the file calls it, if it does.
    """

    label: str
    root: Path
    layout: str
    passes: str
    weight: int = 1
    name: str | None = None


@dataclass(frozen=True)
class Collection:
    """The sets that are trained on, and those that are evaluated on, of which the first decides about the run."""

    train: Sequence[DataSet]
    val: Sequence[DataSet]

    def splits(self) -> dict[str, DataSet]:
        """The split that each validation set is here: "val" the first, and the others one of their own."""
        return dict(zip((SPLITS[1], *map(further_split, self._names())), self.val, strict=True))

    def _names(self) -> list[str]:
        """What the validation sets after the first are called: by the file, or by their layout and passes."""
        further = self.val[1:]
        names: list[str] = []
        for one in further:
            plain = "_".join([one.layout, *([one.passes] if one.passes != "all" else [])])
            free = (name for name in _numbered(plain) if name not in {*names, *(other.name for other in further)})
            names.append(one.name or next(free))
        return names

    def split_of(self, one: DataSet, judged: str) -> str:
        """Which split of a validation set is evaluated on: of a set that is trained on, what training leaves.

        judged: that of its layout where nothing of it is trained on.
        """
        roots = {os.path.realpath(other.root) for other in self.train}
        return "val" if os.path.realpath(one.root) in roots else judged


def read_collection(path: Path, find_layout: FindLayout) -> Collection:
    """The sets that a file lists, with their layouts' names; a relative root is below the file's folder.

    Raises:
        UserError: the file cannot be read, does not fit `schemas/collection.schema.json`, names two validation sets
            alike, or a set has no known layout.
    """
    content = read_yaml(path)
    listed = {"train": content} if isinstance(content, list) else content
    validate(listed, "collection.schema.json", where=str(path))
    train = _sets(path, listed["train"], find_layout, first=0)
    val = _sets(path, listed["val"], find_layout, first=len(train)) if "val" in listed else train[:1]
    given = [one.name for one in val[1:] if one.name]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise UserError(f"{path}: two sets of val have the name {twice[0]}; give them names of their own")
    return Collection(train, val)


def _numbered(name: str) -> Iterator[str]:
    """The name, and then with numbers from 2 on."""
    yield name
    yield from (f"{name}_{number}" for number in count(2))


def _sets(path: Path, listed: Iterable[Mapping[str, Any]], find_layout: FindLayout, first: int) -> list[DataSet]:
    sets = []
    for number, one in enumerate(listed, start=first):
        root, passes = path.parent / one["root"], one.get("passes", "all")
        layout = find_layout(root, one.get("layout", "auto"), passes).name
        if layout == NAME:
            raise UserError(f"{path}: lists {root}, which is a list of sets itself; list those sets here")
        sets.append(DataSet(f"{number:02d}", root, layout, passes, int(one.get("weight", 1)), one.get("name")))
    return sets


def collection_facts(path: Path, find_layout: FindLayout) -> list[dict[str, Any]]:
    """What an index says of the sets: a training set has a weight, a further validation set the name of its split."""
    found = read_collection(path, find_layout)

    def facts(one: DataSet, **more: Any) -> dict[str, Any]:
        return {"label": one.label, "root": str(one.root), "layout": one.layout, "passes": one.passes, **more}

    return [
        *(facts(one, weight=one.weight) for one in found.train),
        *(facts(one, split=split) for split, one in found.splits().items() if one not in found.train),
    ]


def collection_layout(find_layout: FindLayout) -> Layout:
    """The layout of such a file."""

    def splits(path: Path) -> tuple[str, ...]:
        return (SPLITS[0], *read_collection(path, find_layout).splits())

    def scan(path: Path, split: str, passes: str) -> Scan:
        found = read_collection(path, find_layout)
        whole = Scan([], {}, [])
        for one in found.train if split == "train" else [found.splits()[split]]:
            layout = find_layout(one.root, one.layout, one.passes)
            own = "train" if split == "train" else found.split_of(one, layout.judged)
            whole = _joined(whole, _labelled(layout.scan(one.root, own, one.passes), one))
        return whole

    return Layout(
        name=NAME,
        title="collection of data sets",
        tree="a .yaml file in place of a folder",
        split="those of its sets; the file says which of them are evaluated on",
        uses=(),
        fits=lambda root: root.suffix in SUFFIXES and root.is_file(),
        scan=scan,
        splits=splits,
        # What is no part of a set was remarked when it was used alone, if ever; here it would be among the others'.
        expected=re.compile(r".*", re.DOTALL),
        is_folder=False,
    )


def _labelled(scan: Scan, one: DataSet) -> Scan:
    def labelled(sample: Sample) -> Sample:
        # Below the root of its set, also where a layout has samples below the folder of a split.
        inner = sample.folder.relative_to(one.root)
        parts = tuple((inner / part).as_posix() for part in sample.parts)
        return replace(sample, folder=one.root, name=f"{one.label}/{sample.name}", parts=parts)

    return Scan(
        [labelled(sample) for sample in scan.samples],
        {f"{one.label}/{name}": files for name, files in scan.missing.items()},
        scan.other,
        frozenset(f"{one.label}/{name}" for name in scan.unknown),
    )


def _joined(first: Scan, second: Scan) -> Scan:
    return Scan(
        first.samples + second.samples,
        first.missing | second.missing,
        _added(first.other, second.other),
        first.unknown | second.unknown,
    )


def _added(first: list[Form], second: list[Form]) -> list[Form]:
    forms: dict[str, Form] = {}
    for form in [*first, *second]:
        known = forms.setdefault(form["form"], {**form, "count": 0})
        known["count"] += form["count"]
    return sorted(forms.values(), key=lambda form: (-form["count"], form["form"]))


def set_root(index: Mapping[str, Any], name: str) -> Path:
    """The root of the set that a sample of an index belongs to."""
    label = name.partition("/")[0]
    return next(Path(one["root"]) for one in index["sets"] if one["label"] == label)
