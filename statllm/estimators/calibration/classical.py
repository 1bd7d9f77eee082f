"""Tests of the hypothesis that confidences are right on average, wherever one looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _bin_sums
from statllm.estimators.calibration._outcomes import (
    Bins,
    FloatArray,
    IntArray,
    Outcomes,
    bin_index,
    checked,
)
from statllm.results import Estimate, TestResult

if TYPE_CHECKING:
    import pandas as pd

_INDEPENDENT = "outcomes are independent given the confidences"
_CLUSTERED = "clusters are independent, and many"
Missing = Literal["raise", "drop"]


def spiegelhalter(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Missing = "raise",
) -> TestResult:
    """Spiegelhalter's test: is the Brier score what the confidences themselves predict?

    Z = sum (y - p)(1 - 2p) / sqrt(sum (1 - 2p)^2 p (1 - p)), standard normal under calibration
    (Spiegelhalter 1986). Two-sided: Z > 0 where the confidences are too extreme, Z < 0 where
    they are too timid, and both are miscalibrated. It doesn't see a shift that is the same above
    and below one half. With clusters the variance is sum_c (sum_{i in c} (y - p)(1 - 2p))^2.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, shape (n,)
    weights : array_like of float, shape (n,), optional
        Sampling weights.
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster may depend on each other.
    missing : {"raise", "drop"}

    Returns
    -------
    TestResult
        The statistic is Z. NaN where the variance is 0 (all confidences are 0, 1/2 or 1) and no
        outcome contradicts them.

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> test = spiegelhalter([0.8, 0.3, 0.5, 0.5, 0.7, 0.1], [1, 0, 1, 0, 1, 0])
    >>> round(test.statistic, 4), round(test.p_value, 4)
    (-1.0302, 0.3029)
    """
    rows = checked(confidence, correct, weights, clusters, missing, binary=True)
    p, w = rows.confidence, rows.weight
    score = w * rows.residual * (1 - 2 * p)
    if rows.clusters is None:
        variance = float((w**2 * (1 - 2 * p) ** 2 * p * (1 - p)).sum())
    else:
        variance = float((np.bincount(rows.clusters, score) ** 2).sum())
    total = float(score.sum())
    if variance > 0:
        z = total / math.sqrt(variance)
    else:
        z = math.copysign(math.inf, total) if total else math.nan
    how = "" if rows.clusters is None else ", clustered"
    return _result(z, _log_two_sided(z), rows, f"Spiegelhalter{how}")


def hosmer_lemeshow(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_groups: int = 10,
    groups: Bins = "equal-mass",
    fitted: bool = False,
    missing: Missing = "raise",
) -> TestResult:
    """Hosmer and Lemeshow's test: are there as many right answers in each group as expected?

    C = sum_g (O_g - E_g)^2 / (n_g p_g (1 - p_g)), p_g being the mean confidence of group g
    (Hosmer and Lemeshow 1980). Chi-squared with one degree of freedom for each group that has
    rows; two fewer where the confidences come from a model fitted to these same outcomes.

    The value depends on the grouping, so the result names it. Rows must be independent: with
    several rows to a prompt use `spiegelhalter` or `cox`, which take clusters.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, shape (n,)
    n_groups : int
    groups : {"equal-mass", "equal-width"} or array_like of float
        As `bins` of `calibration_error`. Equal mass keeps equal confidences together, so ties
        may leave fewer groups.
    fitted : bool
        Whether the confidences were fitted to these outcomes.
    missing : {"raise", "drop"}

    Returns
    -------
    TestResult
        Infinite where a group expected none (or all) right and saw others.

    Raises
    ------
    ValueError
        As `spiegelhalter`, or if `fitted` leaves no degree of freedom.

    Examples
    --------
    >>> test = hosmer_lemeshow([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1], n_groups=2)
    >>> round(test.statistic, 4), test.method
    (1.625, 'Hosmer-Lemeshow, 2 equal-mass groups, 2 degrees of freedom')
    """
    rows = checked(confidence, correct, missing=missing, binary=True)
    cell, n_cells = bin_index(rows.confidence, groups, n_groups)
    sums = _bin_sums.of(rows, cell, n_cells)
    expected_variance = sums.count * sums.confidence * (1 - sums.confidence)
    squares = sums.residual**2
    sure = expected_variance <= 0
    statistic = float((squares[~sure] / expected_variance[~sure]).sum())
    if np.any(squares[sure] > 0):
        statistic = math.inf
    df = len(sums.count) - 2 * fitted
    if len(rows) and df < 1:
        raise ValueError(f"{len(sums.count)} groups leave no degree of freedom")
    how = groups if isinstance(groups, str) else "given"
    method = f"Hosmer-Lemeshow, {len(sums.count)} {how} groups, {df} degrees of freedom"
    log_p = _log_chi2(statistic, df) if len(rows) else math.nan
    return _result(statistic, log_p, rows, method, "; at least about five expected in each group")


@dataclass(frozen=True)
class CoxCalibration:
    """What `cox` returns.

    Attributes
    ----------
    intercept, slope : Estimate
        Of logit P(correct) = intercept + slope logit(confidence); calibrated: 0 and 1. A slope
        below 1 means that the confidences are too extreme.
    in_the_large : Estimate
        The intercept with the slope held at 1: negative means overconfident on average.
    test : TestResult
        Of intercept 0 and slope 1 together.
    """

    intercept: Estimate
    slope: Estimate
    in_the_large: Estimate
    test: TestResult

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row for each estimate."""
        import pandas as pd

        parts = (self.intercept, self.slope, self.in_the_large)
        return pd.concat([part.to_frame(level) for part in parts], ignore_index=True)


