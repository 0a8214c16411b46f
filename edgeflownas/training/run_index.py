"""The data index of a run. Imports no Keras: a fault in the data is told before the backend is loaded."""

from pathlib import Path
from typing import Any

from edgeflownas.config import Config
from edgeflownas.data.index import build_index, check_unchanged, load_index
from edgeflownas.errors import UserError


def find_index(config: Config, earlier: Path | None = None) -> dict[str, Any]:
    """The index to train by: `data.index` if given, else that of the `earlier` run that is resumed, else a new one.

    Raises:
        UserError: no data, bad data, data that changed since they were indexed, or an index of another folder.
    """
    root = config["data.root"]
    if config["data.index"] is not None:
        index = load_index(config["data.index"])
        if index["root"] != root:
            raise UserError(f"{config['data.index']}: is the index of {index['root']}, but data.root is {root}")
        check_unchanged(index)
        return index
    if root is None:
        raise UserError("data.root is not set: give --data_root FOLDER (with train/ and val/), or set it in the config")
    if earlier is not None:
        index = load_index(earlier)
        # A data set that was moved is indexed again; whether it is still the same is for the digests to say.
        if index["root"] == root:
            check_unchanged(index)
            return index
    if config["data.source"] == "synthetic" and not Path(root).exists():
        flags = " ".join(f"--{key} {value}" for key, value in config.nested()["data"]["synthetic"].items())
        raise UserError(
            f"{root}: the synthetic data set is not there yet; generate it with `snakemake data --profile local`, "
            f"or `python -m edgeflownas.data.synthetic --root {root} {flags}`"
        )
    crop = (config["network.height"], config["network.width"])
    return build_index(root, crop, config["data.max_flow"], config["data.on_bad_sample"], config["data.workers"])
