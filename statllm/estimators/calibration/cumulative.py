"""Kolmogorov-Smirnov and Kuiper tests of calibration: no bins, nothing to tune."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration._outcomes import FloatArray, Outcomes, checked
from statllm.results import TestResult

_ASSUMPTIONS = "outcomes are independent given the confidences; many rows"


def cumulative_differences(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> tuple[FloatArray, FloatArray, float]:
    """Running sum of correct - confidence, from the least confident row on.

    C_k = sum_{i <= k} w_i (y_i - p_i) / sum w, read where the confidence changes, so that the
    order of equal confidences doesn't matter. Under calibration C / scale runs like a Brownian
    motion on [0, 1], scale = sqrt(sum w^2 p (1 - p)) / sum w (Arrieta-Ibarra et al. 2022).

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, shape (n,)
    weights : array_like of float, shape (n,), optional
        Sampling weights.
    missing : {"raise", "drop"}

    Returns
    -------
    confidence : ndarray
        The distinct confidences, rising.
    difference : ndarray
        C after each of them; the slope of its graph over the share of rows is the gap.
    scale : float

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> p, c, scale = cumulative_differences([0.5, 0.2, 0.5, 0.8], [1, 0, 1, 1])
    >>> p, c.round(3), round(scale, 3)
    (array([0.2, 0.5, 0.8]), array([-0.05,  0.2 ,  0.25]), 0.226)
    """
    rows = checked(confidence, correct, weights, None, missing, binary=True)
    return _path(rows)


def _path(rows: Outcomes) -> tuple[FloatArray, FloatArray, float]:
    if not len(rows):
        return np.empty(0), np.empty(0), math.nan
    p, w = rows.confidence, rows.weight
    order = np.argsort(p)
    ranked = p[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    running = np.cumsum((w * rows.residual)[order])[last] / w.sum()
    scale = math.sqrt(float((w**2 * p * (1 - p)).sum())) / float(w.sum())
    return ranked[last], running, scale


def kolmogorov_smirnov_calibration(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration by the largest absolute cumulative difference.

    max_k |C_k| / scale against the law of max |B(t)|, t in [0, 1], of a Brownian motion. Best
    where the error has one sign: confidences too high, or too low, throughout. Parameters and
    exceptions as for `cumulative_differences`; rows must be independent.

    Returns
    -------
    TestResult
        With few distinct confidences the maximum is taken over few points, and p is too large.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(500)
    >>> calibrated = rng.random(500) < p
    >>> overconfident = rng.random(500) < 0.8 * p
    >>> round(kolmogorov_smirnov_calibration(p, calibrated).p_value, 2)
    0.74
    >>> kolmogorov_smirnov_calibration(p, overconfident).p_value < 1e-6
    True
    """
    rows = checked(confidence, correct, weights, None, missing, binary=True)
    _, running, scale = _path(rows)
    statistic = _scaled(float(np.abs(running).max(initial=0.0)), scale)
    return _result(statistic, _log_tail_maximum(statistic), len(rows), "Kolmogorov-Smirnov")


def kuiper_calibration(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration by the range of the cumulative differences.

    (max_k C_k - min_k C_k) / scale, both with C_0 = 0, against the law of the range of a
    Brownian motion (Feller 1951). Sees overconfidence in one place and underconfidence in
    another equally well. Parameters and exceptions as for `cumulative_differences`; rows must be
    independent.

    Returns
    -------
    TestResult

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(500)
    >>> timid = rng.random(500) < (p > 0.5)
    >>> kuiper_calibration(p, timid).p_value < 1e-6
    True
    """
    rows = checked(confidence, correct, weights, None, missing, binary=True)
    _, running, scale = _path(rows)
    spread = float(running.max(initial=0.0) - running.min(initial=0.0))
    statistic = _scaled(spread, scale)
    return _result(statistic, _log_tail_range(statistic), len(rows), "Kuiper")


def _scaled(size: float, scale: float) -> float:
    """Size in units of the scale; a certain confidence that came false is infinitely far off."""
    if scale > 0:
        return size / scale
    return math.inf if size > 0 else math.nan


def _result(statistic: float, log_p: float, n: int, name: str) -> TestResult:
    return TestResult(
        statistic,
        math.exp(log_p),
        log_p,
        "two-sided",
        n,
        f"{name}, cumulative differences",
        _ASSUMPTIONS,
    )


def _log_tail_maximum(x: float) -> float:
    """Log P(max |B| > x): 4 sum_k (-1)^k P(N > (2k + 1) x).

    For small x one minus (4 / pi) sum_k (-1)^k / (2k + 1) exp(-(2k + 1)^2 pi^2 / (8 x^2)).
    """
    if math.isnan(x) or math.isinf(x):
        return -x
    k = np.arange(20, dtype=np.float64)
    sign: FloatArray = np.where(k % 2 == 1, -1.0, 1.0)
    odd = 2 * k + 1
    if x < 1:
        if x < 0.05:
            return 0.0
        below = 4 / math.pi * float((sign / odd * np.exp(-((odd * math.pi / x) ** 2) / 8)).sum())
        return math.log1p(-below)
    return math.log(4) + _log_series(sign, odd * x)


def _log_tail_range(x: float) -> float:
    """Log P(max B - min B > x): 8 sum_k (-1)^(k - 1) k P(N > k x).

    For small x one minus 8 sum over odd k of (1 / (k pi)^2 + 1 / x^2) exp(-(k pi / x)^2 / 2).
    """
    if math.isnan(x) or math.isinf(x):
        return -x
    if x < 2:
        if x < 0.1:
            return 0.0
        odd = 2 * np.arange(20) + 1
        terms = (odd * math.pi) ** -2.0 + x**-2.0
        below = 8 * float((terms * np.exp(-((odd * math.pi / x) ** 2) / 2)).sum())
        return math.log1p(-min(below, 1 - 1e-16))
    k = np.arange(1, 20, dtype=np.float64)
    return math.log(8) + _log_series(np.where(k % 2 == 1, k, -k), k * x)


def _log_series(factor: FloatArray, z: FloatArray) -> float:
    """Log of sum factor P(N > z), the first term being the largest by far."""
    from scipy import special

    log_tail = special.log_ndtr(-z)
    return float(log_tail[0] + np.log((factor * np.exp(log_tail - log_tail[0])).sum()))
