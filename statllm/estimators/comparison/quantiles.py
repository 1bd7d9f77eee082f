"""Quantiles and their intervals from order statistics."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.comparison._arrays import Missing, flat, pairs
from statllm.results import Estimate, Interval


def quantile_estimate(
    x: ArrayLike, q: float = 0.5, name: str = "quantile", unit: str = ""
) -> Estimate:
    """Quantile of independent rows, with the interval between two order statistics.

    [x_(l), x_(u)], l the largest with P(B < l) <= (1 - level) / 2 and u the smallest with
    P(B >= u) <= (1 - level) / 2 for B binomial(n, q): it covers at least as often as its level
    says, whatever the distribution, ties included (Thompson 1936). An end is infinite where n is
    too small.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    q : float
        Between 0 and 1.
    name, unit : str

    Returns
    -------
    Estimate
        The value interpolates linearly between order statistics; there is no standard error (NaN):
        it would need the density.

    Raises
    ------
    ValueError
        If q isn't between 0 and 1.

    Examples
    --------
    >>> median = quantile_estimate([5, 1, 4, 2, 3, 7, 6, 9])
    >>> f"{median.value} {median.interval()}"
    '4.5 [1, 9]'
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, not {q}")
    ordered = np.sort(flat(x, "x"))
    n = len(ordered)
    missing = bool(np.isnan(ordered).any()) or n == 0

    def interval_of(level: float) -> Interval:
        from scipy import stats

        if missing:
            return Interval(math.nan, math.nan, level, "order statistics")
        # Ranks 0 and n + 1 are the ends of the line.
        below = stats.binom.cdf(np.arange(-1, n + 1), n, q)  # P(B < rank) at 0 ... n + 1
        tail = (1 - level) / 2 * (1 + 1e-12)
        low = int(np.flatnonzero(below <= tail)[-1])
        high = int(np.flatnonzero(stats.binom.sf(np.arange(-1, n + 1), n, q) <= tail)[0])
        padded = np.concatenate([[-math.inf], ordered, [math.inf]])
        return Interval(float(padded[low]), float(padded[high]), level, "order statistics")

    value = math.nan if missing else float(np.quantile(ordered, q))
    return Estimate(value, math.nan, n, f"quantile {q:g}", name, unit, interval_of)


def median_difference(
    a: ArrayLike,
    b: ArrayLike,
    missing: Missing = "raise",
    name: str = "median difference",
    unit: str = "",
) -> Estimate:
    """Median of b - a over pairs, with the interval that the sign test gives.

    It's not the difference of the medians, for which see `resampling.bootstrap_difference`.

    Parameters
    ----------
    a, b : array_like of float, shape (n,)
    missing : {"raise", "drop"}
        What to do with a pair in which a score is NaN.
    name, unit : str

    Examples
    --------
    >>> median_difference([1, 2, 3, 4, 5], [2, 4, 6, 9, 8]).value
    3.0
    """
    first, second, _ = pairs(a, b, missing)
    found = quantile_estimate(second - first, 0.5, name, unit)
    return Estimate(
        found.value, found.se, found.n, "median of paired differences", name, unit,
        found.interval_of,
    )  # fmt: skip
