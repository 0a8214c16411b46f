"""Several data sets to train on in one run: a YAML file that lists them, in place of a folder.

    - {root: /data/FlyingThings3D, weight: 3}
    - {root: /data/MPI-Sintel, layout: sintel, passes: final}

The first one is also evaluated on. Of every 4 training samples in the stream, 3 are of the first here, and 1 is of the
second.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import validate
from edgeflownas.data.layouts.layout import Layout, Scan
from edgeflownas.data.other_files import Form
from edgeflownas.data.samples import Sample
from edgeflownas.yaml_files import read_yaml

NAME = "collection"
SUFFIXES = (".yaml", ".yml")

FindLayout = Callable[[Path, str, str], Layout]
"""(root, `data.layout`, `data.passes`) -> the layout of one data set."""


@dataclass(frozen=True)
class DataSet:
    """One of the sets: `label` begins the names of its samples; `weight` is its share of the training stream."""

    label: str
    root: Path
    layout: str
    passes: str
    weight: int


def read_collection(path: Path) -> list[DataSet]:
    """The sets that a file lists; a relative root is below the file's folder.

    Raises:
        UserError: the file cannot be read, or does not fit `schemas/collection.schema.json`.
    """
    listed = read_yaml(path)
    validate(listed, "collection.schema.json", where=str(path))
    return [
        DataSet(
            label=f"{number:02d}",
            root=path.parent / one["root"],
            layout=one.get("layout", "auto"),
            passes=one.get("passes", "all"),
            weight=int(one.get("weight", 1)),
        )
        for number, one in enumerate(listed)
    ]


def collection_facts(path: Path, find_layout: FindLayout) -> list[dict[str, Any]]:
    """What an index says of the sets."""
    return [
        {
            "label": one.label,
            "root": str(one.root),
            "layout": find_layout(one.root, one.layout, one.passes).name,
            "passes": one.passes,
            "weight": one.weight,
        }
        for one in read_collection(path)
    ]


def collection_layout(find_layout: FindLayout) -> Layout:
    """The layout of such a file."""

    def scan(path: Path, split: str, passes: str) -> Scan:
        sets = read_collection(path)
        whole = Scan([], {}, [])
        for one in sets if split == "train" else sets[:1]:
            layout = find_layout(one.root, one.layout, one.passes)
            whole = _joined(whole, _labelled(layout.scan(one.root, split, one.passes), one))
        return whole

    return Layout(
        name=NAME,
        title="collection of data sets",
        tree="a .yaml file in place of a folder",
        split="those of its sets; the first one alone is evaluated on",
        uses=(),
        fits=lambda root: root.suffix in SUFFIXES and root.is_file(),
        scan=scan,
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
