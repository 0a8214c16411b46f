"""Files in a data folder that belong to no sample: counted by the form of their names, so that none goes unsaid."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.errors import printable

Form = dict[str, Any]
"""Names alike but for their numbers: `form` (`N_img1.ppm`; a folder ends in `/`), their `count`, and an `example`."""

MOST_FORMS = 20
REMAINING_FORMS = "other forms"
NAMED = 5
"""How many name patterns a message lists."""

_OTHER_LAYOUTS = (
    (re.compile(r"[0-9]+_(img[12]\.\w+|flow\.flo)", re.ASCII), "FlyingChairs"),
    (re.compile(r"frame_[0-9]+\.(png|flo)|(clean|final|albedo)/", re.ASCII), "Sintel"),
    (re.compile(r"[0-9]+_1[01]\.png|flow_(occ|noc)/", re.ASCII), "KITTI"),
)


def other_layout(name: str) -> str | None:
    """The data set that names its files so, if it is a known one with another layout."""
    return next((layout for pattern, layout in _OTHER_LAYOUTS if pattern.fullmatch(name)), None)


def forms(names: Iterable[str]) -> list[Form]:
    """Group names by their form, the most frequent first; beyond MOST_FORMS the rest counts as one."""
    groups: dict[str, Form] = {}
    for name in names:
        form = re.sub(r"[0-9]+", "N", name)
        group = groups.setdefault(form, {"form": form, "count": 0, "example": name})
        group["count"] += 1
        group["example"] = min(group["example"], name)
    ranked = sorted(groups.values(), key=lambda group: (-group["count"], group["form"]))
    kept, rest = ranked[:MOST_FORMS], ranked[MOST_FORMS:]
    if rest:
        example = min(group["example"] for group in rest)
        kept.append({"form": REMAINING_FORMS, "count": sum(group["count"] for group in rest), "example": example})
    return kept


def unexpected(found: Sequence[Form], expected: re.Pattern[str]) -> list[Form]:
    """Those that do not ship with the data set either."""
    return [form for form in found if not expected.fullmatch(form["example"])]


def total(found: Sequence[Mapping[str, Any]]) -> int:
    """How many names there are in all."""
    return sum(form["count"] for form in found)


def in_words(found: Sequence[Form]) -> str:
    """The forms for people: `12 × N_imgN.ppm such as 00001_img1.ppm, notes.txt`, and whose layout it is."""
    named = ", ".join(
        f"{form['count']} × {form['form']} such as {form['example']}" if form["count"] > 1 else form["example"]
        for form in found[:NAMED]
    )
    more = f" and {total(found[NAMED:])} more" if len(found) > NAMED else ""
    layouts = sorted({layout for form in found if (layout := other_layout(form["example"]))})
    hint = f" (that is {' and '.join(layouts)}, which has another layout)" if layouts else ""
    return printable(f"{named}{more}{hint}")


def names_in(folder: Path, without: Sequence[str] = ()) -> list[str]:
    """The names in a folder but those given, folders with a `/` at their end; none if it cannot be listed."""
    try:
        with os.scandir(folder) as files:
            return [entry_name(file) for file in files if file.name not in without]
    except OSError:
        return []


def entry_name(file: os.DirEntry[str]) -> str:
    """Its name, with a `/` if it is a folder."""
    try:
        return f"{file.name}/" if file.is_dir() else file.name
    except OSError:  # a loop of links
        return file.name
