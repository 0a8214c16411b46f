"""The rows of a study's table: changes of a configuration, by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.errors import UserError
from edgeflownas.yaml_files import read_yaml


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The table's rows: name -> dotted config keys and values. The first is what the others are compared with.

    Raises:
        UserError: unreadable, or not a mapping of names to mappings.
    """
    rows = read_yaml(path)
    if not isinstance(rows, dict) or not rows or not all(isinstance(changes, dict) for changes in rows.values()):
        raise UserError(f"{path}: expected rows of the form `name: {{train.lr: 1e-4}}`")
    return rows


def trains(changes: Mapping[str, Any]) -> bool:
    """Whether a row needs a training of its own, or only another evaluation."""
    return not all(key.startswith("eval.") for key in changes)
