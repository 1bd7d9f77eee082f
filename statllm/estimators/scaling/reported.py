"""Trends in published tables, of which only accuracies and numbers of items are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.comparison import TEstimate, t_estimate
from statllm.results import TestResult


@dataclass(frozen=True)
class ReportedTrend:
    """What a published row says about more data.

    Attributes
    ----------
    gain : TEstimate
        Per doubling of the number of examples.
    line : TestResult
        That the accuracies lie on a line in log n; undefined (NaN) for two sizes.
    """

    gain: TEstimate
    line: TestResult


def reported_trend(accuracies: ArrayLike, n_items: int, sizes: ArrayLike) -> ReportedTrend:
    """Fit a line in log n to published accuracies, whose errors are binomial.

    Weighted least squares with the weights n_items / (p (1 - p)). The models answer the same items,
    so that errors at several sizes are positively correlated and a difference of two accuracies is
    more precise than this says; how models trained again would differ is not in it either, which
    works the other way.

    Parameters
    ----------
    accuracies : array_like of float, shape (n_sizes,)
        Strictly between 0 and 1.
    n_items : int
        Of the test.
    sizes : array_like of float, shape (n_sizes,)

    Raises
    ------
    ValueError
        If an accuracy isn't between 0 and 1, or shapes don't fit.

    Examples
    --------
    MMLU-Pro after training on 0.5, 1, 1.5 and 2.8 million questions of OpenMathInstruct-2, as
    NaturalReasoning (Yuan et al. 2025) reports it: no line.

    >>> found = reported_trend([0.3216, 0.3403, 0.3430, 0.3199], 12032, [0.5, 1, 1.5, 2.8])
    >>> f"{found.gain.interval():.4f}", found.line.p_value < 0.001
    ('[-0.0047, 0.0045]', True)
    """
    from scipy import special

    p, n = np.asarray(accuracies, np.float64), np.asarray(sizes, np.float64)
    if p.ndim != 1 or p.shape != n.shape or len(p) < 2:
        raise ValueError(f"{p.size} accuracies for {n.size} sizes; two of each at least")
    if not ((p > 0) & (p < 1)).all():
        raise ValueError("accuracies must lie strictly between 0 and 1")
    if not (n > 0).all() or len(np.unique(n)) < len(n):
        raise ValueError("sizes must be positive and all different")
    if not n_items >= 1:
        raise ValueError(f"n_items must be at least 1, not {n_items}")
    weight = n_items / (p * (1 - p))
    x = np.log2(n)
    centre = float(weight @ x / weight.sum())
    spread = float(weight @ (x - centre) ** 2)
    slope = float(weight @ ((x - centre) * p)) / spread
    level = float(weight @ p / weight.sum())
    residual = p - level - slope * (x - centre)
    chi2, df = float(weight @ residual**2), len(p) - 2
    log_p = float(np.log(special.chdtrc(df, chi2))) if df > 0 else float("nan")
    gain = t_estimate(
        slope, spread**-0.5, float("inf"), n_items, "weighted least squares, binomial errors",
        "gain per doubling", "share",
    )  # fmt: skip
    line = TestResult(
        chi2, float(np.exp(log_p)), log_p, "greater", n_items,
        f"chi-squared of the residuals from a line in log n, {df} df",
        "accuracies at different sizes are independent",
    )  # fmt: skip
    return ReportedTrend(gain, line)
