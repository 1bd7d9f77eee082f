"""Published forms of the binned error: adaptive ranges, and a sweep over numbers of bins."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _bin_sums
from statllm.estimators.calibration._bin_sums import BinSums
from statllm.estimators.calibration._outcomes import (
    FloatArray,
    Outcomes,
    bin_index,
    checked,
    checked_matrix,
    design_of,
)
from statllm.estimators.calibration.binned import Norm, check_norm, norm_of, plug_in
from statllm.results import Estimate, Interval

_MOST = 4096  # bins of a sweep


def adaptive_calibration_error(
    probabilities: ArrayLike,
    label: ArrayLike,
    n_ranges: int = 15,
    threshold: float = 0.0,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> Estimate:
    """Adaptive calibration error, ACE (Nixon et al. 2019): ranges of equal mass for each class.

    (1 / (K R)) sum_k sum_r |mean outcome - mean probability|, all ranges counting alike, where
    `classwise_calibration_error` with equal-mass bins weighs each by its rows; the two differ
    where ties make the ranges unequal. With a threshold it's TACE: only probabilities above it
    count, so that thousands of classes near 0 don't hide the others.

    Parameters
    ----------
    probabilities : array_like of float, shape (n, n_classes)
    label : array_like of int, shape (n,)
    n_ranges : int
        R; fewer where ties keep probabilities together.
    threshold : float in [0, 1)
    weights, clusters, missing
        As for `calibration_error`; a row is a cluster at least.

    Returns
    -------
    Estimate
        The interval is that of `calibration_error`.

    Raises
    ------
    ValueError
        As `classwise_calibration_error`, or if `threshold` is out of range.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
    >>> round(adaptive_calibration_error(p, [0, 1, 1], n_ranges=3).value, 4)
    0.3667
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must lie in [0, 1), not be {threshold}")
    p, code, kept = checked_matrix(probabilities, label, missing)
    n, n_classes = p.shape
    w, labels = design_of(weights, clusters, kept)
    inside = p > threshold if threshold else np.ones(p.shape, dtype=bool)
    cells = np.zeros((n, n_classes), dtype=np.int64)
    for k in range(n_classes):
        used = inside[:, k]
        each = None if w is None else w[used]
        cells[used, k] = bin_index(p[used, k], "equal-mass", n_ranges, each)[0] + k * n_ranges
    right, unit = code[:, None] == np.arange(n_classes), np.arange(n) if labels is None else labels
    rows = checked(
        np.minimum(p, 1)[inside],
        right[inside],
        None if w is None else np.broadcast_to(w[:, None], p.shape)[inside],
        np.broadcast_to(unit[:, None], p.shape)[inside],
    )
    sums = _bin_sums.of(rows, cells[inside], n_ranges * n_classes)
    name = "TACE" if threshold else "ACE"
    above = f", probabilities above {threshold}" if threshold else ""
    share = np.full(len(sums.count), 1 / max(len(sums.count), 1))
    return plug_in(sums, 1, f"{name}, {n_ranges} ranges{above}", rows.n_units, share, name)


def sweep_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    bins: Literal["equal-mass", "equal-width"] = "equal-mass",
    norm: Norm = 2,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> Estimate:
    """Binned error in as many bins as leave the accuracies rising (ECE sweep, Roelofs et al. 2022).

    Bins are added one by one, from two on, until one of them has a lower accuracy than the one
    before it; the error is that of the last number without such a fall. It's less biased than
    fixed bins, and still positive under calibration.

    Parameters
    ----------
    confidence, correct, norm, weights, clusters, missing
        As for `calibration_error`; the published norm is 2.
    bins : {"equal-mass", "equal-width"}
        Bin b of M has the ranks from (b - 1) n / M on, or the confidences from (b - 1) / M on, as
        published; equal confidences share the lowest of their ranks. Up to 4,096 bins.

    Returns
    -------
    Estimate
        Without error or interval: the outcomes choose the bins. n counts clusters.

    Raises
    ------
    ValueError
        As `calibration_error`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(1000)
    >>> found = sweep_calibration_error(p, rng.random(1000) < p)
    >>> found.method, round(found.value, 3)
    ('ECE sweep, 8 equal-mass bins', 0.025)
    """
    check_norm(norm)
    if bins not in ("equal-mass", "equal-width"):
        raise ValueError(f"bins must be equal-mass or equal-width, not {bins!r}")
    rows = checked(confidence, correct, weights, clusters, missing)
    name = "ECE sweep"

    def interval_of(level: float) -> Interval:
        return Interval(math.nan, math.nan, level, "none known")

    if not len(rows):
        return Estimate(math.nan, math.nan, 0, name, name, "probability", interval_of)
    place = _ranks(rows) if bins == "equal-mass" else rows.confidence
    best = _swept(rows, place, 1)
    for m in range(2, min(len(rows), _MOST + 1)):
        sums = _swept(rows, place, m)
        if np.any(np.diff(sums.accuracy) < -1e-12):
            break
        best = sums
    value = float(norm_of(best.gap, best.share, norm))
    method = f"{name}, {len(best.count)} {bins} bins"
    return Estimate(value, math.nan, rows.n_units, method, name, "probability", interval_of)


def _ranks(rows: Outcomes) -> FloatArray:
    """Share of the weight below each confidence."""
    values, group = np.unique(rows.confidence, return_inverse=True)
    mass = np.bincount(group, rows.weights, len(values))
    return np.asarray((np.cumsum(mass) - mass)[group] / mass.sum())


def _swept(rows: Outcomes, place: FloatArray, m: int) -> BinSums:
    """Sums of m bins [(b - 1) / m, b / m); a hair more keeps b / m in bin b + 1."""
    cell = np.minimum((place * m * (1 + 1e-12)).astype(np.int64), m - 1)
    return _bin_sums.of(rows, cell, m)
