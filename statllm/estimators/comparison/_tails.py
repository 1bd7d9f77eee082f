"""Tail probabilities on the logarithmic scale, where they may underflow."""

from __future__ import annotations

import math

import numpy as np

from statllm.results import TestResult


def two_sided(log_upper: float, log_lower: float, alternative: str) -> float:
    """Log p of an alternative from the log tails at and above, at and below the statistic."""
    if alternative == "greater":
        return min(log_upper, 0.0)
    if alternative == "less":
        return min(log_lower, 0.0)
    if alternative != "two-sided":
        raise ValueError(f"alternative must be two-sided, greater or less, not {alternative!r}")
    if math.isnan(log_upper) or math.isnan(log_lower):
        return math.nan
    return min(math.log(2) + min(log_upper, log_lower), 0.0)


def result(
    statistic: float, log_p: float, alternative: str, n: int, method: str, assumptions: str
) -> TestResult:
    """A test of which log p is known."""
    return TestResult(statistic, math.exp(log_p), log_p, alternative, n, method, assumptions)


def log_t_tail(t: float, df: float) -> float:
    """Log P(T >= t) for Student's t, also where it underflows."""
    from scipy import special

    from statllm.estimators.calibration._tails import log_t

    if math.isnan(t) or math.isnan(df):
        return math.nan
    if math.isinf(df):
        return float(special.log_ndtr(-t))
    both = log_t(t, df)
    if math.isnan(both) and df > 1e4:  # the series gave up; Wallace's (1959) normal instead
        both = math.log(2) + float(special.log_ndtr(-math.sqrt((df - 0.5) * math.log1p(t**2 / df))))
    half = both - math.log(2)
    return half if t >= 0 else math.log1p(-math.exp(half))


def log_binomial_tail(x: int, n: int) -> float:
    """Log P(X >= x) for n fair trials."""
    from scipy import special

    if x <= 0:
        return 0.0
    k = np.arange(x, n + 1)
    terms = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return min(float(special.logsumexp(terms)) - n * math.log(2), 0.0) if len(k) else -math.inf
