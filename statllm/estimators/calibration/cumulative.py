"""Kolmogorov-Smirnov and Kuiper tests of calibration: no bins, nothing to tune."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _null_draws
from statllm.estimators.calibration._null_draws import Law
from statllm.estimators.calibration._outcomes import (
    FloatArray,
    Outcomes,
    check_resamples,
    checked,
    distinct_cells,
)
from statllm.estimators.calibration._tails import result
from statllm.results import TestResult

_CELLS = 4096
_MANY = 1000  # equal steps of the path from which on a Brownian motion is near enough


def cumulative_differences(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> tuple[FloatArray, FloatArray, float]:
    """Running sum of correct - confidence, from the least confident row on.

    C_k = sum_{i <= k} w_i (y_i - p_i) / sum w, read where the confidence changes, so that the
    order of equal confidences doesn't matter. Under calibration C / scale runs like a Brownian
    motion on [0, 1], scale = sqrt(sum w^2 p (1 - p)) / sum w (Arrieta-Ibarra et al. 2022).
    With clusters the path is the same, but no Brownian motion: its steps depend on each other.
    The scale is then sqrt(sum_c (sum_{i in c} w (y - p))^2) / sum w, the error of its end.

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
    return _path(checked(confidence, correct, weights, clusters, missing, binary=True))


