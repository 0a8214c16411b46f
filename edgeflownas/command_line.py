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
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set any key of the config, for example train.batch_size=4; may be repeated",
    )


def config_from_flags(arguments: argparse.Namespace, flags: Mapping[str, Any]) -> Config:
    """Resolve the config from `--config`, `--set` and a command's own `flags` (dotted key -> value or None).

    Raises:
        UserError: no such config file, or a fault in it or in a flag.
    """
    if not arguments.config.is_file():
        raise UserError(f"{arguments.config}: no such config file; the project's are in config/")
    overrides = dict(parse_assignment(assignment) for assignment in arguments.assignments)
    overrides |= {key: value for key, value in flags.items() if value is not None}
    return resolve_config(arguments.config, overrides)


def data_root_overrides(data_root: str | None) -> dict[str, Any]:
    """What `--data_root FOLDER` means: the user's own FlyingChairs2."""
    return {} if data_root is None else {"data.source": "folder", "data.root": data_root}
