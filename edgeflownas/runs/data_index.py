"""The data index of a run. Imports no Keras: a fault in the data is reported before the backend is loaded."""

import sys
from pathlib import Path
from typing import Any

from edgeflownas.config import Config, differences
from edgeflownas.data.bad_samples import require_good
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.generated import SyntheticParameters, already_there
from edgeflownas.data.index import build_index, load_index
from edgeflownas.data.remarks import remarks
from edgeflownas.errors import UserError


def find_index(config: Config, earlier: Path | None = None) -> dict[str, Any]:
    """The index to train by: `data.index` if given, else that of the `earlier` run that is resumed, else a new one.

    What the index leaves out, and what has changed among files that it does not list, is a warning on stderr.

    Raises:
        UserError: no data, bad data, data that changed since they were indexed, or an index of another folder, for
            another crop or largest flow, or of another policy for bad samples.
    """
    root = config["data.root"]
    if config["data.index"] is not None:
        index = load_index(config["data.index"])
        if index["root"] != root:
            raise UserError(f"{config['data.index']}: is the index of {index['root']}, but data.root is {root}")
        if changes := _built_otherwise(index, config):
            raise UserError(
                f"{config['data.index']}: was built for other settings: {'; '.join(changes)}; build it again"
            )
        return _accepted(index, config)
    if root is None:
        raise UserError("data.root is not set: give --data_root FOLDER (with train/ and val/), or set it in the config")
    if earlier is not None:
        index = load_index(earlier)
        # A data set that was moved, or is used otherwise, is indexed again; whether it is still the same is for the
        # digests to say.
        if index["root"] == root and not _built_otherwise(index, config):
            return _accepted(index, config)
    if config["data.source"] == "synthetic" and not already_there(root, SyntheticParameters.of(config.values)):
        flags = " ".join(f"--{key} {value}" for key, value in config.nested()["data"]["synthetic"].items())
        raise UserError(
            f"{root}: the synthetic data set is not there yet; generate it with `snakemake data --profile local`, "
            f"or `python -m edgeflownas.data.synthetic --root {root} {flags}`"
        )
    crop = (config["network.height"], config["network.width"])
    index = build_index(
        root,
        crop,
        config["data.max_flow"],
        config["data.on_bad_sample"],
        config["data.max_bad_fraction"],
        config["data.allow_copies"],
        config["data.workers"],
        folder=Path(config["train.output_dir"]),
        print_line=lambda line: print(line, flush=True),
    )
    _warn(index, remarks(index))
    return index


def _built_otherwise(index: dict[str, Any], config: Config) -> list[str]:
    """The settings that an index depends on and that the config has otherwise: `key: old -> new`."""
    crop = [config["network.height"], config["network.width"]]
    return differences(
        {key: index[key] for key in ("crop", "max_flow")}, {"crop": crop, "max_flow": config["data.max_flow"]}
    )


def _accepted(index: dict[str, Any], config: Config) -> dict[str, Any]:
    """An index that was there before, if the config allows what it holds and the data are still what it says."""
    if index["allow_copies"] and not config["data.allow_copies"]:
        raise UserError(f"the index of {index['root']} allows copies, data.allow_copies does not; build it again")
    require_good(index["splits"], index["root"], config["data.on_bad_sample"], config["data.max_bad_fraction"])
    changed = [f"{remark}; build the index again to use it" for remark in check_unchanged(index)]
    _warn(index, remarks(index) + changed)
    return index


def _warn(index: dict[str, Any], sentences: list[str]) -> None:
    for sentence in sentences:
        print(f"WARNING: {index['root']}: {sentence}", file=sys.stderr)
