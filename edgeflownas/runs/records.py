"""Reading what a run recorded step by step and epoch by epoch: `trace.jsonl`, `eval_epe_history.csv` and its like."""

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import parse_json, validate
from edgeflownas.errors import UserError
from edgeflownas.runs.pool_names import PoolNames, names_in

# What is recorded of a subnet's predictions, in the order of `training.metrics.flow_metrics`.
METRICS = ("epe", "outliers_1px", "outliers_3px", "outliers_5px", "fl_all")
EPE_COLUMN = "epe_"
# Why a run stopped that was completed: nothing cut it short.
COMPLETED = ("num_epochs", "early_stop")


def read_trace(path: Path) -> list[dict[str, Any]]:
    """Read a trace, each line valid by `schemas/trace_row.schema.json`.

    Raises:
        UserError: missing, or the first line that is not valid.
    """
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        row = parse_json(line, where=f"{path} line {number}")
        validate(row, "trace_row.schema.json", where=f"{path} line {number}")
        rows.append(row)
    return rows


def read_history(path: Path) -> list[dict[str, float]]:
    """Read a history, each row valid by `schemas/history_row.schema.json` and finite.

    Raises:
        UserError: missing, or the first row that is not valid.
    """
    return [*_rows(path, "history_row.schema.json", lambda names: names.columns)]


def read_further_history(path: Path) -> list[dict[str, float]]:
    """As `read_history`, of a further validation set: by `schemas/further_history_row.schema.json`."""
    return [*_rows(path, "further_history_row.schema.json", lambda names: names.columns[:3])]


def _rows(
    path: Path, schema: str, named_after_pool: Callable[[PoolNames], Sequence[str]]
) -> Iterator[dict[str, float]]:
    for number, cells in enumerate(csv.DictReader(_lines(path)), start=2):
        where = f"{path} line {number}"
        try:
            row = {str(column): _number(cell) for column, cell in cells.items()}
        except (TypeError, ValueError) as error:
            raise UserError(f"{where}: a cell is missing or not a number ({error})") from error
        bad = [column for column, value in row.items() if not math.isfinite(value)]
        if bad:
            raise UserError(f"{where}: {bad[0]} is {row[bad[0]]}, not finite")
        validate(row, schema, where=where)
        _require_columns(row, where, named_after_pool)
        yield row


def _require_columns(
    row: Mapping[str, float], where: str, named_after_pool: Callable[[PoolNames], Sequence[str]]
) -> None:
    """The columns that are named after the size of the eval pool; a schema cannot require what it has no name for."""
    try:
        missing = [column for column in named_after_pool(names_in(row)) if column not in row]
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if missing:
        raise UserError(f"{where}: {missing[0]} is missing")


def subnet_epes(row: Mapping[str, float]) -> dict[str, float]:
    """The EPE of each subnet of the eval pool in a history row, pixels, by its digits (`epe_000021222`)."""
    return {column.removeprefix(EPE_COLUMN): epe for column, epe in row.items() if column.startswith(EPE_COLUMN)}


def _number(cell: str) -> float:
    try:
        return int(cell)
    except ValueError:
        return float(cell)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