def cox(
    confidence: ArrayLike,
    correct: ArrayLike,
    clip: float | None = None,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Missing = "raise",
) -> CoxCalibration:
    """Cox's recalibration: logistic regression of the outcome on the logit of the confidence.

    logit P(y = 1) = a + b logit(p) (Cox 1958). The test of (a, b) = (0, 1) is the likelihood
    ratio's, chi-squared with two degrees of freedom. With weights or clusters the likelihood
    ratio has no such law: errors are the sandwich's, and the test is Wald's.

    Parameters
    ----------
    confidence : array_like of float in (0, 1), shape (n,)
    correct : array_like of bool, shape (n,)
    clip : float, optional
        Move confidences into [clip, 1 - clip]. Default: 0 and 1, which have no logit, are
        refused.
    weights, clusters, missing
        As for `spiegelhalter`.

    Returns
    -------
    CoxCalibration
        Estimates are infinite or NaN where the outcomes are all alike or are separated by the
        confidence: the likelihood then has no maximum.

    Raises
    ------
    ValueError
        As `spiegelhalter`, or for a confidence of 0 or 1 without `clip`.

    Examples
    --------
    >>> p = [0.9, 0.9, 0.9, 0.8, 0.6, 0.4, 0.3, 0.1]
    >>> fit = cox(p, [1, 1, 0, 1, 0, 1, 0, 0])
    >>> round(fit.intercept.value, 3), round(fit.slope.value, 3)
    (-0.481, 0.711)
    """
    if clip is not None and not 0 < clip < 0.5:
        raise ValueError(f"clip must lie between 0 and 0.5, not {clip}")
    rows = checked(confidence, correct, weights, clusters, missing, binary=True)
    p = rows.confidence if clip is None else np.clip(rows.confidence, clip, 1 - clip)
    if np.any((p <= 0) | (p >= 1)):
        raise ValueError("a confidence of 0 or 1 has no logit; clip=0.001, say, moves it")
    logit, y, w = np.log(p) - np.log1p(-p), rows.outcome, rows.weight
    design = np.column_stack([np.ones(len(p)), logit])
    both, gain = _logistic(design, y, w, np.zeros(len(p)), np.array([0.0, 1.0]))
    alone, _ = _logistic(design[:, :1], y, w, logit, np.zeros(1))
    robust = rows.weights is not None or rows.clusters is not None
    covariance = _logistic_covariance(design, both, np.zeros(len(p)), rows, robust)
    variance = _logistic_covariance(design[:, :1], alone, logit, rows, robust)
    how = "logistic regression" + (", sandwich errors" if robust else "")
    se = np.sqrt(np.diag(covariance))
    if robust:
        off = both - np.array([0.0, 1.0])
        finite = np.isfinite(covariance).all() and np.linalg.det(covariance) > 0
        statistic = float(off @ np.linalg.solve(covariance, off)) if finite else math.nan
    else:
        statistic = 2 * gain if len(rows) else math.nan
    test = _result(
        statistic,
        _log_chi2(statistic, 2),
        rows,
        f"Cox, intercept 0 and slope 1, {'Wald' if robust else 'likelihood ratio'}",
    )
    n = rows.n_units
    return CoxCalibration(
        Estimate(float(both[0]), float(se[0]), n, how, "calibration intercept", "log odds"),
        Estimate(float(both[1]), float(se[1]), n, how, "calibration slope"),
        Estimate(
            float(alone[0]),
            float(np.sqrt(variance[0, 0])),
            n,
            how,
            "calibration in the large",
            "log odds",
        ),
        test,
    )


