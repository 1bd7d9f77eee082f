"""What an audit finds: a figure, in words, and whether it differs from what a fair judge has."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.comparison import TEstimate, mean_estimate, t_test
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


def fair_test(estimate: Estimate, fair: float, assumptions: str) -> TestResult:
    """Two-sided t test of an estimate against `fair`; NaN where all values are alike, unless fair.

    Then Wilson's interval of `share` has no t test that would agree with it.
    """
    if isinstance(estimate, TEstimate) and estimate.se > 0:
        return replace(
            t_test(estimate, fair), method=f"t({estimate.df:.4g})", assumptions=assumptions
        )
    log_p = 0.0 if estimate.value == fair else math.nan
    return TestResult(math.nan, math.exp(log_p), log_p, "two-sided", estimate.n, "t", assumptions)
