"""Variance components of a complete table, from its mean squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.variance_components.factors import Factors
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanSquares:
    """Mean squares of the factors, then of the residual.

    Attributes
    ----------
    square, degrees : ndarray of float64, shape (n_factors + 1,)
    size : ndarray of float64, shape (n_factors,)
        Scores per level: E square_f = residual variance + size_f variance_f.
    """

    square: FloatArray
    degrees: FloatArray
    size: FloatArray


def mean_squares(data: Factors) -> MeanSquares:
    """Decompose the sum of squares of a balanced table."""
    n = len(data.score)
    centred = data.score - data.score.mean()
    sums, degrees, sizes = [], [], []
    for code, count in zip(data.codes, data.levels, strict=True):
        size = n / count
        sums.append(float(np.sum(np.bincount(code, weights=centred) ** 2)) / size)
        degrees.append(count - 1.0)
        sizes.append(size)
    rest = n - 1 - sum(degrees)
    if rest < 1:
        raise ValueError("no degree of freedom is left for the residual")
    residual = max(float(centred @ centred) - sum(sums), 0.0)
    square = np.array([*sums, residual]) / np.array([*degrees, rest])
    return MeanSquares(square, np.array([*degrees, rest]), np.array(sizes))


def moments(data: Factors) -> list[Estimate]:
    """Variance of each factor and of the residual, by the method of moments.

    (mean square of the factor - residual mean square) / scores per level: unbiased, and equal to
    REML where it isn't negative (Searle, Casella and McCulloch 1992, section 4.4). A negative
    value is kept: cut off at 0 it would be biased.

    Intervals: the modified large-sample interval of Graybill and Wang (1980; Burdick and Graybill
    1992, section 3.3) for factors, and that of chi-squared for the residual. Both suppose normal
    effects.

    Parameters
    ----------
    data : Factors

    Returns
    -------
    list of Estimate
        The factors in order, then ``residual``; in squared units of the score.

    Raises
    ------
    ValueError
        If the table isn't complete: some combinations of levels have more scores than others.

    Examples
    --------
    >>> score = [1.0, 2.0, 3.0, 5.0]
    >>> data = Factors.of(score, {"prompt": [0, 0, 1, 1], "judge": [0, 1, 0, 1]})
    >>> [round(part.value, 3) for part in moments(data)]
    [3.0, 1.0, 0.25]
    """
    if not data.balanced:
        raise ValueError("moments need as many scores in every combination of levels; use reml")
    table = mean_squares(data)
    error, df_error = float(table.square[-1]), float(table.degrees[-1])
    found = []
    for place, name in enumerate(data.names):
        square, df, size = (
            float(x) for x in (table.square[place], table.degrees[place], table.size[place])
        )
        se = np.sqrt(2 * square**2 / df + 2 * error**2 / df_error) / size
        found.append(
            Estimate(
                (square - error) / size,
                float(se),
                data.levels[place],
                "mean squares",
                f"variance of {name}",
                "squared units",
                _Difference(square, error, df, df_error, size),
            )
        )
    se = error * np.sqrt(2 / df_error)
    residual = _Residual(error, df_error)
    found.append(
        Estimate(
            error,
            float(se),
            int(df_error) + 1,
            "mean squares",
            "residual variance",
            "squared units",
            residual,
        )
    )
    return found


@dataclass(frozen=True)
class _Residual:
    """Interval of a variance by chi-squared."""

    square: float
    degrees: float

    def __call__(self, level: float) -> Interval:
        from scipy import special

        low, high = special.chdtri(self.degrees, [(1 - level) / 2, (1 + level) / 2])
        ss = self.square * self.degrees
        return Interval(ss / low, ss / high, level, "chi-squared")


@dataclass(frozen=True)
class _Difference:
    """Modified large-sample interval of (S1 - S2) / size."""

    first: float
    second: float
    df1: float
    df2: float
    size: float

    def __call__(self, level: float) -> Interval:
        from scipy import special

        tail = (1 - level) / 2

        def f_quantile(upper: float, a: float, b: float) -> float:
            return float(special.fdtri(a, b, 1 - upper))

        def chi2_ratio(upper: float, df: float) -> float:  # quantile of F(df, infinity)
            return float(special.chdtri(df, upper)) / df

        s1, s2 = self.first, self.second
        g1 = 1 - 1 / chi2_ratio(tail, self.df1)
        h2 = 1 / chi2_ratio(1 - tail, self.df2) - 1
        f_up = f_quantile(tail, self.df1, self.df2)
        g12 = ((f_up - 1) ** 2 - g1**2 * f_up**2 - h2**2) / f_up
        lower = (s1 * g1) ** 2 + (s2 * h2) ** 2 + g12 * s1 * s2
        h1 = 1 / chi2_ratio(1 - tail, self.df1) - 1
        g2 = 1 - 1 / chi2_ratio(tail, self.df2)
        f_low = f_quantile(1 - tail, self.df1, self.df2)
        h12 = ((1 - f_low) ** 2 - h1**2 * f_low**2 - g2**2) / f_low
        upper = (s1 * h1) ** 2 + (s2 * g2) ** 2 + h12 * s1 * s2
        value = s1 - s2
        return Interval(
            (value - max(lower, 0.0) ** 0.5) / self.size,
            (value + max(upper, 0.0) ** 0.5) / self.size,
            level,
            "modified large-sample",
        )
