"""Inspect every sample of a data set once, and list them in `data_index.json`.

    python -m edgeflownas.data.index --root DIR --height H --width W --max_flow 50 --out FILE

A run trains on what the index lists and on nothing else. Its `digest` is that of the listed files' bytes: the same data
have the same digest wherever they are. An interrupted build continues where it ended, from a journal next to FILE.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import read_json, sha256_of, write_json
from edgeflownas.data.bad_samples import LIST_FILE, POLICIES, require_good
from edgeflownas.data.generated import MARKER
from edgeflownas.data.inspection import Entry, copies, inspect_sample
from edgeflownas.data.journal import JOURNAL_FILE, Journal
from edgeflownas.data.layouts.collection import NAME as COLLECTION
from edgeflownas.data.layouts.collection import collection_facts, set_root
from edgeflownas.data.layouts.flying_chairs2 import FILE_KINDS, sample_of
from edgeflownas.data.layouts.layout import PASSES, Layout, Scan
from edgeflownas.data.layouts.registry import AUTO, DEFAULT, LAYOUTS, find_layout
from edgeflownas.data.other_files import Form, forms, names_in
from edgeflownas.data.prefetch import prefetch
from edgeflownas.data.remarks import outline, remarks
from edgeflownas.data.samples import Sample
from edgeflownas.errors import UserError, printable, require_writable, run_command
from edgeflownas.parsers import command_parser

SCHEMA = "data_index.schema.json"
REJECTED_KEYS = ("name", "reason", "bytes", "mtime_ns", "files")
SECONDS_BETWEEN_REPORTS = 5.0
MOST_AT_ONCE = 16
"""Number of samples that a thread inspects before it hands them over: threads wait for one another each time."""

PrintLine = Callable[[str], None]


def build_index(
    root: Path | str,
    crop: tuple[int, int],
    max_flow: float = 50.0,
    on_bad_sample: str = "stop",
    max_bad_fraction: float = 0.01,
    allow_copies: bool = False,
    workers: int = 2,
    folder: Path | None = None,
    print_line: PrintLine = lambda line: None,
    layout: str = AUTO,
    passes: str = "all",
) -> dict[str, Any]:
    """Read and inspect every sample of all splits.

    Args:
        root: folder of the data set.
        crop: (height, width) that each sample must at least have, pixels.
        max_flow: flow is clipped to ± this before its zero-flow EPE is computed, pixels.
        on_bad_sample: "stop" refuses the data set, "exclude" lists bad samples under `rejected`.
        max_bad_fraction: the largest share of a split that may be excluded, 0 to 1.
        allow_copies: whether a split may hold the same frames more than once; both splits never may.
        workers: number of threads.
        folder: where an interrupted build leaves its journal, and a refused one its list of bad samples.
        print_line: called with the layout that was recognised, and the progress every few seconds.
        layout: a name in `LAYOUTS`, or "auto".
        passes: one of `PASSES`, for a layout that has them.

    Returns:
        An index that fits `schemas/data_index.schema.json`.

    Raises:
        UserError: a folder or split is missing or empty, or no layout fits; there are bad samples and the policy does
            not allow so many; or no sample of a split is left.
    """
    if on_bad_sample not in POLICIES:
        raise UserError(f"on_bad_sample is {on_bad_sample!r}; expected one of {', '.join(POLICIES)}")
    if min(crop) < 1 or max_flow <= 0:
        raise UserError(f"crop is {crop[0]}x{crop[1]} and max_flow {max_flow}; expected values above 0")
    kind = find_layout(root, layout, passes)
    if layout == AUTO:
        print_line(f"{root}: data.layout auto found {kind.title} ({kind.name}), by {kind.tree}")
    sets = collection_facts(Path(root), find_layout) if kind.name == COLLECTION else []
    names = kind.splits(Path(root))
    settings = {
        "root": str(Path(root).absolute()),
        "layout": kind.name,
        "sets": sets,
        "crop": list(crop),
        "max_flow": float(max_flow),
    }
    journal = Journal(folder / JOURNAL_FILE, settings) if folder else None
    if journal and journal.count:
        print_line(f"continuing an interrupted build that had inspected {journal.count} samples")
    with journal.writing() if journal else nullcontext():
        inspected = {
            split: inspect_split(
                kind, kind.scan(Path(root), split, passes), split, crop, max_flow, workers, journal, print_line
            )
            for split in names
        }
    entries = {split: part[0] for split, part in inspected.items()}
    usable = {split: [entry for entry in entries[split] if "reason" not in entry] for split in names}
    reasons = copies(usable, within_split=not allow_copies)
    splits = {split: summary(*inspected[split], reasons[split]) for split in names}
    require_good(splits, root, on_bad_sample, max_bad_fraction, folder)
    if folder and journal:
        journal.remove()
        (folder / LIST_FILE).unlink(missing_ok=True)
    return {
        "root": str(root),
        # FlyingChairs2 is not mentioned: its indexes are what they were when it was the only layout.
        **({} if kind is DEFAULT else {"layout": kind.name, "passes": passes}),
        **({"sets": sets} if sets else {}),
        "digest": _digest(splits, sets),
        "crop": list(crop),
        "max_flow": float(max_flow),
        "on_bad_sample": on_bad_sample,
        "allow_copies": allow_copies,
        "generated": (Path(root) / MARKER).is_file(),
        "other": forms(names_in(Path(root), without=(*kind.uses, MARKER))),
        "splits": splits,
    }


def inspect_split(
    layout: Layout,
    scan: Scan,
    split: str,
    crop: tuple[int, int],
    max_flow: float,
    workers: int,
    journal: Journal | None,
    print_line: PrintLine,
) -> tuple[list[Entry], list[Form]]:
    """The entries of a split's samples, and what else its folder holds.

    Args:
        scan: of the split.
        crop, max_flow, workers, print_line: as `build_index`.
        journal: notes what was inspected.
    """
    samples = scan.samples

    def entry_of(sample: Sample) -> Entry:
        if known := journal.known(split, sample) if journal else None:
            return known
        missing = scan.missing.get(sample.name, [])
        entry = inspect_sample(sample, missing, crop, max_flow, sample.name in scan.unknown)
        return entry if layout is DEFAULT else {**entry, "files": list(sample.parts)}

    at_once = min(MOST_AT_ONCE, -(-len(samples) // (4 * workers)))
    shares = [samples[begin : begin + at_once] for begin in range(0, len(samples), at_once)]
    entries: list[Entry] = []
    started = told = time.monotonic()
    for inspected in prefetch(lambda share: [entry_of(sample) for sample in share], shares, workers):
        entries += inspected
        if journal:
            journal.add(split, inspected)
        if (now := time.monotonic()) - told >= SECONDS_BETWEEN_REPORTS:
            told, rate = now, len(entries) / (now - started)
            left = (len(samples) - len(entries)) / rate
            print_line(f"{split}: looked at {len(entries)} of {len(samples)} samples, {rate:.0f}/s, {left:.0f} s left")
    return entries, scan.other


def summary(entries: list[Entry], other: list[Form], copied: Mapping[str, str]) -> dict[str, Any]:
    """A split of the index; `copied` has the reasons, by name, why samples are copies."""
    entries = [entry | {"reason": copied[entry["name"]]} if entry["name"] in copied else entry for entry in entries]
    listed = [entry for entry in entries if "reason" not in entry]
    unknown = sum(entry.get("unknown_pixels", 0) for entry in listed)
    pixels = sum(entry["height"] * entry["width"] for entry in listed)
    known = pixels - unknown
    return {
        "count": len(listed),
        "zero_flow_epe": float(np.mean([entry["zero_flow_epe"] for entry in listed])) if listed else None,
        "clipped_share": sum(entry["clipped_pixels"] for entry in listed) / known if listed else None,
        **({"unknown_share": unknown / pixels} if unknown else {}),
        "samples": listed,
        "rejected": [
            {key: entry[key] for key in REJECTED_KEYS if key in entry} for entry in entries if "reason" in entry
        ],
        "other": other,
    }


def _digest(splits: Mapping[str, Any], sets: Sequence[Mapping[str, Any]] = ()) -> str:
    facts = {split: [[e["name"], *e["sha256"]] for e in part["samples"]] for split, part in splits.items()}
    return sha256_of(facts | {"weights": [one["weight"] for one in _trained_on(sets)]} if sets else facts)


def _trained_on(sets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the sets of an index, those that are trained on."""
    return [one for one in sets if "weight" in one]


