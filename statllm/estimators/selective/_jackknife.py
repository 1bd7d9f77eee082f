"""Standard errors from the influence of each answer, or cluster of answers, on a figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Jackknife:
    """A figure and its error.

    Attributes
    ----------
    corrected : float
        Mean of the pseudo-values: the figure without its bias of order 1/n.
    se : float
        Standard error; of sums over clusters where there are any.
    units : int
        Answers or clusters.
    """

    corrected: float
    se: float
    units: int

    @classmethod
    def of(cls, value: float, without_one: FloatArray, clusters: ArrayLike | None) -> Jackknife:
        """Tukey's jackknife, given the same figure of all answers but one."""
        n = len(without_one)
        return cls.linear(n * value - (n - 1) * without_one, clusters)

    @classmethod
    def linear(cls, pseudo: FloatArray, clusters: ArrayLike | None) -> Jackknife:
        """Mean and error of pseudo-values, or of influence values."""
        from statllm.estimators.comparison import mean_estimate

        mean = mean_estimate(pseudo, clusters)
        return cls(mean.value, mean.se, mean.n)

    def half_width(self, level: float) -> float:
        """Quantile of t with units - 1 degrees of freedom, times the error."""
        from scipy import special

        if self.units < 2:
            return math.nan
        return float(special.stdtrit(self.units - 1, 0.5 + level / 2)) * self.se


def logit_limits(centre: float, half_width: float, top: float) -> tuple[float, float]:
    """Limits inside (0, `top`): `centre` ± `half_width`, linearised, on the logit scale."""
    from scipy import special

    spread = half_width * top / (centre * (top - centre))
    odds = math.log(centre / (top - centre))
    return top * float(special.expit(odds - spread)), top * float(special.expit(odds + spread))


def log_limits(centre: float, half_width: float) -> tuple[float, float]:
    """Limits above 0: `centre` ± `half_width`, linearised, on the log scale."""
    spread = half_width / centre
    # Where next to nothing is known the upper limit exceeds the largest float.
    high = centre * math.exp(spread) if spread < 700 else math.inf
    return centre * math.exp(-spread), high
