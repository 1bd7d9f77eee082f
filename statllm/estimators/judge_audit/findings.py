"""What an audit finds: a figure, in words, and whether it differs from what a fair judge has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.proportions import proportion
from statllm.results import Estimate, TestResult

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """One figure of an audit.

    Attributes
    ----------
    topic : str
        position, length, self-preference, repeats, humans or correction.
    estimate : Estimate
    estimand : str
        What is estimated, over what, in words.
    fair : float or None
        Its value for a judge without this bias.
    test : TestResult or None
        Of `fair`.
    log_p_adjusted : float or None
        By Holm over the audit's tests; natural logarithm.
    """

    topic: str
    estimate: Estimate
    estimand: str
    fair: float | None = None
    test: TestResult | None = None
    log_p_adjusted: float | None = None

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return everything as plain values."""
        found = {"topic": self.topic, **self.estimate.to_dict(level), "estimand": self.estimand}
        test = None if self.test is None else self.test.to_dict()
        adjusted = None if self.log_p_adjusted is None else math.exp(self.log_p_adjusted)
        return {**found, "fair": self.fair, "test": test, "p_adjusted": adjusted}


def share(values: FloatArray, clusters: NDArray[Any], name: str) -> Estimate:
    """Mean of values in [0, 1]: Wilson's interval for independent 0/1, else t over clusters.

    Where all the values are equal, t's width would be 0: then Wilson's with a cluster for a trial.
    """
    names, number = np.unique(clusters, return_inverse=True)
    n = len(names)
    if n and (n == len(values) or np.ptp(values) == 0) and np.isin(values, [0, 1]).all():
        return proportion(float(values.mean()) * n, n, name=name)
    return mean_estimate(values, number, name, "share")


def mean_share(values: FloatArray, clusters: NDArray[Any], name: str) -> Estimate:
    """Mean of values in [0, 1] with t over clusters; as `share` where all are equal."""
    if len(values) and np.ptp(values) == 0:
        return share(values, clusters, name)
    return mean_estimate(values, clusters, name, "share")


def t_test(estimate: Estimate, fair: float, assumptions: str) -> TestResult:
    """Two-sided t test of an estimate against `fair`, which rejects where its interval ends.

    The degrees of freedom are read off the interval: that of unequal clusters has fewer than
    clusters - 1.
    """
    from scipy import special

    if not estimate.se > 0 or math.isnan(estimate.value):
        log_p = 0.0 if estimate.value == fair else math.nan
        return TestResult(
            math.nan, math.exp(log_p), log_p, "two-sided", estimate.n, "t", assumptions
        )
    interval = estimate.interval(0.95)
    t = (estimate.value - fair) / estimate.se
    df = _degrees((interval.high - interval.low) / 2 / estimate.se)
    if math.isinf(df):
        log_p = math.log(2) + float(special.log_ndtr(-abs(t)))
    else:
        # the tail by the incomplete beta function, whose logarithm survives small p
        p = float(special.betainc(df / 2, 0.5, df / (df + t * t)))
        log_p = math.log(p) if p > 0 else _log_tail(t, df)
    return TestResult(
        t, math.exp(log_p), min(log_p, 0.0), "two-sided", estimate.n, f"t({df:.4g})", assumptions
    )


def _degrees(quantile: float) -> float:
    """Degrees of freedom whose 97.5 % quantile this is."""
    from scipy import optimize, special

    if quantile <= 1.9599640:
        return math.inf
    found = optimize.brentq(
        lambda log_df: special.stdtrit(math.exp(log_df), 0.975) - quantile, -2.0, 20.0
    )
    return math.exp(float(found))


def _log_tail(t: float, df: float) -> float:
    """Log of both tails of t, from the leading term of the incomplete beta function."""
    from scipy import special

    x = df / (df + t * t)
    return df / 2 * math.log(x) - math.log(df / 2) - float(special.betaln(df / 2, 0.5))