def _path(rows: Outcomes) -> tuple[FloatArray, FloatArray, float]:
    if not len(rows):
        return np.empty(0), np.empty(0), math.nan
    p, w = rows.confidence, rows.weight
    order = np.argsort(p)
    ranked = p[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    running = np.cumsum((w * rows.residual)[order])[last] / w.sum()
    if rows.clusters is None:
        variance = float((w**2 * p * (1 - p)).sum())
    else:
        variance = float((np.bincount(rows.clusters, w * rows.residual) ** 2).sum())
    scale = math.sqrt(variance) / float(w.sum())
    return ranked[last], running, scale


def kolmogorov_smirnov_calibration(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    law: Law = "auto",
    n_resamples: int = 999,
    rng: np.random.Generator | int = 0,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration by the largest absolute cumulative difference.

    max_k |C_k| / scale against the law of max |B(t)|, t in [0, 1], of a Brownian motion. Best
    where the error has one sign: confidences too high, or too low, throughout.

    The motion is looked at everywhere, the path only where the confidence changes. With few
    answers, or however many if they are tied, p is therefore too large: at 5 % it rejected 3.3 %
    of calibrated samples of 20 confidences (Beta(2, 1)), and 2.8, 3.2 and 3.4 % of samples of
    20, 200 and 1,000 of six tied values. There the default draws outcomes from the confidences
    anew and ranks the observed maximum among theirs, an exact test given the confidences: 4.3 %,
    and 3.8, 5.5 and 5.5 %.

    With clusters the law is that of the same maximum when each cluster's residuals get a random
    sign, all at once (wild bootstrap): the draws have mean 0 and the observed covariance. At 5 %
    it rejected 4 to 5 % of calibrated samples of 20, 40 and 200 clusters of five answers that
    nearly agree (without clusters 21 to 31 %).

    Parameters
    ----------
    confidence, correct, weights, clusters, missing
        As for `cumulative_differences`.
    law : {"auto", "asymptotic", "resampled"}
        ``"asymptotic"``: the Brownian one that was published; not with clusters.
        ``"resampled"``: that of outcomes drawn under calibration; with clusters, of random
        signs. ``"auto"``: resampled with clusters, and where the path's steps are worth fewer
        than 1,000 equal ones, (sum v)^2 / sum v^2 for variances v of the steps.
    n_resamples : int
        Draws; the smallest p-value is 1 / (n_resamples + 1), and ``law="asymptotic"`` is for
        those who need a smaller one.
    rng : numpy.random.Generator or int
        Of the draws.

    Returns
    -------
    TestResult

    Raises
    ------
    ValueError
        As `cumulative_differences`, or if clusters come with ``law="asymptotic"``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(500)
    >>> calibrated = rng.random(500) < p
    >>> overconfident = rng.random(500) < 0.8 * p
    >>> round(kolmogorov_smirnov_calibration(p, calibrated).p_value, 2)
    0.72
    >>> kolmogorov_smirnov_calibration(p, overconfident, law="asymptotic").p_value < 1e-6
    True
    """
    rows = checked(confidence, correct, weights, clusters, missing, binary=True)
    return _test(rows, "Kolmogorov-Smirnov", _largest, _log_tail_maximum, law, n_resamples, rng)


def kuiper_calibration(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    law: Law = "auto",
    n_resamples: int = 999,
    rng: np.random.Generator | int = 0,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration by the range of the cumulative differences.

    (max_k C_k - min_k C_k) / scale, both with C_0 = 0, against the law of the range of a
    Brownian motion (Feller 1951). Sees overconfidence in one place and underconfidence in
    another equally well. Parameters, laws, clusters and exceptions as for
    `kolmogorov_smirnov_calibration`, in whose samples the Brownian law rejected 2.3 %, and 1.9,
    1.7 and 1.8 %; the default rejects 4.0 %, and 4.8, 5.2 and 4.7 %.

    Returns
    -------
    TestResult

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(500)
    >>> timid = rng.random(500) < (p > 0.5)
    >>> kuiper_calibration(p, timid).p_value  # the first of 1,000 ranks
    0.001
    """
    rows = checked(confidence, correct, weights, clusters, missing, binary=True)
    return _test(rows, "Kuiper", _range, _log_tail_range, law, n_resamples, rng)


def _test(
    rows: Outcomes,
    name: str,
    size: Callable[[FloatArray], FloatArray],
    log_tail: Callable[[float], float],
    law: Law,
    n_resamples: int,
    rng: np.random.Generator | int,
) -> TestResult:
    _null_draws.check_law(law)
    check_resamples(n_resamples)
    if law == "asymptotic" and rows.clusters is not None:
        raise ValueError("with clusters the path has no asymptotic law, only a resampled one")
    _, running, scale = _path(rows)
    statistic = _scaled(float(size(running)), scale)
    method = f"{name}, cumulative differences"
    if law == "auto":
        many = rows.clusters is None and _equal_steps(rows) >= _MANY
        law = "asymptotic" if many else "resampled"
    # NaN has no law, and infinity probability 0 under either.
    impossible = statistic == math.inf and rows.clusters is None
    if law == "asymptotic" or math.isnan(statistic) or impossible:
        return result(statistic, log_tail(statistic), rows, method, "; many rows")
    values, cell = distinct_cells(rows.confidence, _CELLS)
    draws = _null_draws.draw(rows, values, cell, n_resamples, np.random.default_rng(rng))
    p = float(_null_draws.upper_share(size(np.cumsum(draws.residual, axis=1)))[0])
    method += ", resampled outcomes" if rows.clusters is None else ", clustered"
    return result(statistic, math.log(p), rows, method, p=p)


def _equal_steps(rows: Outcomes) -> float:
    """How many steps of equal variance the path's are worth: (sum v)^2 / sum v^2."""
    cell = np.unique(rows.confidence, return_inverse=True)[1]
    variance = np.bincount(cell, rows.weight**2 * rows.confidence * (1 - rows.confidence))
    squares = float((variance**2).sum())
    return float(variance.sum()) ** 2 / squares if squares else 0.0


def _largest(path: FloatArray) -> FloatArray:
    """Largest distance from 0 along each path."""
    return np.asarray(np.abs(path).max(axis=-1, initial=0.0))


def _range(path: FloatArray) -> FloatArray:
    """Highest minus lowest point of each path, which starts at 0."""
    return np.asarray(path.max(axis=-1, initial=0.0) - path.min(axis=-1, initial=0.0))


def _scaled(size: float, scale: float) -> float:
    """Size in units of the scale; a certain confidence that came false is infinitely far off."""
    if scale > 0:
        return size / scale
    return math.inf if size > 0 else math.nan


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
