"""The Pareto front of cost and EPE, both minimised: which subnets are on it, how good it is, and which to pick."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeflownas.errors import UserError

MOST_ACCURATE, LIGHTEST, KNEE = "most accurate", "lightest", "knee"
WITHIN_BUDGET, REFERENCE, NAMED = "best within budget", "reference", "named"


@dataclass(frozen=True)
class Pick:
    """A subnet to take further: `role` says why it was picked, `row` is its row in the table of subnets."""

    role: str
    row: int


def pareto_front(cost: np.ndarray, epe: np.ndarray) -> np.ndarray:
    """Which subnets no other subnet is better than: at most as costly and as wrong, and in one of the two less.

    Of several subnets with equal cost and equal EPE only the first is on the front. A subnet whose cost or EPE is not
    finite is never on it.

    Args:
        cost: (subnets,) MACs, parameters or milliseconds.
        epe: (subnets,) pixels.

    Returns:
        (subnets,) bool.
    """
    cost, epe = np.asarray(cost, np.float64), np.asarray(epe, np.float64)
    finite = np.isfinite(cost) & np.isfinite(epe)
    rows = np.flatnonzero(finite)
    # By cost, then EPE, then row: each subnet is on the front if it is better than all that come before it.
    rows = rows[np.lexsort((epe[rows], cost[rows]))]
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], epe[rows]]))[:-1]
    on_front = np.zeros(len(cost), bool)
    on_front[rows[epe[rows] < best_before]] = True
    return on_front


def front_rows(cost: np.ndarray, epe: np.ndarray) -> np.ndarray:
    """The rows of the front, lightest first: their cost grows, and their EPE falls."""
    rows = np.flatnonzero(pareto_front(cost, epe))
    return rows[np.argsort(np.asarray(cost)[rows])]


def hypervolume(cost: np.ndarray, epe: np.ndarray, ideal: tuple[float, float], worst: tuple[float, float]) -> float:
    """The share of the rectangle from `ideal` to `worst` that the subnets dominate (Zitzler & Thiele, 1999).

    Args:
        cost: (subnets,) in the unit of the two corners.
        epe: (subnets,) pixels.
        ideal: a cost and an EPE that no subnet can fall below.
        worst: a cost and an EPE; a subnet beyond either of them dominates nothing.

    Returns:
        0 to 1.

    Raises:
        ValueError: a rectangle without area.
    """
    area = (worst[0] - ideal[0]) * (worst[1] - ideal[1])
    if not area > 0 or worst[0] < ideal[0]:
        raise ValueError(f"expected the worst corner {worst} beyond the ideal one {ideal} in cost and EPE")
    cost, epe = np.asarray(cost, np.float64), np.asarray(epe, np.float64)
    inside = (cost <= worst[0]) & (epe <= worst[1])
    rows = front_rows(cost[inside], epe[inside])
    # One strip per subnet of the front, from its cost to the next one's.
    starts = np.maximum(cost[inside][rows], ideal[0])
    heights = worst[1] - np.maximum(epe[inside][rows], ideal[1])
    # Rounding must not make it more than all.
    return min(1.0, float(np.sum(np.diff(np.append(starts, worst[0])) * heights) / area))


def knee(cost: np.ndarray, epe: np.ndarray) -> int:
    """The row of the front's knee: the farthest below the straight line between the front's two ends.

    Both axes are scaled to the ends of the front (Das, "On characterizing the 'knee' of the Pareto curve based on
    normal-boundary intersection", 1999). If no subnet of the front is below the line, the lightest one.

    Raises:
        ValueError: no subnet with a finite cost and EPE.
    """
    rows = front_rows(cost, epe)
    if not len(rows):
        raise ValueError("expected at least one subnet with a finite cost and EPE")
    across, down = (np.asarray(values, np.float64)[rows] for values in (cost, epe))
    if len(rows) == 1:
        return int(rows[0])
    below = 1 - (across - across[0]) / (across[-1] - across[0]) - (down - down[-1]) / (down[0] - down[-1])
    # Rounding must not make a knee of a point on the line.
    return int(rows[np.argmax(np.where(below > 1e-12, below, 0))])


def automatic_picks(cost: np.ndarray, epe: np.ndarray, reference: int, budget: float | None, unit: str) -> list[Pick]:
    """The picks that need no name. All but the reference subnet are on the front.

    Args:
        cost: (subnets,) in the unit of the budget.
        epe: (subnets,) pixels.
        reference: the row of the search space's reference subnet.
        budget: `selection.budget`, the largest cost for `WITHIN_BUDGET`; None leaves that pick out.
        unit: of the cost, as a message names it.

    Raises:
        UserError: a budget that no subnet keeps to.
    """
    rows = front_rows(cost, epe)
    picks = [Pick(MOST_ACCURATE, int(rows[-1])), Pick(KNEE, knee(cost, epe)), Pick(LIGHTEST, int(rows[0]))]
    if budget is not None:
        affordable = rows[np.asarray(cost)[rows] <= budget]
        if not len(affordable):
            raise UserError(
                f"selection.budget {budget:g} is below the lightest subnet, which takes {np.asarray(cost)[rows[0]]:g} "
                f"{unit}: raise it, or leave it out"
            )
        picks.append(Pick(WITHIN_BUDGET, int(affordable[-1])))
    return [*picks, Pick(REFERENCE, reference)]


def named_picks(rows: Sequence[int]) -> list[Pick]:
    """The picks that `selection.picks` names, by their rows."""
    return [Pick(NAMED, int(row)) for row in dict.fromkeys(rows)]