def load_index(path: Path | str) -> dict[str, Any]:
    """Read a `data_index.json`.

    Raises:
        UserError: it is missing, does not fit its schema, its digest is not that of the samples it lists, or a sample's
            files are not those of its layout.
    """
    index: dict[str, Any] = read_json(path, SCHEMA)
    if index["digest"] != _digest(index["splits"], index.get("sets", ())):
        raise UserError(f"{path}: its digest does not fit its samples: the index was edited; build it again")
    for split, part in index["splits"].items():
        for entry in part["samples"]:
            _require_files(path, index, split, entry)
    return index


def _require_files(path: Path | str, index: Mapping[str, Any], split: str, entry: Entry) -> None:
    """Refuse an entry that does not say which files it is about, each with its size, digest and time."""
    named = entry.get("files") if "layout" in index else FILE_KINDS if entry["name"].isdecimal() else None
    if named is None or {len(entry[key]) for key in ("bytes", "sha256", "mtime_ns")} != {len(named)}:
        raise UserError(
            f"{path}: {split} {printable(entry['name'])}: not the files of the layout; build the index again"
        )


def indexed_samples(index: Mapping[str, Any], split: str) -> list[Sample]:
    """The samples that an index lists for a split, in its order."""
    return [entry_sample(index, split, entry) for entry in index["splits"][split]["samples"]]