def _logistic(
    x: FloatArray, y: FloatArray, w: FloatArray, offset: FloatArray, start: FloatArray
) -> tuple[FloatArray, float]:
    """Newton's method from `start`; the coefficients and the gain in log likelihood over it.

    Where the likelihood has no maximum, the coefficients are NaN and the gain is that to its
    supremum, as far as 100 steps get.
    """
    beta, first = start.copy(), _log_likelihood(x @ start + offset, y, w)
    value = first
    if not len(y):
        return np.full(len(start), np.nan), math.nan
    for _ in range(100):
        fitted = _expit(x @ beta + offset)
        gradient = x.T @ (w * (y - fitted))
        hessian = (x * (w * fitted * (1 - fitted))[:, None]).T @ x
        step, *_ = np.linalg.lstsq(hessian, gradient, rcond=None)
        decrement = float(gradient @ step)
        # Half the step until the likelihood doesn't fall.
        for _ in range(40):
            candidate = _log_likelihood(x @ (beta + step) + offset, y, w)
            if candidate >= value - 1e-12 * abs(value):
                break
            step /= 2
        beta, value = beta + step, candidate
        if decrement < 1e-18 * len(y) or np.abs(beta).max() > 1e3:
            break
    fitted = _expit(x @ beta + offset)
    hessian = (x * (w * fitted * (1 - fitted))[:, None]).T @ x
    flat = np.linalg.cond(hessian) > 1e12 or float(w @ (fitted * (1 - fitted))) < 1e-6
    return np.full(len(start), np.nan) if flat else beta, max(value - first, 0.0)


def _logistic_covariance(
    x: FloatArray, beta: FloatArray, offset: FloatArray, rows: Outcomes, robust: bool
) -> FloatArray:
    """Inverse information, or the sandwich with clusters' scores."""
    if np.isnan(beta).any():
        return np.full((len(beta), len(beta)), np.nan)
    w = rows.weight
    fitted = _expit(x @ beta + offset)
    bread = np.linalg.inv((x * (w * fitted * (1 - fitted))[:, None]).T @ x)
    if not robust:
        return np.asarray(bread, dtype=np.float64)
    scores = x * (w * (rows.outcome - fitted))[:, None]
    if rows.clusters is not None:
        scores = np.column_stack([_sums(rows.clusters, column) for column in scores.T])
    n = rows.n_units
    return np.asarray(bread @ (scores.T @ scores) @ bread * (n / max(n - 1, 1)), dtype=np.float64)


def _sums(group: IntArray, values: FloatArray) -> FloatArray:
    return np.bincount(group, values).astype(np.float64)


def _log_likelihood(eta: FloatArray, y: FloatArray, w: FloatArray) -> float:
    return float((w * (y * eta - np.logaddexp(0, eta))).sum())


def _expit(eta: FloatArray) -> FloatArray:
    from scipy import special

    return np.asarray(special.expit(eta))


def _log_two_sided(z: float) -> float:
    """Log of 2 P(N > |z|)."""
    from scipy import special

    return min(math.log(2) + float(special.log_ndtr(-abs(z))), 0.0) if z == z else math.nan


def _log_chi2(statistic: float, df: int) -> float:
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


def _result(
    statistic: float, log_p: float, rows: Outcomes, method: str, also: str = ""
) -> TestResult:
    assumptions = (_INDEPENDENT if rows.clusters is None else _CLUSTERED) + also
    return TestResult(
        statistic, math.exp(log_p), log_p, "two-sided", rows.n_units, method, assumptions
    )
