"""Which subnets of a selection are taken further: retrained (gate 6), then exported for the chip (gate 7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import code_text, parse_code
from edgeflownas.nas.search_space import ArchCode, SearchSpace
from edgeflownas.selection.front import KNEE, LIGHTEST, MOST_ACCURATE, NAMED, REFERENCE, WITHIN_BUDGET
from edgeflownas.selection.select import SELECTION_SCHEMA

# What a user asked for by name comes first, then the best compromise.
ORDER = (NAMED, KNEE, MOST_ACCURATE, LIGHTEST, WITHIN_BUDGET, REFERENCE)


@dataclass(frozen=True)
class Taken:
    """A subnet to take further. number: from 1. role: why it was picked, all its roles in order. epe: in the supernet,
    pixels.
    """

    number: int
    role: str
    code: ArchCode
    epe: float

    @property
    def digits(self) -> str:
        """Its code as names of files have it: `000021222`."""
        return code_text(self.code)


def read_selection(path: Path) -> dict[str, Any]:
    """The content of a `selection.json`.

    Raises:
        UserError: there is none, or it is not one.
    """
    if not path.is_file():
        raise UserError(f"{path}: no selection to take picks from; run `snakemake gate5 --profile local` first")
    selection: dict[str, Any] = read_json(path, schema=SELECTION_SCHEMA)
    return selection


def picks_of(selection: Mapping[str, Any], space: SearchSpace, count: int) -> list[Taken]:
    """The first `count` distinct subnets among the picks, in the order of their roles; fewer if there are fewer.

    Args:
        selection: the content of `selection.json`.
        space: the search space in force.
        count: `retrain.subnets`.

    Raises:
        UserError: the selection is of another search space.
    """
    evaluated = selection["evaluation"]["search_space"]
    found = [(block["name"], block["kind"], *block["options"]) for block in evaluated["blocks"]]
    expected = [(block.name, block.kind, *block.options) for block in space.blocks]
    if found != expected:
        raise UserError(
            f"the selection is of search space {evaluated['name']}, the configuration names {space.name}, with other "
            "blocks: select again (`snakemake gate5`)"
        )
    roles: dict[ArchCode, list[str]] = {}
    epes: dict[ArchCode, float] = {}
    for pick in sorted(selection["picks"], key=lambda pick: ORDER.index(pick["role"])):
        code = parse_code(pick["code"], space)
        roles.setdefault(code, []).append(pick["role"])
        epes[code] = pick["epe"]
    return [
        Taken(number, ", ".join(roles[code]), code, epes[code]) for number, code in enumerate([*roles][:count], start=1)
    ]