def training_shares(index: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Number of training samples and weight of each set of an index, in the order of the samples.

    Raises:
        UserError: none of a set's samples is left.
    """
    names = [entry["name"].partition("/")[0] for entry in index["splits"]["train"]["samples"]]
    if "sets" not in index:
        return [(len(names), 1)]
    sets = _trained_on(index["sets"])
    shares = [(names.count(one["label"]), one["weight"]) for one in sets]
    for one, (count, _) in zip(sets, shares, strict=True):
        if not count:
            raise UserError(f"{index['root']}: no usable training sample of {one['root']} is left; remove it there")
    return shares


def has_unknown_flow(index: Mapping[str, Any], splits: Iterable[str]) -> bool:
    """Whether the flow of a sample that some splits list is not known at some pixel."""
    return any("unknown_share" in index["splits"][split] for split in splits)


def entry_sample(index: Mapping[str, Any], split: str, entry: Mapping[str, Any]) -> Sample:
    """The sample that an entry is about, listed or rejected."""
    if "files" in entry:
        root = set_root(index, entry["name"]) if "sets" in index else Path(index["root"])
        return Sample(root, entry["name"], tuple(entry["files"]))
    return sample_of(Path(index["root"]) / split, entry["name"])


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.data.index",
        __doc__.splitlines()[0],
        ("--root /data/FlyingChairs2 --height 180 --width 240 --out data_index.json",),
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--layout", choices=(AUTO, *LAYOUTS), default=AUTO, help="how it lies there (%(default)s)")
    parser.add_argument("--passes", choices=PASSES, default="all", help="which renderings of a scene (%(default)s)")
    parser.add_argument("--height", type=int, required=True, help="height of the crop, pixels")
    parser.add_argument("--width", type=int, required=True, help="width of the crop, pixels")
    parser.add_argument("--max_flow", type=float, default=50.0, help="flow is clipped to ± this, pixels (%(default)s)")
    parser.add_argument("--out", type=require_writable, required=True, help="the data_index.json to write")
    parser.add_argument(
        "--on_bad_sample", choices=POLICIES, default="stop", help="what a bad sample does (%(default)s)"
    )
    parser.add_argument(
        "--max_bad_fraction", type=float, default=0.01, help="most that may be left out of a split (%(default)s)"
    )
    parser.add_argument("--allow_copies", action="store_true", help="a split may hold the same frames several times")
    parser.add_argument("--workers", type=int, default=2, help="threads (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    arguments = _parser().parse_args(argv)
    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; expected at least 1")
    index = build_index(
        arguments.root,
        (arguments.height, arguments.width),
        arguments.max_flow,
        arguments.on_bad_sample,
        arguments.max_bad_fraction,
        arguments.allow_copies,
        arguments.workers,
        folder=arguments.out.parent,
        print_line=lambda line: print(line, flush=True),
        layout=arguments.layout,
        passes=arguments.passes,
    )
    write_json(arguments.out, index, SCHEMA)
    for line in [*outline(index), *(f"WARNING: {remark}" for remark in remarks(index))]:
        print(line)
    print(f"digest {index['digest']}, written to {arguments.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
