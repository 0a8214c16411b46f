"""How far noise reaches: EPE differences with paired standard errors, ties on the front, and halves of the samples.

All subnets are evaluated on the same samples, and a difference between two is far less uncertain than each one's EPE.
The noise here is that of the choice of validation samples, not that of training.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeflownas.nas.ranking import kendall_tau
from edgeflownas.selection.front import front_rows, pareto_front

CONFIDENCE = 0.95
# So many times the samples are split into two halves, always in the same ways.
SPLITS = 10
SEED = 15
# Rows at a time, so that a space of any size needs no second copy of its sample EPEs.
CHUNK = 4096


@dataclass(frozen=True)
class Difference:
    """EPE of one subnet minus that of another, and its standard error over the samples (paired), pixels."""

    epe: float
    error: float


def difference(sample_epes: np.ndarray, one: int, other: int) -> Difference:
    """EPE of subnet `one` minus that of subnet `other`.

    Args:
        sample_epes: (subnets, samples) pixels; at least two samples.
        one: its row.
        other: its row.
    """
    by_sample = sample_epes[one].astype(np.float64) - sample_epes[other]
    return Difference(float(by_sample.mean()), float(by_sample.std(ddof=1)) / len(by_sample) ** 0.5)


def critical_value(samples: int) -> float:
    """How many standard errors a difference must have to be none by chance: Student's t, two-sided, 95%."""
    # SciPy takes a second to import, and no command may need that for its --help.
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, samples - 1))


def front_ties(sample_epes: np.ndarray, rows: np.ndarray) -> list[tuple[int, Difference] | None]:
    """With which cheaper subnet of the front each of its subnets is tied, if with any.

    Args:
        sample_epes: (subnets, samples) pixels; at least two samples.
        rows: the front, lightest first.

    Returns:
        Per subnet of the front: the row of the cheapest one whose EPE does not differ at 95%, and the difference by
        which that one is worse.
    """
    critical = critical_value(sample_epes.shape[1])
    ties: list[tuple[int, Difference] | None] = []
    for place, row in enumerate(rows):
        worse = ((int(cheaper), difference(sample_epes, cheaper, row)) for cheaper in rows[:place])
        ties.append(next((tie for tie in worse if abs(tie[1].epe) <= critical * tie[1].error), None))
    return ties


def tied_with(sample_epes: np.ndarray, row: int) -> int:
    """How many subnets' EPE does not differ at 95% from that of `row`, which is not counted."""
    samples = sample_epes.shape[1]
    limit = critical_value(samples)
    count = 0
    for start in range(0, len(sample_epes), CHUNK):
        by_sample = sample_epes[start : start + CHUNK].astype(np.float64) - sample_epes[row]
        error = by_sample.std(axis=1, ddof=1) / samples**0.5
        count += int(np.sum(np.abs(by_sample.mean(axis=1)) <= limit * error))
    return count - 1


def half_epes(sample_epes: np.ndarray) -> np.ndarray:
    """EPE of every subnet on halves of the samples, of `SPLITS` random splits that depend on nothing but their number.

    Args:
        sample_epes: (subnets, samples) pixels; at least two samples.

    Returns:
        (splits, 2, subnets) float64; of an odd number of samples, the second half has one more.
    """
    samples = sample_epes.shape[1]
    generator = np.random.Generator(np.random.Philox(SEED))
    weights = np.zeros((samples, SPLITS, 2))
    for split in range(SPLITS):
        order = generator.permutation(samples)
        for half, members in enumerate((order[: samples // 2], order[samples // 2 :])):
            weights[members, split, half] = 1 / len(members)
    flat = weights.reshape(samples, -1)
    chunks = [sample_epes[start : start + CHUNK] @ flat for start in range(0, len(sample_epes), CHUNK)]
    return np.concatenate(chunks).T.reshape(SPLITS, 2, -1)


def halves(sample_epes: np.ndarray, cost: np.ndarray, epe: np.ndarray) -> dict[str, Any]:
    """How stable ranking and front are if only half of the samples judge: means over all splits.

    Returns:
        splits: how many.
        tau: Kendall's tau over all subnets between the two halves; None if a half cannot tell any apart.
        kept: the share of the front of all samples that is also on the front of a half, its mean, least and most.
        optimism: by how much the subnets of a half's front are worse on the other half than on the one that put them
            there, each against the mean of all subnets there, pixels: the winner's curse.
    """
    whole = pareto_front(cost, epe)
    taus, kept, optimism = [], [], []
    for pair in half_epes(sample_epes):
        taus.append(kendall_tau(pair[0], pair[1]))
        centred = pair - pair.mean(axis=1, keepdims=True)
        for half in (0, 1):
            front = pareto_front(cost, pair[half])
            kept.append(float(np.mean(front[whole])))
            optimism.append(float(np.mean(centred[1 - half][front] - centred[half][front])))
    defined = [tau for tau in taus if tau is not None]
    return {
        "splits": SPLITS,
        "tau": float(np.mean(defined)) if defined else None,
        "kept": {"mean": float(np.mean(kept)), "least": min(kept), "most": max(kept)},
        "optimism": float(np.mean(optimism)),
    }


def noise(sample_epes: np.ndarray, cost: np.ndarray, epe: np.ndarray) -> dict[str, Any] | None:
    """The part `noise` of `selection.json`; None for a single sample, which tells nothing about others.

    Args:
        sample_epes: (subnets, samples) pixels.
        cost: (subnets,) of the front.
        epe: (subnets,) pixels.
    """
    samples = sample_epes.shape[1]
    if samples < 2:
        return None
    rows = front_rows(cost, epe)
    critical = critical_value(samples)
    spread = difference(sample_epes, rows[0], rows[-1])
    return {
        "confidence": CONFIDENCE,
        "critical_value": critical,
        "spread": {"epe": spread.epe, "error": spread.error},
        "front_told_apart": spread.epe > critical * spread.error if len(rows) > 1 else None,
        "tied_with_cheaper": sum(tie is not None for tie in front_ties(sample_epes, rows)),
        "tied_with_best": tied_with(sample_epes, int(rows[-1])),
        "halves": halves(sample_epes, cost, epe),
    }
