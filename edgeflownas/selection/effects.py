"""What each block is worth: effects of options and pairs of blocks on EPE and on cost, and how much is additive.

The whole space is a full factorial design, so the decomposition of the variance (functional ANOVA: Sobol, 2001) is
exact and its parts are orthogonal: plain means of parts of the table, no fit.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.kinds import KINDS


def main_effects(values: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """By how much the mean of the subnets with an option differs from the mean of all.

    Args:
        values: (subnets, …) of all subnets in lexicographic order of codes.
        counts: number of options per block.

    Returns:
        Per block: (options, …) float64.
    """
    table = values.reshape(*counts, *values.shape[1:])
    overall = values.mean(axis=0, dtype=np.float64)
    return [_mean_over_others(table, counts, (block,)) - overall for block in range(len(counts))]


def pair_effects(values: np.ndarray, counts: Sequence[int]) -> dict[tuple[int, int], np.ndarray]:
    """By how much the mean of the subnets with two options differs from what their main effects add up to.

    Args:
        values: (subnets,) of all subnets in lexicographic order of codes.
        counts: number of options per block.

    Returns:
        Per pair of blocks: (options of the first, options of the second) float64.
    """
    table = values.reshape(*counts)
    overall, mains = values.mean(dtype=np.float64), main_effects(values, counts)
    return {
        (one, other): _mean_over_others(table, counts, (one, other)) - overall - mains[one][:, None] - mains[other]
        for one, other in itertools.combinations(range(len(counts)), 2)
    }


def _mean_over_others(table: np.ndarray, counts: Sequence[int], kept: tuple[int, ...]) -> np.ndarray:
    others = tuple(axis for axis in range(len(counts)) if axis not in kept)
    return np.asarray(table.mean(axis=others, dtype=np.float64))


def effects(
    space: SearchSpace, epe: np.ndarray, sample_epes: np.ndarray, costs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The part `effects` of `selection.json`.

    Args:
        space: the search space.
        epe: (subnets,) pixels, all subnets in lexicographic order of codes.
        sample_epes: (subnets, samples) pixels, for the standard errors of effects.
        costs: (subnets,) each, by name.
    """
    counts = [len(block.options) for block in space.blocks]
    mains, variance = main_effects(epe, counts), float(epe.var())
    cost_mains = {name: main_effects(cost, counts) for name, cost in costs.items()}
    errors = _standard_errors(sample_epes, counts)

    def share(effect: np.ndarray) -> float | None:
        return float(np.mean(effect**2)) / variance if variance > 0 else None

    blocks: list[dict[str, Any]] = []
    for index, block in enumerate(space.blocks):
        kind = KINDS[block.kind]
        options = [
            {
                "label": kind.label(value),
                "short": kind.short(value),
                "epe": float(mains[index][option]),
                "epe_error": None if errors is None else float(errors[index][option]),
                **{name: float(effect[index][option]) for name, effect in cost_mains.items()},
            }
            for option, value in enumerate(block.options)
        ]
        blocks.append(
            {"block": block.name, "kind": block.kind, "variance_share": share(mains[index]), "options": options}
        )
    pairs: list[dict[str, Any]] = []
    for (one, other), effect in pair_effects(epe, counts).items():
        place = np.unravel_index(np.abs(effect).argmax(), effect.shape)
        pairs.append(
            {
                "blocks": [space.blocks[one].name, space.blocks[other].name],
                "variance_share": share(effect),
                "largest": {"options": [int(digit) for digit in place], "epe": float(effect[place])},
            }
        )
    shares: dict[str, float | None] = dict.fromkeys(("additive", "pairwise", "higher"))
    if variance > 0:
        additive = sum(block["variance_share"] for block in blocks)
        pairwise = sum(pair["variance_share"] for pair in pairs)
        # What is left; rounding must not make it negative.
        shares = {"additive": additive, "pairwise": pairwise, "higher": max(0.0, 1 - additive - pairwise)}
    return {
        "mean_epe": float(epe.mean()),
        "std_epe": variance**0.5,
        "mean_costs": {name: float(cost.mean()) for name, cost in costs.items()},
        "variance_shares": shares,
        "blocks": blocks,
        "pairs": sorted(pairs, key=lambda pair: -(pair["variance_share"] or 0)),
    }


def _standard_errors(sample_epes: np.ndarray, counts: Sequence[int]) -> list[np.ndarray] | None:
    """Per block, the standard error of each option's effect over the samples; None for a single sample."""
    samples = sample_epes.shape[1]
    if samples < 2:
        return None
    return [effect.std(axis=1, ddof=1) / samples**0.5 for effect in main_effects(sample_epes, counts)]
