"""How often a detector accuses human text: what a corpus of it can certify."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.proportions import clopper_pearson
from statllm.estimators.watermark._tail import TailFit, fit_tail
from statllm.results import Estimate, Interval, TestResult

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Certificate:
    """What human documents say of a detector under one key.

    Attributes
    ----------
    rates : list of Estimate
        False-positive rates at `alphas`, with Clopper-Pearson intervals.
    alphas : list of float
        Nominal levels.
    uniformity : TestResult
        Kolmogorov-Smirnov test that p-values aren't smaller than uniform ones (one-sided).
    tail : TailFit or None
        The tail beyond the data; None with fewer than 50 documents above its threshold.
    n : int
        Documents.
    """

    rates: list[Estimate]
    alphas: list[float]
    uniformity: TestResult
    tail: TailFit | None
    n: int

    def holds(self, alpha: float, level: float = 0.95) -> bool:
        """Whether the interval's upper limit at `alpha` stays below twice the nominal level.

        Raises
        ------
        ValueError
            If `alpha` isn't one of `alphas`.
        """
        if alpha not in self.alphas:
            raise ValueError(f"alpha must be one of {self.alphas}, not {alpha}")
        rate = self.rates[self.alphas.index(alpha)]
        return rate.interval(level).high <= 2 * alpha


def certify(log_p: ArrayLike, alphas: tuple[float, ...] = (1e-2, 1e-3, 1e-4)) -> Certificate:
    """Measure a detector's false-positive rates on human documents under the deployed key.

    A p-value is valid on average over keys; a deployed key is one key, and common phrases fall on
    its numbers in every document. Given the key, documents are draws from the population that they
    were sampled from, so the rates below are those of this key in that population. They say
    nothing of another language, domain, tokenizer or length.

    Parameters
    ----------
    log_p : array_like, shape (n,)
        Natural logarithms of the p-values of human documents; NaN (nothing to score) is left out.
    alphas : tuple of float
        Levels to certify. Without any exceedance the upper limit at 95 % is about 3.7 / n: a rate
        of 1e-6 needs millions of documents, or the fitted tail and its assumption.

    Raises
    ------
    ValueError
        If there is no document, or a log p is above 0.

    Examples
    --------
    >>> p = (np.arange(1000) + 0.5) / 1000
    >>> certificate = certify(np.log(p), alphas=(0.01,))
    >>> f"{certificate.rates[0].value:.3f} {certificate.rates[0].interval(0.95):.4f}"
    '0.010 [0.0048, 0.0183]'
    """
    values = np.asarray(log_p, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if len(values) == 0:
        raise ValueError("log_p holds no document that was scored")
    if np.any(values > 1e-12):
        raise ValueError(f"log_p must be at most 0, but one is {values.max():g}")
    for alpha in alphas:
        if not 0 < alpha < 1:
            raise ValueError(f"alphas must lie between 0 and 1, not {alpha}")
    return Certificate(
        [_rate(values, alpha) for alpha in alphas],
        list(alphas),
        _uniformity(values),
        fit_tail(-values),
        len(values),
    )


def _rate(log_p: FloatArray, alpha: float) -> Estimate:
    n = len(log_p)
    hits = int(np.sum(log_p <= math.log(alpha)))
    share = hits / n

    def interval(level: float) -> Interval:
        low, high = clopper_pearson([hits], [n], level)
        return Interval(float(low[0]), float(high[0]), level, "Clopper-Pearson")

    se = math.sqrt(share * (1 - share) / n)
    name = f"false-positive rate at {alpha:g}"
    return Estimate(share, se, n, "share of documents", name, "share of documents", interval)


def _uniformity(log_p: FloatArray) -> TestResult:
    """Kolmogorov-Smirnov: D+ = sup F_n(p) - p, exact law (Simard and L'Ecuyer 2011)."""
    from scipy import stats

    found = stats.ks_1samp(np.exp(log_p), stats.uniform.cdf, alternative="greater", method="exact")
    p = float(found.pvalue)
    return TestResult(
        float(found.statistic),
        p,
        math.log(p) if p > 0 else -math.inf,
        "greater",
        len(log_p),
        "Kolmogorov-Smirnov, p-values smaller than uniform",
        "documents are independent draws, given the key",
    )
