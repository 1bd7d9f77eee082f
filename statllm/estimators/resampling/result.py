"""What a bootstrap returns: it can be asked for an interval of any kind and level."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]
Method = Literal["percentile", "basic", "bca", "studentised"]
METHODS: tuple[Method, ...] = ("percentile", "basic", "bca", "studentised")


@dataclass(frozen=True)
class Bootstrap:
    """Resampled values of a statistic.

    Attributes
    ----------
    value : float
        On the sample itself.
    replicates : ndarray of float64, shape (R,)
        On the resamples, sorted.
    error : float
        Standard error by formula, which `ratios` are in units of; NaN where there is none.
    ratios : ndarray of float64, shape (R,)
        (replicate - value) / its own standard error, sorted; empty where there is no formula.
    acceleration : float or None
        a of BCa: how the standard error changes with the value. None where it would have taken a
        slow jackknife and wasn't asked for.
    n : int
        Units resampled: rows, or clusters.
    statistic : str
        In words.
    method : {"percentile", "basic", "bca", "studentised"}
        The interval that is given where none is named.
    """

    value: float
    replicates: FloatArray = field(repr=False)
    error: float
    ratios: FloatArray = field(repr=False)
    acceleration: float | None
    n: int
    statistic: str
    method: Method

    @property
    def se(self) -> float:
        """Standard deviation of the replicates (never divided by the root of their number)."""
        return float(self.replicates.std(ddof=1)) if len(self.replicates) > 1 else math.nan

    @property
    def bias(self) -> float:
        """Mean of the replicates less the value."""
        return float(self.replicates.mean() - self.value)

    def interval(self, level: float = 0.95, method: Method | None = None) -> Interval:
        """Return a confidence interval.

        With quantiles theta*(p) of the replicates, the order statistic (R + 1) p:

        - percentile [theta*(alpha), theta*(1 - alpha)]
        - basic [2 value - theta*(1 - alpha), 2 value - theta*(alpha)]
        - bca: percentile at Phi(z0 + (z0 + z) / (1 - a (z0 + z))), z0 the normal quantile of the
          share of replicates below the value, equal ones by half (Efron 1987)
        - studentised [value - t*(1 - alpha) error, value - t*(alpha) error]

        Raises
        ------
        ValueError
            If the level isn't in (0, 1) or too high for so few replicates, or a studentised
            interval is asked of a statistic without an error formula.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        method = method or self.method
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
        tail = (1 - level) / 2
        if (len(self.replicates) + 1) * tail < 1 - 1e-9:
            raise ValueError(
                f"{len(self.replicates)} resamples have no quantile {tail:g}; take at least "
                f"{math.ceil(1 / tail) - 1}"
            )
        low, high = self._ends(tail, method)
        return Interval(low, high, level, f"bootstrap {method}")

    def _ends(self, tail: float, method: Method) -> tuple[float, float]:
        if not math.isfinite(self.value) or np.isnan(self.replicates[-1]):
            return math.nan, math.nan
        if method == "percentile":
            return _order(self.replicates, tail, 1 - tail)
        if method == "basic":
            low, high = _order(self.replicates, tail, 1 - tail)
            return 2 * self.value - high, 2 * self.value - low
        if method == "studentised":
            if not len(self.ratios):
                raise ValueError(f"there is no standard error of a {self.statistic} to divide by")
            if self.error == 0:  # every unit is alike
                return self.value, self.value
            low, high = _order(self.ratios, tail, 1 - tail)
            return self.value - high * self.error, self.value - low * self.error
        if self.acceleration is None:
            raise ValueError("ask for method='bca' beforehand: it takes a jackknife")
        return _order(self.replicates, *self._bca_tails(tail, self.acceleration))

    def _bca_tails(self, tail: float, a: float) -> tuple[float, float]:
        from scipy import special

        below = np.searchsorted(self.replicates, self.value, "left")
        upto = np.searchsorted(self.replicates, self.value, "right")
        z0 = float(special.ndtri((below + upto) / 2 / len(self.replicates)))
        z = z0 + float(special.ndtri(tail)) * np.array([1.0, -1.0])
        low, high = special.ndtr(z0 + z / (1 - a * z))
        return float(low), float(high)

    def estimate(self, name: str = "", unit: str = "") -> Estimate:
        """Return the value with the standard deviation of the replicates and the interval."""
        how = f"{self.statistic}, {len(self.replicates)} resamples"
        return Estimate(self.value, self.se, self.n, how, name, unit, self.interval)


def _order(ordered: FloatArray, low: float, high: float) -> tuple[float, float]:
    """The order statistics of rank (R + 1) low and (R + 1) high, outwards where between two."""
    if math.isnan(low) or math.isnan(high):
        return math.nan, math.nan
    r = len(ordered)
    first = min(max(math.floor((r + 1) * low + 1e-9), 1), r)
    last = min(max(math.ceil((r + 1) * high - 1e-9), 1), r)
    return float(ordered[first - 1]), float(ordered[last - 1])
