"""`selection.html`: the whole space as one self-contained page, for looking around in and for picking a subnet."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.kinds import KINDS
from edgeflownas.reporting.pages import PageLink, page_script, render

TEMPLATE, SCRIPTS = "selection.html.jinja", ("sortable.js", "selection.js")
# The mark of each role, in the plot and beside its words: an SVG path around the origin.
MARKS = {
    "most accurate": "M0-8 2.2-2.6 8-2.2 3.6 1.6 5 7.4 0 4.2-5 7.4-3.6 1.6-8-2.2-2.2-2.6Z",
    "knee": "M0-7.5 7.5 0 0 7.5-7.5 0Z",
    "lightest": "M0-7 7 5.5-7 5.5Z",
    "best within budget": "M-7-5.5 7-5.5 0 7Z",
    "reference": "M-5.5-5.5 5.5-5.5 5.5 5.5-5.5 5.5Z",
    "named": "M-2-7 2-7 2-2 7-2 7 2 2 2 2 7-2 7-2 2-7 2-7-2-2-2Z",
}


@dataclass(frozen=True)
class Column:
    """A number known of every subnet, of which less is better.

    key: its name in `subnets.csv`. label, unit: for people; a number is shown as `values` × `scale`, with so many
    `digits` after the point.
    """

    key: str
    label: str
    unit: str
    values: np.ndarray
    scale: float = 1.0
    digits: int = 0


@dataclass(frozen=True)
class SelectionView:
    """What the page shows.

    columns: over all subnets in lexicographic order of codes. front_rows: of the front, lightest first.
    selection, front: the content of `selection.json` and `pareto_front.json`. commands: what takes a subnet further,
    with `@code@` and `@digits@` where its code goes. written_by: the command that wrote the page.
    """

    space: SearchSpace
    columns: Sequence[Column]
    front_rows: Sequence[int]
    pick_rows: Sequence[int]
    selection: Mapping[str, Any]
    front: Mapping[str, Any]
    commands: Sequence[str]
    written_by: str
    pages: Sequence[PageLink]

    @property
    def cost(self) -> Column:
        """What the front is taken over, besides EPE."""
        return next(column for column in self.columns if column.key == self.selection["cost"])

    def options(self) -> list[tuple[str, list[str]]]:
        """Per block: its name, and its options as a table shows them."""
        return [
            (block.name, [KINDS[block.kind].short(value) for value in block.options]) for block in self.space.blocks
        ]


def selection_page(view: SelectionView) -> str:
    """The page as HTML."""
    effects = view.selection["effects"]
    options = [option for block in effects["blocks"] for option in block["options"]]
    pairs = {tuple(pair["blocks"]): pair for pair in effects["pairs"]}
    return render(
        TEMPLATE,
        view=view,
        pages=view.pages,
        marks=MARKS,
        roles=_roles(view),
        # All blocks are drawn at one scale.
        largest={key: max(abs(option[key]) for option in options) or 1.0 for key in ("epe", view.cost.key)},
        pairs=pairs,
        # What is next to nothing looks like it.
        largest_pair=max(0.01, *(pair["variance_share"] or 0 for pair in effects["pairs"]), 0),
        data=_embedded(view),
        script=page_script(*SCRIPTS),
    )


def _roles(view: SelectionView) -> dict[str, list[str]]:
    roles: dict[str, list[str]] = {}
    for pick in view.selection["picks"]:
        roles.setdefault(pick["code"], []).append(pick["role"])
    return roles


def _embedded(view: SelectionView) -> Markup:
    """The whole space for the page's script: JSON, with the numbers as base64 of little-endian arrays."""
    budget = view.selection["settings"]["budget"]
    value = {
        "name": view.space.name,
        "blocks": [
            {"name": name, "options": options, "values": list(block.options)}
            for block, (name, options) in zip(view.space.blocks, view.options(), strict=True)
        ],
        "columns": [_encoded(column) for column in view.columns],
        "cost": view.selection["cost"],
        "zero": view.selection["evaluation"]["zero_flow_epe"],
        # It is given as the cost is shown.
        "budget": None if budget is None else budget / view.cost.scale,
        "front": list(map(int, view.front_rows)),
        "picks": [
            {"role": pick["role"], "row": int(row), "mark": MARKS[pick["role"]]}
            for pick, row in zip(view.selection["picks"], view.pick_rows, strict=True)
        ],
        "commands": list(view.commands),
    }
    # Inside a script element, HTML ends at the first "</" and nothing else.
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _encoded(column: Column) -> dict[str, Any]:
    values, kind = column.values, "f4"
    if column.key in ("epe", "ms"):
        # The front is recomputed on the page, and must be the same.
        kind = "f8"
    elif np.issubdtype(values.dtype, np.integer):
        kind = "u4" if values.max() < 2**32 else "f8"
    data = base64.b64encode(np.ascontiguousarray(values, f"<{kind}").tobytes()).decode()
    facts = {"key": column.key, "label": column.label, "unit": column.unit}
    return facts | {"scale": column.scale, "digits": column.digits, "type": kind, "data": data}
