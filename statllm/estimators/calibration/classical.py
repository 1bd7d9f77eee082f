"""Tests of the hypothesis that confidences are right on average, wherever one looks."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _bin_sums, _null_draws
from statllm.estimators.calibration._bin_sums import BinSums
from statllm.estimators.calibration._null_draws import Law
from statllm.estimators.calibration._outcomes import (
    Bins,
    FloatArray,
    bin_index,
    check_resamples,
    checked,
    distinct_cells,
)
from statllm.estimators.calibration._tails import log_chi2, log_t, log_two_sided, result
from statllm.results import TestResult

Missing = Literal["raise", "drop"]
_CELLS = 4096
_FEW = 5  # right or wrong answers expected in a group below which chi-squared isn't its law


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
    and below one half. With clusters the variance is sum_c (sum_{i in c} (y - p)(1 - 2p))^2, and
    the law t with one degree of freedom fewer than there are clusters: at 5 % it rejected 7 % of
    calibrated samples of 20 or 40 clusters, 5 % of 200.

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
    if rows.clusters is None:
        return result(z, log_two_sided(z), rows, "Spiegelhalter")
    log_p = log_t(z, rows.n_units - 1)
    return result(z, log_p, rows, f"Spiegelhalter, clustered, t({rows.n_units - 1})")


def hosmer_lemeshow(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_groups: int = 10,
    groups: Bins = "equal-mass",
    fitted: bool = False,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    law: Law = "auto",
    n_resamples: int = 999,
    rng: np.random.Generator | int = 0,
    missing: Missing = "raise",
) -> TestResult:
    """Hosmer and Lemeshow's test: are there as many right answers in each group as expected?

    C = sum_g (O_g - E_g)^2 / (n_g p_g (1 - p_g)), p_g being the mean confidence of group g
    (Hosmer and Lemeshow 1980). Chi-squared with one degree of freedom for each group that has
    rows; two fewer where the confidences come from a model fitted to these same outcomes.

    The value depends on the grouping, so the result names it.

    Chi-squared is right where every group expects some five right and five wrong answers. Where
    one doesn't, a single surprise counts too much: at 5 % it rejected 15.5, 11.1 and 6.6 % of
    calibrated samples of 20, 200 and 1,000 confidences near 1 (Beta(19, 1)). There the default
    draws outcomes from the confidences anew and ranks the observed C among theirs, an exact test
    given the confidences: 5.5, 5.5 and 5.3 %.

    With weights O_g - E_g = sum w (y - p), and n_g becomes sum w^2. With clusters C keeps its
    form but is a weighted sum of chi-squares, the weights being the eigenvalues of the matrix D
    of design effects: the clustered covariance of the residuals O_g - E_g in units of their
    variances above. C is referred to a multiple of chi-squared with the same mean, tr D, and
    variance, 2 tr D^2 (second-order correction of Rao and Scott 1981). tr D^2 is estimated over
    pairs of different clusters, since the plug-in is too large where clusters are few. Wald's
    form, which inverts the clustered covariance of the ten groups, is no choice: at 5 % it
    rejected 57 % of calibrated samples of 40 clusters (five answers that nearly agree) and 17 %
    of 200 clusters; this one rejected 3 to 6 % of 20, 40 and 200.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, shape (n,)
    n_groups : int
    groups : {"equal-mass", "equal-width"} or array_like of float
        As `bins` of `calibration_error`. Equal mass keeps equal confidences together, so ties
        may leave fewer groups.
    fitted : bool
        Whether the confidences were fitted to these outcomes. Not with weights or clusters: how
        the fit changes the law then depends on how it was made.
    weights, clusters
        As for `spiegelhalter`.
    law : {"auto", "asymptotic", "resampled"}
        ``"asymptotic"``: the chi-squared that was published. ``"resampled"``: that of outcomes
        drawn under calibration; with clusters, of residuals with a random sign for each cluster.
        ``"auto"``: resampled where a group expects fewer than five right or wrong answers,
        unless there are clusters (Rao and Scott's law) or the confidences were fitted.
    n_resamples : int
        Draws; the smallest p-value is 1 / (n_resamples + 1), and ``law="asymptotic"`` is for
        those who need a smaller one.
    rng : numpy.random.Generator or int
        Of the draws.
    missing : {"raise", "drop"}

    Returns
    -------
    TestResult
        Infinite where a group expected none (or all) right and saw others.

    Raises
    ------
    ValueError
        As `spiegelhalter`, or if `fitted` leaves no degree of freedom or comes with weights,
        clusters or ``law="resampled"``.

    Examples
    --------
    >>> test = hosmer_lemeshow([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1], n_groups=2)
    >>> round(test.statistic, 4), test.method
    (1.625, 'Hosmer-Lemeshow, 2 equal-mass groups, resampled outcomes')
    """
    rows = checked(confidence, correct, weights, clusters, missing, binary=True)
    if fitted and not (rows.weights is None and rows.clusters is None):
        raise ValueError("fitted has no known law with weights or clusters")
    _null_draws.check_law(law)
    check_resamples(n_resamples)
    if fitted and law == "resampled":
        raise ValueError("law='resampled' would have to refit the confidences to each draw")
    cell, n_cells = bin_index(rows.confidence, groups, n_groups, rows.weights)
    sums = _bin_sums.of(rows, cell, n_cells)
    squared_weight = np.bincount(sums.number, sums.rows.weight**2, len(sums.count))
    variance = squared_weight * sums.confidence * (1 - sums.confidence)
    sure, squares = variance <= 0, sums.residual**2
    statistic = float((squares[~sure] / variance[~sure]).sum())
    if np.any(squares[sure] > 0):
        statistic = math.inf
    df: float = len(sums.count) - 2 * fitted
    if len(rows) and df < 1:
        raise ValueError(f"{len(sums.count)} groups leave no degree of freedom")
    method = f"Hosmer-Lemeshow, {len(sums.count)} "
    method += f"{groups if isinstance(groups, str) else 'given'} groups"
    if rows.clusters is not None:
        method += ", clustered"
    if law == "auto":
        rarer = np.minimum(sums.confidence, 1 - sums.confidence)
        few = (sums.weight**2 / squared_weight * rarer < _FEW).any()
        law = "resampled" if few and rows.clusters is None and not fitted else "asymptotic"
    # Infinity has probability 0 under either law.
    if law == "resampled" and len(rows) and statistic < math.inf:
        drawn = _drawn_residuals(sums, n_resamples, rng)[:, ~sure]
        p = float(_null_draws.upper_share((drawn**2 / variance[~sure]).sum(axis=1))[0])
        method += ", resampled " + ("outcomes" if rows.clusters is None else "signs")
        return result(statistic, math.log(p), rows, method, p=p)
    factor = 1.0
    if rows.clusters is not None and not sure.all():
        factor, df = _design_effect(sums, variance)
    log_p = log_chi2(statistic / factor, df) if len(rows) else math.nan
    return result(
        statistic,
        log_p,
        rows,
        f"{method}, {df:.3g} degrees of freedom",
        "; at least about five expected in each group",
    )


def _drawn_residuals(sums: BinSums, n_resamples: int, rng: np.random.Generator | int) -> FloatArray:
    """Residual sums of the groups, observed (row 0) and under calibration."""
    rows, n_cells = sums.rows, len(sums.rows)
    # Confidences that were merged mustn't join two groups.
    _, near = distinct_cells(rows.confidence, _CELLS)
    key, cell = np.unique(sums.number * n_cells + near, return_inverse=True)
    values = np.bincount(cell, rows.confidence) / np.bincount(cell)
    draws = _null_draws.draw(rows, values, cell, n_resamples, np.random.default_rng(rng))
    starts = np.searchsorted(key // n_cells, np.arange(len(sums.count)))
    return np.asarray(np.add.reduceat(draws.residual, starts, axis=1))


def _design_effect(sums: BinSums, variance: FloatArray) -> tuple[float, float]:
    """Multiple and degrees of freedom of the chi-squared with the statistic's two moments."""
    from scipy import sparse

    rows, place = sums.rows, sums.number
    scale = np.sqrt(variance)
    unit = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    n, most = rows.n_units, int((scale > 0).sum())
    each = sparse.csr_array(
        (rows.weight * rows.residual * unit[place], (rows.clusters, place)), shape=(n, len(scale))
    )
    effects = (each.T @ each).toarray()
    trace = float(np.trace(effects))
    if trace == 0:
        return 1.0, float(most)
    own = float(((each * each).sum(axis=1) ** 2).sum())
    square = (float((effects**2).sum()) - own) * n / max(n - 1, 1)
    # tr D^2 lies between (tr D)^2 / rank and (tr D)^2.
    square = min(max(square, trace**2 / most), trace**2)
    return square / trace, trace**2 / square
