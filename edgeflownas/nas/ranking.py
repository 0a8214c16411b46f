"""How well one ranking of subnets predicts another: pure statistics."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
MIN_SUBNETS = 3


@dataclass(frozen=True)
class Agreement:
    """Rank correlations with their bootstrap intervals, and where the rankings differ most.

    tau: Kendall's tau-b. rho: Spearman's rho. Both are None if one side is constant; the intervals are None for fewer
    than three subnets. rank_error: largest difference of a subnet's two ranks, of subnet `worst`.
    """

    tau: float | None
    tau_interval: tuple[float, float] | None
    rho: float | None
    rho_interval: tuple[float, float] | None
    rank_error: float
    worst: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def agreement(foretold: Sequence[float], actual: Sequence[float], seed: int = 0) -> Agreement:
    """Compare two lists of EPE of the same subnets; the bootstrap resamples subnets, and `seed` decides how.

    Raises:
        ValueError: lists of different length, or fewer than two subnets.
    """
    if len(foretold) != len(actual) or len(foretold) < 2:
        raise ValueError(f"expected two lists of at least two EPEs, got {len(foretold)} and {len(actual)}")
    from scipy import stats

    x, y = np.asarray(foretold, float), np.asarray(actual, float)
    errors = np.abs(stats.rankdata(x) - stats.rankdata(y))
    draws = np.random.Generator(np.random.Philox(seed)).integers(0, len(x), size=(RESAMPLES, len(x)))
    # Of a few subnets there are few different resamples (27 of three), and a correlation takes SciPy 0.1 ms and more.
    distinct, which = np.unique(draws, axis=0, return_inverse=True)

    def over_resamples(correlation: Callable[[np.ndarray, np.ndarray], float | None]) -> list[float | None]:
        values = [correlation(x[draw], y[draw]) for draw in distinct]
        return [values[index] for index in which.ravel()]

    enough = len(x) >= MIN_SUBNETS
    return Agreement(
        tau=kendall_tau(x, y),
        tau_interval=_interval(over_resamples(kendall_tau)) if enough else None,
        rho=spearman_rho(x, y),
        rho_interval=_interval(over_resamples(spearman_rho)) if enough else None,
        rank_error=float(errors.max()),
        worst=int(errors.argmax()),
    )


def kendall_tau(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    """Kendall's tau-b; None if one side is constant."""
    return _defined(x, y, "kendalltau")


def spearman_rho(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    """Spearman's rho; None if one side is constant."""
    return _defined(x, y, "spearmanr")


def ceiling(epes: Sequence[Sequence[float]]) -> float | None:
    """Mean tau between the seeds of training alone: no ranking can be expected to predict *one* of them better.

    Their mean has less noise, and can be predicted better: `attainable_tau`.

    Args:
        epes: per seed, the EPE of every subnet, pixels.

    Returns:
        None for a single seed.
    """
    taus = [kendall_tau(one, other) for one, other in itertools.combinations(epes, 2)]
    defined = [tau for tau in taus if tau is not None]
    return float(np.mean(defined)) if defined else None


def attainable_tau(deviation: float, error: float) -> float:
    """The tau that a ranking by the true EPEs is expected to have with measured ones.

    Of the variance of the measured EPEs, the square of their error is noise; what is left is the subnets'. That is a
    correlation ρ of the true with the measured EPEs, and for normal ones tau is 2/π · asin ρ (Greiner's relation;
    Kendall & Gibbons, Rank Correlation Methods, chapter 9).

    Args:
        deviation: standard deviation of the measured EPEs between subnets, pixels.
        error: standard error of each, pixels.

    Returns:
        0 where the error explains all differences, or there are none.
    """
    if deviation <= error:
        return 0.0
    return 2.0 / math.pi * math.asin(math.sqrt(1.0 - (error / deviation) ** 2))


def standard_errors(epes: np.ndarray, compared: np.ndarray | None = None) -> np.ndarray:
    """How far each subnet's EPE against the mean of all would move with other samples: the noise of a ranking.

    The deviation from the mean of all subnets is taken per sample, so that what is hard for all of them cancels.

    Args:
        epes: (subnets, samples), pixels.
        compared: (other subnets, samples), pixels, whose mean is taken in place of that of all.

    Returns:
        (subnets,) standard errors. Of a single sample nothing is known: there each is the deviation itself.
    """
    deviations = epes - (epes if compared is None else compared).mean(axis=0)
    samples = epes.shape[1]
    if samples == 1:
        return np.abs(deviations[:, 0])
    return np.asarray(deviations.std(axis=1, ddof=1) / np.sqrt(samples))


def _defined(x: Any, y: Any, correlation: str) -> float | None:
    # SciPy takes a second to import, and the rules import this module while Snakemake parses them.
    from scipy import stats

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(getattr(stats, correlation)(x, y).statistic)


def _interval(values: Sequence[float | None]) -> tuple[float, float] | None:
    """The middle `CONFIDENCE` of the resamples in which the correlation is defined."""
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    low, high = np.percentile(defined, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return float(low), float(high)
