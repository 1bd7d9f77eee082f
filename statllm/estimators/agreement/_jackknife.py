"""Intervals of coefficients 1 - D_o / D_e, from leaving out units or clusters of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]

#: With fewer clusters than this that disagree, their number decides the interval.
FEW = 5

#: The same for disagreements of different sizes, in equal ones.
FEW_UNEQUAL = 8


def cluster_sums(values: FloatArray, clusters: ArrayLike | None) -> FloatArray:
    """Sum rows by cluster; without labels each row is its own.

    Raises
    ------
    ValueError
        Unless there's one label per row, none of them missing.
    """
    if clusters is None:
        return values
    number = label_codes(clusters, "clusters", len(values))
    columns = [np.bincount(number, column) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float64)


def coefficient(
    disagreement: FloatArray,
    weight: FloatArray,
    margins: FloatArray,
    expected: Callable[[FloatArray], FloatArray],
    clusters: ArrayLike | None,
    worst: float,
    name: str,
    method: str,
) -> Estimate:
    """Return 1 - (sum disagreement / sum weight) / expected(sum margins) with its interval.

    Parameters
    ----------
    disagreement, weight : ndarray of float64, shape (n_units,)
    margins : ndarray of float64, shape (n_units, d)
    expected : callable
        Disagreement by chance, from sums (..., d) to (...).
    clusters : array_like, shape (n_units,), optional
    worst : float
        Largest disagreement that a unit can have.
    name, method : str
    """
    parts = np.concatenate([disagreement[:, None], weight[:, None], margins], axis=1)
    each = cluster_sums(parts, clusters)
    each = each[each[:, 1:].any(axis=1)]  # units without a rating say nothing
    total = each.sum(axis=0)

    def share(sums: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio: FloatArray = sums[..., 0] / sums[..., 1] / expected(sums[..., 2:])
        return ratio

    # Sums of what is left may be off by rounding where nothing disagrees.
    without = np.maximum(total - each, 0.0)
    without[:, 0] = np.where(without[:, 0] < 1e-12 * max(total[0], 1e-300), 0.0, without[:, 0])
    chance = float(expected(total[2:])) if len(each) else math.nan
    scale = total[1] * chance
    with np.errstate(invalid="ignore", divide="ignore"):
        parts, most = each[:, 0] / scale, float(np.divide(worst, chance))
    how = "jackknife" if clusters is None else "cluster jackknife"
    return from_deletions(float(share(total)), share(without), parts, most, name, method, how)


def from_deletions(
    ratio: float,
    without: FloatArray,
    parts: FloatArray,
    worst: float,
    name: str,
    method: str,
    how: str,
) -> Estimate:
    """Return the estimate 1 - ratio, given the ratio without each cluster.

    The interval is symmetric about log(ratio): a ratio of disagreements is skew where agreement is
    high, and can't be negative. t has clusters - 1 degrees of freedom, or fewer where few clusters
    make up most of the disagreement (see `_degrees`).

    Few disagreements say little about how many more there could be. With fewer than 5 clusters
    that disagree it's Clopper and Pearson's for their share, each counted as the mean of them (the
    worst possible where there is none); and so with clusters that agree at all. Where the sizes
    of disagreements differ and they are worth fewer than 8 equal ones, (sum p)^2 / sum p^2, it's
    Fay and Feuer's (1997) for a weighted sum of Poisson counts.

    Parameters
    ----------
    ratio : float
        Observed over expected disagreement.
    without : ndarray of float64, shape (n_clusters,)
    parts : ndarray of float64, shape (n_clusters,)
        What each cluster adds to the ratio.
    worst : float
        The largest ratio there can be.
    name, method, how : str
    """
    n = len(without)
    se = math.sqrt((n - 1) / n * float(np.sum((without - ratio) ** 2))) if n > 1 else math.nan
    loud = parts[parts > 0]

    def interval_of(level: float) -> Interval:
        from scipy import special

        from statllm.estimators.proportions import clopper_pearson

        if math.isnan(ratio) or n < 2:
            return Interval(math.nan, math.nan, level, "none")
        if len(loud) and np.ptp(loud) > 1e-9 * loud.max() and _worth(loud) < FEW_UNEQUAL:
            low, high = _fay_feuer(loud, level)
            return Interval(1 - min(high, worst), 1 - low, level, "gamma, few disagreements")
        if len(loud) < FEW:
            low, high = (float(end) for end in clopper_pearson(len(loud), n, level))
            every = n * float(loud.mean()) if len(loud) else worst  # if all were like these
            return Interval(
                1 - min(high * every, worst), 1 - low * every, level, "exact, few disagreements"
            )
        short = np.maximum(worst / n - parts, 0.0)  # of the worst, which clusters of one size share
        calm = short[short > 1e-9 * worst / n]
        if len(calm) < FEW:
            low, high = (float(end) for end in clopper_pearson(len(calm), n, level))
            every = n * float(calm.mean()) if len(calm) else worst
            return Interval(
                1 - worst + low * every, 1 - worst + high * every, level, "exact, few agreements"
            )
        logs = np.log(without) - math.log(ratio)
        spread = math.sqrt((n - 1) / n * float(np.sum(logs**2)))
        half = float(special.stdtrit(min(n - 1, _degrees(loud)), 0.5 + level / 2)) * spread
        low, high = 1 - min(ratio * math.exp(half), worst), 1 - ratio * math.exp(-half)
        return Interval(low, high, level, f"{how}, log scale")

    return Estimate(1 - ratio, se, n, method, name, "", interval_of)


def _degrees(parts: FloatArray) -> float:
    """Degrees of freedom of the squared error of log(S), S the sum of independent parts.

    The squared error is V / S^2 with V = sum p^2; its relative variance, sum (p^2 / V - 2 p / S)^2
    by the delta method, is 2 / df for a chi-squared variable.
    """
    sizes = parts**2 / np.sum(parts**2) - 2 * parts / np.sum(parts)
    return 2 / float(np.sum(sizes**2))


def _worth(parts: FloatArray) -> float:
    """How many parts of one size vary as much, relative to their sum."""
    return float(np.sum(parts)) ** 2 / float(np.sum(parts**2))


def _fay_feuer(parts: FloatArray, level: float) -> tuple[float, float]:
    """Limits for sum w X with X Poisson, from gamma distributions with its mean and variance."""
    from scipy import special

    tail = (1 - level) / 2
    total, variance, largest = parts.sum(), np.sum(parts**2), parts.max()
    low = special.gammaincinv(total**2 / variance, tail) * variance / total
    total, variance = total + largest, variance + largest**2
    high = special.gammainccinv(total**2 / variance, tail) * variance / total
    return float(low), float(high)
