"""What `selection.chip_costs` leaves in a folder, and how the other parts read it.

- `chip_costs.csv`: the table of the evaluated space with `ms`, `compiled` (1 where the figure is the compiler's own)
  and with `on_front` of milliseconds and EPE.
- `chip_costs.json` (`schemas/chip_costs.schema.json`): the chip, the additive model and its error, every compiled
  subnet, and what does not fit.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from edgeflownas.artifacts import read_json, sha256_file, write_json, write_text
from edgeflownas.deploy.targets import load_target
from edgeflownas.errors import UserError
from edgeflownas.selection.tables import COLUMNS, Evaluated
from edgeflownas.selection.tables import TABLE as EVALUATED_TABLE

if TYPE_CHECKING:
    import pandas as pd

TABLE, FACTS = "chip_costs.csv", "chip_costs.json"
SCHEMA = "chip_costs.schema.json"
CHIP_COLUMNS = (*COLUMNS[:-1], "ms", "compiled", COLUMNS[-1])
REMEDY = "compute them: python -m edgeflownas.selection.chip_costs"


@dataclass(frozen=True)
class ChipSettings:
    """The keys of the configuration that decide what a subnet takes on a chip, besides its network."""

    target: Annotated[str | None, "target"]
    output: Annotated[str, "deploy.output"]
    resize: Annotated[str, "deploy.resize"]
    precision: Annotated[str, "deploy.precision"]

    def facts(self) -> dict[str, Any]:
        """The content of `chip_costs.json` that they decide; they must have a target.

        Raises:
            UserError: the target cannot be read.
        """
        assert self.target is not None
        target = load_target(self.target)
        form = {"output": self.output, "resize": self.resize, "precision": self.precision}
        return {"target": target.name, "chip": target.facts(), **form}


@dataclass(frozen=True)
class ChipTable:
    """Every subnet of an evaluated space on a chip.

    table: the columns `CHIP_COLUMNS`, one row per subnet in lexicographic order of codes; `compiled` and `on_front` are
        bools.
    facts: the content of `chip_costs.json`.
    """

    table: "pd.DataFrame"
    facts: dict[str, Any]

    @property
    def ms(self) -> np.ndarray:
        """(subnets,) float64, milliseconds."""
        return np.asarray(self.table["ms"].to_numpy(np.float64))


def write_chip_costs(folder: Path, table: "pd.DataFrame", facts: Mapping[str, Any]) -> None:
    """Write the two files; `chip_costs.json` last, so that a folder that has it is complete.

    Args:
        folder: made if it is not there.
        table: as `ChipTable`.
        facts: the content of `chip_costs.json` without `files`.

    Raises:
        CannotWrite: the system refuses.
    """
    text = io.StringIO()
    table[list(CHIP_COLUMNS)].astype({"compiled": int, "on_front": int}).to_csv(text, index=False, lineterminator="\n")
    write_text(folder / TABLE, text.getvalue())
    write_json(folder / FACTS, {**facts, "files": {TABLE: sha256_file(folder / TABLE)}}, schema=SCHEMA)


def read_chip_costs(folder: Path, evaluated: Evaluated) -> ChipTable:
    """Read what the command wrote about an evaluated space.

    Raises:
        UserError: a file is missing, was changed since, or is of another evaluation.
    """
    import pandas as pd

    if not (folder / FACTS).is_file():
        raise UserError(f"{folder}: holds no costs on a chip ({FACTS}); {REMEDY}")
    facts = read_json(folder / FACTS, schema=SCHEMA)
    path = folder / TABLE
    if not path.is_file():
        raise UserError(f"{path}: is missing, {FACTS} names it; compute the costs again")
    if sha256_file(path) != facts["files"].get(TABLE):
        raise UserError(f"{path}: was changed since it was computed; compute the costs again")
    if facts["evaluated"] != evaluated.facts["files"][EVALUATED_TABLE]:
        raise UserError(f"{path}: is of another evaluation of a search space; compute the costs again")
    table = pd.read_csv(path, dtype={"code": str})
    return ChipTable(table.astype({"compiled": bool, "on_front": bool}), facts)


def chip_of(settings: ChipSettings, folder: Path, evaluated: Evaluated) -> ChipTable | None:
    """The costs on the chip that a configuration names; None if it names none.

    Raises:
        UserError: as `read_chip_costs`, or the costs are of another chip.
    """
    if settings.target is None:
        return None
    try:
        chip = read_chip_costs(folder, evaluated)
    except UserError as error:
        raise UserError(f"target is {settings.target}, so costs are milliseconds (null: MACs), and {error}") from error
    differing = [key for key, value in settings.facts().items() if key != "target" and chip.facts[key] != value]
    if differing:
        raise UserError(
            f"{folder / FACTS}: is of target {chip.facts['target']} with other values of {', '.join(differing)} than "
            f"the configuration's target {settings.target} has; {REMEDY}"
        )
    return chip
