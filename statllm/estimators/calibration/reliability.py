"""Reliability diagrams as numbers: how often each confidence came true, with bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _bin_sums, _null_draws
from statllm.estimators.calibration._bin_sums import BinSums
from statllm.estimators.calibration._outcomes import (
    Bins,
    FloatArray,
    IntArray,
    bin_index,
    check_level,
    check_resamples,
    checked,
    distinct_cells,
)
from statllm.estimators.calibration.corp import isotonic
from statllm.estimators.proportions import clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

_CELLS = 4096


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What `reliability_curve` returns; arrays have one entry for each bin that has rows.

    Attributes
    ----------
    confidence, frequency : ndarray of float64
        Mean confidence, and share of right answers.
    low, high : ndarray of float64
        Limits of each frequency on its own, at `level`.
    low_all, high_all : ndarray of float64
        Limits that hold for all bins together with probability `level`: a diagonal that leaves
        this band anywhere is evidence against calibration, wherever one looks.
    count : ndarray of int64
        Rows.
    effective : ndarray of float64
        Independent rows that the limits count; fewer than `count` with weights or clusters.
    level : float
    """

    confidence: FloatArray
    frequency: FloatArray
    low: FloatArray
    high: FloatArray
    low_all: FloatArray
    high_all: FloatArray
    count: IntArray
    effective: FloatArray
    level: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per bin."""
        import pandas as pd

        return pd.DataFrame({k: v for k, v in vars(self).items() if k != "level"})


def reliability_curve(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_bins: int = 15,
    bins: Bins = "equal-width",
    level: float = 0.95,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> ReliabilityCurve:
    """Share of right answers against mean confidence, with exact limits.

    Limits are those of Clopper and Pearson. All together: each at level^(1/B) for B bins of
    independent rows (Šidák 1967), at 1 - (1 - level) / B with clusters, whose bins depend on
    each other. Weights and clusters enter by the effective number of rows
    n* = f (1 - f) / var(f), var from the clusters' sums (Korn and Graubard 1998), at most
    (sum w)^2 / sum w^2; where all outcomes agree, by that same ratio of the clusters' weights.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, or of float in [0, 1], shape (n,)
    n_bins, bins, weights, clusters, missing
        As for `calibration_error`.
    level : float

    Returns
    -------
    ReliabilityCurve

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> curve = reliability_curve([0.2, 0.3, 0.7, 0.9], [0, 0, 1, 0], n_bins=2)
    >>> curve.confidence, curve.frequency
    (array([0.25, 0.8 ]), array([0. , 0.5]))
    >>> curve.high.round(3), curve.high_all.round(3)
    (array([0.842, 0.987]), array([0.887, 0.994]))
    """
    check_level(level)
    rows = checked(confidence, correct, weights, clusters, missing)
    cell, n_cells = bin_index(rows.confidence, bins, n_bins, rows.weights)
    sums = _bin_sums.of(rows, cell, n_cells)
    n, share = _effective(sums), sums.accuracy
    filled = max(len(sums.count), 1)
    together = level ** (1 / filled) if clusters is None else 1 - (1 - level) / filled
    low, high = clopper_pearson(share * n, n, level)
    low_all, high_all = clopper_pearson(share * n, n, together)
    return ReliabilityCurve(
        sums.confidence, share, low, high, low_all, high_all, sums.count, n, level
    )


@dataclass(frozen=True, eq=False)
class IsotonicCurve:
    """What `isotonic_reliability` returns; arrays have one entry for each distinct confidence.

    Attributes
    ----------
    confidence, frequency : ndarray of float64
        Distinct confidences, rising, and their recalibrated values, never falling.
    low, high : ndarray of float64
        Where the curve would lie, point by point, if the confidences were calibrated.
    count : ndarray of int64
        Rows.
    level : float
    """

    confidence: FloatArray
    frequency: FloatArray
    low: FloatArray
    high: FloatArray
    count: IntArray
    level: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per distinct confidence."""
        import pandas as pd

        return pd.DataFrame({k: v for k, v in vars(self).items() if k != "level"})


def isotonic_reliability(
    confidence: ArrayLike,
    correct: ArrayLike,
    level: float = 0.9,
    n_resamples: int = 200,
    rng: np.random.Generator | int = 0,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> IsotonicCurve:
    """CORP reliability diagram: isotonic regression of the outcome on the confidence.

    No bins to choose (Dimitriadis, Gneiting and Jordan 2021). The consistency band holds the
    middle `level` of curves fitted to outcomes drawn from the confidences; a curve that leaves
    it does so point by point, not everywhere at once. With over 4,096 distinct confidences,
    those within 1/4,096 are pooled.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, or of float in [0, 1], shape (n,)
    level : float
    n_resamples : int
    rng : numpy.random.Generator or int
    weights, clusters
        As for `reliability_curve`. With clusters, outcomes can't be drawn from the confidences:
        the band is that of curves fitted to confidence ± residual, one random sign for each
        cluster, and valid for many clusters.
    missing : {"raise", "drop"}

    Returns
    -------
    IsotonicCurve

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> curve = isotonic_reliability([0.9, 0.8, 0.6, 0.4, 0.2], [1, 1, 0, 1, 0])
    >>> curve.confidence, curve.frequency
    (array([0.2, 0.4, 0.6, 0.8, 0.9]), array([0. , 0.5, 0.5, 1. , 1. ]))
    """
    check_level(level)
    check_resamples(n_resamples)
    rows = checked(confidence, correct, weights, clusters, missing)
    if not len(rows):
        none = np.empty(0)
        return IsotonicCurve(none, none, none, none, np.empty(0, dtype=np.int64), level)
    values, cell = distinct_cells(rows.confidence, _CELLS)
    count = np.bincount(cell, minlength=len(values))
    fitted = isotonic(values, cell, rows.outcome, rows.weight)
    draws = _null_draws.draw(rows, values, cell, n_resamples, np.random.default_rng(rng))
    mass, place = draws.weight, np.arange(len(values))
    shift = np.divide(
        draws.residual[1:], mass, out=np.zeros_like(draws.residual[1:]), where=mass > 0
    )
    curves = np.array([isotonic(values, place, values + each, mass) for each in shift])
    low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return IsotonicCurve(values, fitted, low, high, count, level)


def _effective(sums: BinSums) -> FloatArray:
    """Independent rows that each bin's frequency is worth."""
    rows = sums.rows
    if rows.weights is None and rows.clusters is None:
        return sums.count.astype(np.float64)
    squares = rows.weight**2
    most = sums.weight**2 / np.bincount(sums.number, squares, len(sums.count))
    spread, variance = sums.accuracy * (1 - sums.accuracy), sums.sampling_variance()
    known = (variance > 0) & (spread > 0)
    out = sums.weight**2 / sums.own_weight
    out[known] = np.minimum(spread[known] / variance[known], most[known])
    return np.asarray(out)
