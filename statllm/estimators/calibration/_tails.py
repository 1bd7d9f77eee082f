"""Tails of the laws that tests use, on the log scale, and the tests' results."""

from __future__ import annotations

import math

import numpy as np

from statllm.estimators.calibration._null_draws import CLUSTERED, INDEPENDENT
from statllm.estimators.calibration._outcomes import Outcomes
from statllm.results import TestResult


def log_two_sided(z: float) -> float:
    """Log of 2 P(N > |z|)."""
    from scipy import special

    return min(math.log(2) + float(special.log_ndtr(-abs(z))), 0.0) if z == z else math.nan


def log_t(z: float, df: float) -> float:
    """Log of 2 P(t > |z|); finite where the tail underflows."""
    from scipy import special

    if math.isnan(z) or df < 1:
        return math.nan
    if math.isinf(z):
        return -math.inf
    a, x = df / 2, df / (df + z**2)
    tail = float(special.betainc(a, 0.5, x))
    if tail > 1e-290:
        return min(math.log(tail), 0.0)
    series = float(special.hyp2f1(a + 0.5, 1, a + 1, x))
    constant = math.log(a) + float(special.betaln(a, 0.5))
    return a * math.log(x) + 0.5 * math.log1p(-x) - constant + math.log(series)


def log_chi2(statistic: float, df: float) -> float:
    """Log of the upper tail of chi-squared; finite where the tail underflows."""
    from scipy import special

    if math.isnan(statistic):
        return math.nan
    if statistic == math.inf:
        return -math.inf
    a, x = df / 2, statistic / 2
    tail = float(special.gammaincc(a, x))
    if tail > 1e-290:
        return min(math.log(tail), 0.0)
    # Far out, Gamma(a, x) = x^(a-1) e^-x (1 + (a-1)/x + (a-1)(a-2)/x^2 + ...).
    terms = np.cumprod((a - np.arange(1, 20)) / x)
    return float((a - 1) * math.log(x) - x - special.gammaln(a) + math.log1p(terms.sum()))


def result(
    statistic: float,
    log_p: float,
    rows: Outcomes,
    method: str,
    also: str = "",
    p: float | None = None,
) -> TestResult:
    """A two-sided test with its log p-value; `p` where that is a rank, which exp would round."""
    assumptions = (INDEPENDENT if rows.clusters is None else CLUSTERED) + also
    p = math.exp(log_p) if p is None else p
    return TestResult(statistic, p, log_p, "two-sided", rows.n_units, method, assumptions)
