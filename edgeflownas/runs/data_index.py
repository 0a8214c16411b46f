"""The data index of a run. Imports no Keras: a fault in the data is reported before the backend is loaded."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edgeflownas.config import Config, differences
from edgeflownas.data.bad_samples import require_good
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.generated import SyntheticParameters, already_there
from edgeflownas.data.index import build_index, load_index
from edgeflownas.data.layouts.collection import NAME as COLLECTION
from edgeflownas.data.layouts.collection import collection_facts
from edgeflownas.data.layouts.registry import AUTO, DEFAULT, find_layout
from edgeflownas.data.remarks import remarks
from edgeflownas.errors import UserError


@dataclass(frozen=True)
class IndexSettings:
    """What a data index is made of, and which one is taken."""

    source: Annotated[str, "data.source"]
    root: Annotated[str | None, "data.root"]
    layout: Annotated[str, "data.layout"]
    passes: Annotated[str, "data.passes"]
    index: Annotated[str | None, "data.index"]
    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    max_flow: Annotated[float, "data.max_flow"]
    on_bad_sample: Annotated[str, "data.on_bad_sample"]
    max_bad_fraction: Annotated[float, "data.max_bad_fraction"]
    allow_copies: Annotated[bool, "data.allow_copies"]
    workers: Annotated[int, "data.workers"]
    output_dir: Annotated[str, "train.output_dir"]

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width that the network takes, pixels."""
        return self.height, self.width


def find_index(config: Config, earlier: Path | None = None) -> dict[str, Any]:
    """The index to train by: `data.index` if given, else that of the `earlier` run that is resumed, else a new one.

    What the index leaves out, and what has changed among files that it does not list, is a warning on stderr.

    Raises:
        UserError: no data, bad data, data that changed since they were indexed, or an index of another folder, for
            another crop or largest flow, or of another policy for bad samples.
    """
    settings = config.view(IndexSettings)
    root = settings.root
    if settings.index is not None:
        index = load_index(settings.index)
        if index["root"] != root:
            raise UserError(f"{settings.index}: is the index of {index['root']}, but data.root is {root}")
        if changes := _built_otherwise(index, settings):
            raise UserError(f"{settings.index}: was built for other settings: {'; '.join(changes)}; build it again")
        return _accepted(index, settings)
    if root is None:
        raise UserError("data.root is not set: give --data_root FOLDER, or set it in the config")
    if earlier is not None:
        index = load_index(earlier)
        # A data set that was moved, or is used otherwise, is indexed again; whether it is still the same is for the
        # digests to say.
        if index["root"] == root and not _built_otherwise(index, settings):
            return _accepted(index, settings)
    if settings.source == "synthetic" and not already_there(root, config.view(SyntheticParameters)):
        flags = " ".join(f"--{key} {value}" for key, value in config.nested()["data"]["synthetic"].items())
        raise UserError(
            f"{root}: the synthetic data set is not there yet; generate it with `snakemake data --profile local`, "
            f"or `python -m edgeflownas.data.synthetic --root {root} {flags}`"
        )
    index = build_index(
        root,
        settings.crop,
        settings.max_flow,
        settings.on_bad_sample,
        settings.max_bad_fraction,
        settings.allow_copies,
        settings.workers,
        folder=Path(settings.output_dir),
        print_line=lambda line: print(line, flush=True),
        layout=settings.layout,
        passes=settings.passes,
    )
    _warn(index, remarks(index))
    return index


def _built_otherwise(index: dict[str, Any], settings: IndexSettings) -> list[str]:
    """The settings that an index depends on and that the config has otherwise: `key: old -> new`."""
    wanted: dict[str, Any] = {"crop": list(settings.crop), "max_flow": settings.max_flow, "passes": settings.passes}
    if index.get("layout") == COLLECTION:
        wanted["sets"] = collection_facts(Path(index["root"]), find_layout)
    found = {"passes": "all", "layout": DEFAULT.name} | index
    if settings.layout != AUTO:
        wanted["layout"] = settings.layout
    return differences({key: found[key] for key in wanted}, wanted)


def _accepted(index: dict[str, Any], settings: IndexSettings) -> dict[str, Any]:
    """An index that was there before, if the config allows what it holds and the data are still what it says."""
    if index["allow_copies"] and not settings.allow_copies:
        raise UserError(f"the index of {index['root']} allows copies, data.allow_copies does not; build it again")
    require_good(index["splits"], index["root"], settings.on_bad_sample, settings.max_bad_fraction)
    changed = [f"{remark}; build the index again to use it" for remark in check_unchanged(index)]
    _warn(index, remarks(index) + changed)
    return index


def _warn(index: dict[str, Any], sentences: list[str]) -> None:
    for sentence in sentences:
        print(f"WARNING: {index['root']}: {sentence}", file=sys.stderr)
