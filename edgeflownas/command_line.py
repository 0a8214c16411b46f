"""Flags that several commands share."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.config import Config, parse_assignment, resolve_config
from edgeflownas.errors import UserError

DEFAULT_CONFIG = Path("config/config.yaml")


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """`--config FILE` and `--set key=value`."""
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="config file (%(default)s)")
    add_set_flag(parser, "set any key of the config, for example train.batch_size=4; may be repeated")


def add_set_flag(parser: argparse.ArgumentParser, words: str) -> None:
    """`--set key=value`, kept as `assignments`."""
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE", help=words)


def add_data_root_flag(parser: argparse.ArgumentParser) -> None:
    """`--data_root FOLDER`, which `config_from_flags` reads."""
    words = "your data set, in any layout of docs/data.md (sets data.source to folder)"
    parser.add_argument("--data_root", metavar="FOLDER", help=words)


def config_from_flags(arguments: argparse.Namespace, flags: Mapping[str, Any]) -> Config:
    """Resolve the config from `--config`, `--set`, `--data_root` and a command's other `flags` (dotted key -> value).

    A flag that is None was not given.

    Raises:
        UserError: no such config file, or a fault in it or in a flag.
    """
    if not arguments.config.is_file():
        raise UserError(f"{arguments.config}: no such config file; the project's are in config/")
    overrides = dict(parse_assignment(assignment) for assignment in arguments.assignments)
    overrides |= data_root_overrides(getattr(arguments, "data_root", None), overrides)
    overrides |= {key: value for key, value in flags.items() if value is not None}
    return resolve_config(arguments.config, overrides)


def data_root_overrides(data_root: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `--data_root FOLDER` means: the user's own data set.

    Args:
        data_root: the folder, or None.
        given: what else the command line sets, by dotted key.

    Raises:
        UserError: that says otherwise of the same data.
    """
    if data_root is None:
        return {}
    meant = {"data.source": "folder", "data.root": data_root}
    for key in meant.keys() & given.keys():
        if given[key] != meant[key]:
            raise UserError(f"data_root {data_root} means {key} {meant[key]}, but {key} is given as {given[key]}, too")
    return meant
