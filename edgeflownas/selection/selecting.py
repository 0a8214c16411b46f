"""From an evaluated space to the answer: the content of `pareto_front.json` and of `selection.json`."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.search_space import ArchCode, SearchSpace
from edgeflownas.runs.records import METRICS
from edgeflownas.selection.chip_tables import ChipTable
from edgeflownas.selection.effects import effects
from edgeflownas.selection.front import Pick, automatic_picks, front_rows, hypervolume, named_picks
from edgeflownas.selection.noise import front_ties, noise
from edgeflownas.selection.tables import Evaluated

MACS, MS = "macs", "ms"
MILLION = 1e6
COSTS = ("params", MACS)
FEW_SAMPLES = 100
MANY_WORSE = 0.1


@dataclass(frozen=True)
class SelectionSettings:
    """The keys of the configuration that decide about picks."""

    budget: Annotated[float | None, "selection.budget"]
    picks: Annotated[str | None, "selection.picks"]


@dataclass(frozen=True)
class Cost:
    """What the front is taken over, besides EPE: multiply-accumulates, or milliseconds where a chip is known.

    key: its name in tables. values: (subnets,). of_budget: how many of them `selection.budget` counts as one, and
    `unit` what that one is called.
    """

    key: str
    values: np.ndarray
    of_budget: float
    unit: str


def cost_of(evaluated: Evaluated, chip: ChipTable | None) -> Cost:
    """What the subnets of an evaluated space cost."""
    if chip is None:
        return Cost(MACS, evaluated.table[MACS].to_numpy(), MILLION, "million multiply-accumulates")
    return Cost(MS, chip.ms, 1.0, f"ms on {chip.facts['target']}")


@dataclass(frozen=True)
class Selection:
    """The answer. front, selection: the content of `pareto_front.json` and `selection.json`.

    rows: of the front in the table, lightest first. picks: with their rows. ties: per subnet of the front, the row of
    the cheapest one that it is tied with, None if there is none, or if a single sample cannot tell.
    """

    rows: np.ndarray
    picks: list[Pick]
    ties: list[int | None]
    front: dict[str, Any]
    selection: dict[str, Any]


def row_of(code: ArchCode, space: SearchSpace) -> int:
    """The row of a subnet in tables in lexicographic order of codes."""
    return int(np.ravel_multi_index(code, [len(block.options) for block in space.blocks]))


def code_of(row: int, space: SearchSpace) -> ArchCode:
    """The subnet of a row in tables in lexicographic order of codes."""
    return tuple(map(int, np.unravel_index(row, [len(block.options) for block in space.blocks])))


def select(evaluated: Evaluated, settings: SelectionSettings, chip: ChipTable | None = None) -> Selection:
    """Front, effects, noise and picks of an evaluated space.

    Args:
        evaluated: the space.
        settings: what decides about picks.
        chip: what its subnets take on a chip; cost is multiply-accumulates without.

    Raises:
        UserError: a budget below the lightest subnet, a pick that is no arch code of the space, or an EPE that is not
            finite.
    """
    space, table, sample_epes = evaluated.space, evaluated.table, evaluated.sample_epes
    epe, cost_is = table["epe"].to_numpy(), cost_of(evaluated, chip)
    cost = cost_is.values
    if bad := np.flatnonzero(~np.isfinite(epe)).tolist():
        raise UserError(
            f"the EPE of {len(bad)} subnets is not finite, first of {format_code(code_of(bad[0], space))}: the "
            "supernet has diverged; evaluate another checkpoint"
        )
    named = named_codes(settings.picks, space)
    rows = front_rows(cost, epe)
    reference, scaled = row_of(space.reference, space), cost / cost_is.of_budget
    picks = automatic_picks(scaled, epe, reference, settings.budget, cost_is.unit)
    picks += named_picks([row_of(code, space) for code in named])
    several = sample_epes.shape[1] > 1
    ties = front_ties(sample_epes, rows) if several else [None] * len(rows)
    tied_rows = dict(zip(rows.tolist(), ties, strict=True))

    def subnet(row: int) -> dict[str, Any]:
        numbers = {name: float(table[name].iloc[row]) for name in ("epe", "epe_error", *METRICS[1:])}
        costs = {name: int(table[name].iloc[row]) for name in COSTS}
        ms = None if chip is None else float(chip.ms[row])
        tie = tied_rows.get(row)
        tied = None
        if tie is not None:
            tied = {"code": format_code(code_of(tie[0], space)), "epe": tie[1].epe, "epe_error": tie[1].error}
        return {"code": format_code(code_of(row, space)), **numbers, **costs, MS: ms, "tied_with": tied}

    quality = _quality(cost_is, epe, evaluated.facts["zero_flow_epe"])
    reach = noise(sample_epes, cost, epe)
    costs = {name: table[name].to_numpy() for name in COSTS} | ({} if chip is None else {MS: chip.ms})
    worth = effects(space, epe, sample_epes, costs)
    front = {
        "search_space": space.name,
        "checkpoint": evaluated.facts["checkpoint"],
        "cost": cost_is.key,
        "hypervolume": quality,
        "subnets": [subnet(int(row)) for row in rows],
    }
    selection = {
        "evaluation": evaluated.facts,
        "chip": None if chip is None else {key: value for key, value in chip.facts.items() if key != "files"},
        "cost": cost_is.key,
        "settings": {"budget": settings.budget, "picks": [format_code(code) for code in named]},
        "front": {"subnets": len(rows), "hypervolume": quality["share"] if quality else None},
        "picks": [{"role": pick.role, **subnet(pick.row), "on_front": pick.row in tied_rows} for pick in picks],
        "effects": worth,
        "noise": reach,
        "cautions": _cautions(evaluated, reach),
    }
    return Selection(rows, picks, [None if tie is None else tie[0] for tie in ties], front, selection)


def named_codes(text: str | None, space: SearchSpace) -> list[ArchCode]:
    """The codes that `selection.picks` names, each once.

    Raises:
        UserError: one is no arch code of the space.
    """
    try:
        return list(dict.fromkeys(parse_code(word, space) for word in (text or "").split()))
    except UserError as error:
        raise UserError(f"selection.picks: {error}") from error


def _quality(cost_is: Cost, epe: np.ndarray, zero_flow_epe: float) -> dict[str, Any] | None:
    """The hypervolume between what is known without any training, so that two supernets can be compared by it."""
    cost = cost_is.values
    ideal, worst = (float(cost.min()), 0.0), (float(cost.max()), zero_flow_epe)
    if not (worst[0] > ideal[0] and worst[1] > 0):
        return None
    named = (("ideal", ideal), ("worst", worst))
    corners = {name: {cost_is.key: corner[0], "epe": corner[1]} for name, corner in named}
    return {"share": hypervolume(cost, epe, ideal, worst), **corners}


def _cautions(evaluated: Evaluated, reach: dict[str, Any] | None) -> list[str]:
    epe, zero = evaluated.table["epe"], evaluated.facts["zero_flow_epe"]
    samples = evaluated.facts["samples"]
    words = []
    if reach is None:
        words.append(
            "Evaluated on a single validation sample: how far noise reaches is not known; the ranking may be chance."
        )
    elif samples < FEW_SAMPLES:
        words.append(
            f"Only {samples} validation samples: small differences in EPE say little; see how far noise reaches."
        )
    if epe.min() >= zero:
        words.append(
            f"No subnet beats predicting no motion ({zero:.3f} px): the supernet has not learned, and its ranking says "
            "nothing."
        )
    elif (worse := float((epe >= zero).mean())) > MANY_WORSE:
        words.append(f"{worse:.0%} of the subnets are no better than predicting no motion ({zero:.3f} px).")
    if reach is not None and reach["front_told_apart"] is False:
        words.append(
            f"The spread of the front, {reach['spread']['epe']:.4f} px, is below its noise: the most accurate subnet "
            "cannot be told from the lightest."
        )
    return words
