"""Calibration of the k largest class probabilities together."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _bin_sums
from statllm.estimators.calibration._outcomes import (
    FloatArray,
    IntArray,
    bin_index,
    check_bins,
    checked,
    checked_matrix,
    design_of,
)
from statllm.estimators.calibration._sun import SunInterval
from statllm.estimators.calibration.binned import (
    SquaredInterval,
    check_interval,
    debiased,
    inverted_interval,
    sun_interval,
)
from statllm.results import Estimate


def top_k_calibration_error(
    probabilities: ArrayLike,
    label: ArrayLike,
    k: int = 1,
    n_bins: int = 15,
    interval: SquaredInterval = "inverted",
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> Estimate:
    """Squared L2 error of top-1-to-k calibration, without the plug-in's bias.

    E |E[Y - P | bin]|^2, P the k largest probabilities of a row in falling order, Y whether each
    of them was the label's, bins the cells of a grid over all k (Sun, Chaudhari, Barnett and
    Dobriban 2024, arXiv 2408.08998). One probability (k = 1) asks whether confidences are right;
    all of them, whether the whole forecast is. The estimate is that of
    `debiased_squared_calibration_error`, summed over the k coordinates, and so are its intervals.

    Parameters
    ----------
    probabilities : array_like of float, shape (n, n_classes)
    label : array_like of int, shape (n,)
        Class numbers from 0.
    k : int
        At most the number of classes. The grid has n_bins^k cells, so k should be small.
    n_bins : int
        Of equal width, for each of the k.
    interval, weights, clusters, missing
        As for `debiased_squared_calibration_error`.

    Returns
    -------
    Estimate
        Where probabilities are equal, Y is the expected outcome of ordering them at random.

    Raises
    ------
    ValueError
        As `top_label` and `debiased_squared_calibration_error`, or if there is no such k.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.dirichlet([1, 1, 1], 2000)
    >>> label = (rng.random((2000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    >>> 0.0 in top_k_calibration_error(p, label, k=2).interval()
    True
    """
    check_interval(interval, weights, clusters)
    check_bins(n_bins)
    p, code, kept = checked_matrix(probabilities, label, missing)
    if not 1 <= k <= p.shape[1]:
        raise ValueError(f"k must lie between 1 and the {p.shape[1]} classes, not be {k}")
    top, right = _largest(np.minimum(p, 1), code, k)
    n = len(top)
    method = f"unbiased squared L2, top 1 to {k}, {n_bins} equal-width bins"
    name, unit = "squared calibration error", "squared probability"
    if not n:
        return Estimate(math.nan, math.nan, 0, method, name, unit)
    grid = np.column_stack([bin_index(column, "equal-width", n_bins)[0] for column in top.T])
    cell = np.unique(grid, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    # Coordinate j of grid cell b is a bin of its own; a row, or cluster, is in k of them.
    w, labels = design_of(weights, clusters, kept)
    unit_of = np.arange(n) if labels is None else labels
    each = None if w is None else np.repeat(w, k)
    rows = checked(top.ravel(), right.ravel(), each, np.repeat(unit_of, k))
    sums = _bin_sums.of(rows, (cell[:, None] * k + np.arange(k)).ravel(), (cell.max() + 1) * k)
    # Shares of n k rows are a k-th of those of n.
    mean, law = debiased(sums, "unbiased"), _bin_sums.QuadraticLaw.of(sums)
    if interval == "sun":
        interval_of = sun_interval(SunInterval.of(k * mean, top, right - top, cell))
    else:
        interval_of = inverted_interval(law, mean, k)
    return Estimate(k * mean, k * law.se(mean), rows.n_units, method, name, unit, interval_of)


def _largest(p: FloatArray, code: IntArray, k: int) -> tuple[FloatArray, FloatArray]:
    """The k largest probabilities of each row, falling, and whether each is the label's.

    Equal ones share the outcome, each by one over their number.
    """
    own = p[np.arange(len(p)), code][:, None]
    top = -np.sort(-p, axis=1)[:, :k]
    tied = (p == own).sum(axis=1)[:, None]
    return top, (top == own) / tied
