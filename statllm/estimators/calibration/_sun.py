"""The interval of Sun, Chaudhari, Barnett and Dobriban for the squared L2 calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from statllm.estimators.calibration._outcomes import FloatArray, IntArray


@dataclass(frozen=True)
class SunInterval:
    """Arxiv 2408.08998, sections 3 and 4: two regimes, and no value below 0.

    Away from calibration the debiased error T is normal with variance
    (1/n) [sum_b w_b (4 mean_b (u . U)^2 - 3 |u|^4) - (sum_b w_b |u|^2)^2], U the residual and u
    its mean in the bin; at calibration with the variance of a degenerate U-statistic,
    sum_b 2 n_b / (n_b - 1) tr(V_b^2) / n^2, V_b the covariance that the probabilities claim. (The
    paper integrates V over a known range of probabilities; here it's the mean of the bin.)

    Attributes
    ----------
    value : float
        T.
    away, calibrated : float
        Standard errors.
    """

    value: float
    away: float
    calibrated: float

    @classmethod
    def of(cls, value: float, p: FloatArray, residual: FloatArray, cell: IntArray) -> SunInterval:
        """Plug in the bins: p and residual of shape (n, k), cell of shape (n,)."""
        n, (cell, count) = len(p), np.unique(cell, return_inverse=True, return_counts=True)[1:]

        def mean(values: FloatArray) -> FloatArray:
            return np.asarray(np.bincount(cell, values) / count)

        gap = np.column_stack([mean(column) for column in residual.T])
        squared = (gap**2).sum(axis=1)
        along = mean((residual * gap[cell]).sum(axis=1) ** 2)
        share = count / n
        away = float(share @ (4 * along - 3 * squared**2)) - float(share @ squared) ** 2
        square = np.zeros(len(count))  # tr(V_b^2)
        for i, first in enumerate(p.T):
            for j, second in enumerate(p.T):
                square += mean(first * (i == j) - first * second) ** 2
        pairs = np.divide(2 * count, count - 1, out=np.zeros(len(count)), where=count > 1)
        return cls(value, math.sqrt(max(away, 0.0) / n), math.sqrt(float(pairs @ square)) / n)

    def limits(self, level: float) -> tuple[float, float]:
        """End points; 0 is inside if and only if calibration isn't rejected at 1 - level."""
        from statistics import NormalDist

        one_sided, two_sided = NormalDist().inv_cdf(level), NormalDist().inv_cdf((1 + level) / 2)
        top = max(self.value, 0.0)
        if math.isnan(self.value):
            return math.nan, math.nan
        if top >= 2 * two_sided * self.away:
            low = top - two_sided * self.away
        elif top >= 2 * one_sided * self.away:
            low = top / 2
        else:
            low = max(top - one_sided * self.away, 0.0)
        if top <= one_sided * self.calibrated:
            low = 0.0
        elif low == 0.0:
            low = math.ulp(0.0)  # the interval is open at 0
        return low, max(top + two_sided * self.away, low)
