"""Squared kernel calibration error (SKCE): a distance between outcomes and confidences."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _null_draws
from statllm.estimators.calibration._outcomes import (
    FloatArray,
    Outcomes,
    check_resamples,
    checked,
    checked_matrix,
    design_of,
    distinct_cells,
)
from statllm.results import TestResult

Kernel = Literal["gaussian", "laplacian"]
_CELLS = 2048
_BLOCK = 2**22  # entries of the kernel matrix held at once


def kernel_calibration_error(
    probabilities: ArrayLike,
    label: ArrayLike,
    estimator: Literal["unbiased", "biased"] = "unbiased",
    kernel: Kernel = "gaussian",
    bandwidth: float = 1.0,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> float:
    """Squared kernel calibration error of Widmann, Lindsten and Zachariah (2019).

    With e the outcome as a unit vector, SKCE = E k(p, p') <e - p, e' - p'> over two independent
    rows; 0 exactly under calibration, for a characteristic kernel. ``"unbiased"``: the mean over
    the pairs i != j, which may be negative. ``"biased"``: over all pairs, never negative, with
    mean (1/n) E |e - p|^2 k(p, p) under calibration. With weights, means are weighted by w_i w_j.
    With clusters, pairs within one are left out by ``"unbiased"``, whose mean under calibration
    is then 0 however the answers of a cluster hang together.

    Parameters
    ----------
    probabilities : array_like of float, shape (n,) or (n, n_classes)
        A vector means two classes, (1 - p, p): the distance in the kernel is then |p - p'|, and
        the inner product 2 (y - p)(y' - p').
    label : array_like, shape (n,)
        Outcomes 0 or 1, or class numbers.
    estimator : {"unbiased", "biased"}
    kernel : {"gaussian", "laplacian"}
        exp(-d^2 / (2 h^2)) or exp(-d / h), h the bandwidth.
    bandwidth : float
        In units of probability; 1 is that of the published tests.
    weights : array_like of float, shape (n,), optional
        Sampling weights.
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster may depend on each other.
    missing : {"raise", "drop"}

    Returns
    -------
    float
        NaN without rows (pairs). Its size depends on the kernel: for the question whether it's
        0, see `kernel_calibration_test`.

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> p = [[1.0, 0.0], [0.0, 1.0]]
    >>> round(kernel_calibration_error(p, [1, 0]), 6), -2 / math.e
    (-0.735759, -0.7357588823428847)
    """
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"estimator must be unbiased or biased, not {estimator!r}")
    _check_kernel(kernel, bandwidth)
    rows, place, residual = _residuals(probabilities, label, weights, clusters, missing)
    w = rows.weight
    residual *= w[:, None]
    if estimator == "biased":
        return (
            _all_pairs(place, residual, kernel, bandwidth) / float(w.sum()) ** 2
            if len(w)
            else math.nan
        )
    pairs = _pair_weight(rows)
    if pairs <= 0:
        return math.nan
    total = _all_pairs(place, residual, kernel, bandwidth)
    return (total - _own_pairs(rows, place, residual, kernel, bandwidth)) / pairs


def kernel_calibration_test(
    probabilities: ArrayLike,
    label: ArrayLike,
    kernel: Kernel = "gaussian",
    bandwidth: float = 1.0,
    n_resamples: int = 999,
    rng: np.random.Generator | int = 0,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration by the unbiased SKCE.

    Outcomes are drawn anew from the given probabilities `n_resamples` times; p = (1 + number of
    draws with an SKCE at least the observed one) / (n_resamples + 1), which has at most the
    nominal size in any sample (Monte Carlo test; "consistency resampling"). For a vector of over
    2,048 distinct confidences, those within 1/2,048 are pooled and their outcomes drawn from a
    binomial: the kernel doesn't tell them apart.

    With clusters nothing can be drawn anew. Each cluster's residuals get a random sign instead
    (wild bootstrap of a degenerate U-statistic), valid for many clusters: at 5 % it rejected 4 to
    6 % of calibrated samples of 20, 40 and 200 clusters of five answers that nearly agree
    (without clusters 18 to 25 %).

    Parameters
    ----------
    probabilities, label, kernel, bandwidth, weights, clusters, missing
        As for `kernel_calibration_error`.
    n_resamples : int
        The smallest p-value is 1 / (n_resamples + 1).
    rng : numpy.random.Generator or int

    Returns
    -------
    TestResult
        The statistic is n times the unbiased SKCE, n counting clusters.

    Raises
    ------
    ValueError
        As `kernel_calibration_error`, or with over 5,000 rows of class probabilities.

    Examples
    --------
    >>> p = np.linspace(0.05, 0.95, 200)
    >>> draws = np.random.default_rng(0).random(200)
    >>> kernel_calibration_test(p, draws < p).p_value > 0.05
    True
    >>> kernel_calibration_test(p, draws < p**2).p_value
    0.001
    """
    _check_kernel(kernel, bandwidth)
    check_resamples(n_resamples)
    generator = np.random.default_rng(rng)
    rows, place, residual = _residuals(probabilities, label, weights, clusters, missing)
    pairs = _pair_weight(rows)
    if pairs <= 0:
        return _result(math.nan, math.nan, rows)
    if np.ndim(probabilities) == 1:
        sums = _binary_draws(rows, kernel, bandwidth, n_resamples, generator)
    else:
        if len(rows) > 5000:
            raise ValueError(
                f"the test of class probabilities takes up to 5,000 rows, not {len(rows)}; "
                "test the top label, or a random part"
            )
        sums = _class_draws(rows, place, residual, kernel, bandwidth, n_resamples, generator)
    p = float(_null_draws.upper_share(sums)[0])
    return _result(float(sums[0]) / pairs * rows.n_units, p, rows)


def _binary_draws(
    rows: Outcomes, kernel: Kernel, bandwidth: float, n_resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Sum over the pairs of different rows (clusters), observed and under calibration."""
    values, cell = distinct_cells(rows.confidence, _CELLS)
    draws = _null_draws.draw(rows, values, cell, n_resamples, rng)
    matrix = _kernel_matrix(values[:, None], values[:, None], kernel, bandwidth)
    every = 2 * (draws.residual @ matrix * draws.residual).sum(axis=1)
    if draws.own is not None:
        return np.asarray(every - 2 * draws.own.sum(axis=1))
    residual = math.sqrt(2) * (rows.weight * rows.residual)[:, None]
    return np.asarray(every - _own_pairs(rows, values[cell][:, None], residual, kernel, bandwidth))


def _class_draws(
    rows: Outcomes,
    p: FloatArray,
    residual: FloatArray,
    kernel: Kernel,
    bandwidth: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Sum over the pairs of different rows (clusters), observed and under calibration."""
    w = rows.weight
    matrix = _kernel_matrix(p, p, kernel, bandwidth) * np.outer(w, w)
    if rows.clusters is not None:
        product = matrix * (residual @ residual.T)
        product[rows.clusters[:, None] == rows.clusters] = 0
        signs = _null_draws.random_signs(rows.n_units, n_resamples + 1, rng)
        signs[:, 0] = 1.0
        signs = signs[rows.clusters]
        return np.asarray((signs * (product @ signs)).sum(axis=0))
    np.fill_diagonal(matrix, 0)
    cumulative = np.cumsum(p, axis=1)
    cumulative /= cumulative[:, -1:]
    out = np.empty(n_resamples + 1)
    out[0] = (residual * (matrix @ residual)).sum()
    for start in range(1, n_resamples + 1, 50):
        u = rng.random((min(50, n_resamples + 1 - start), len(p), 1))
        code = (u >= cumulative[:, :-1]).sum(axis=2)
        d = (code[..., None] == np.arange(p.shape[1])) - p
        out[start : start + len(d)] = np.einsum(
            "bnk,bnk->b", d, np.tensordot(matrix, d, axes=(1, 1)).transpose(1, 0, 2)
        )
    return out


def _all_pairs(place: FloatArray, residual: FloatArray, kernel: Kernel, bandwidth: float) -> float:
    """Sum over all pairs of k(p, p') <r, r'>, each row with itself included."""
    # Rows at one place share their kernel row: add their residuals first.
    values, group = np.unique(place, axis=0, return_inverse=True)
    sums = np.zeros((len(values), residual.shape[1]))
    np.add.at(sums, group.ravel(), residual)
    total, step = 0.0, max(_BLOCK // len(values), 1)
    for start in range(0, len(values), step):
        block = _kernel_matrix(values[start : start + step], values, kernel, bandwidth)
        total += float((sums[start : start + step] * (block @ sums)).sum())
    return total


def _own_pairs(
    rows: Outcomes, place: FloatArray, residual: FloatArray, kernel: Kernel, bandwidth: float
) -> float:
    """The part of that sum which each row (cluster) has with itself."""
    if rows.clusters is None:
        return float((residual**2).sum())  # k(p, p) = 1
    order = np.argsort(rows.clusters, kind="stable")
    place, residual = place[order], residual[order]
    size = np.bincount(rows.clusters)
    own, first = np.repeat(size, size), np.repeat(np.cumsum(size) - size, size)
    total, ends = 0.0, np.cumsum(own)
    start = 0
    while start < len(order):  # blocks of rows, each with all rows of its cluster
        stop = max(
            int(np.searchsorted(ends, ends[start] - own[start] + _BLOCK, "right")), start + 1
        )
        i = np.repeat(np.arange(start, stop), own[start:stop])
        within = np.arange(len(i)) - np.repeat(ends[start:stop] - own[start:stop], own[start:stop])
        j = np.repeat(first[start:stop], own[start:stop]) + within + ends[start] - own[start]
        squared = ((place[i] - place[j]) ** 2).sum(axis=1)
        products = (residual[i] * residual[j]).sum(axis=1)
        total += float(_of_distance(squared, kernel, bandwidth) @ products)
        start = stop
    return total


def _pair_weight(rows: Outcomes) -> float:
    """Sum of w_i w_j over pairs of different rows (clusters)."""
    w = rows.weight
    each = w if rows.clusters is None else np.bincount(rows.clusters, w)
    pairs = float(w.sum()) ** 2 - float((each**2).sum())
    return pairs if pairs > 1e-12 * float(w.sum()) ** 2 else 0.0


def _residuals(
    probabilities: ArrayLike,
    label: ArrayLike,
    weights: ArrayLike | None,
    clusters: ArrayLike | None,
    missing: str,
) -> tuple[Outcomes, FloatArray, FloatArray]:
    """Rows, their places in the kernel's space, and residuals to be multiplied."""
    if np.ndim(probabilities) == 1:
        rows = checked(probabilities, label, weights, clusters, missing, binary=True)
        # Two classes: (y - p, p - y) has sqrt(2) times the length.
        return rows, rows.confidence[:, None], math.sqrt(2) * rows.residual[:, None]
    p, code, kept = checked_matrix(probabilities, label, missing)
    own = np.minimum(p[np.arange(len(p)), code], 1)
    rows = checked(own, np.ones(len(p)), *design_of(weights, clusters, kept))
    return rows, p, (code[:, None] == np.arange(p.shape[1])) - p


def _kernel_matrix(a: FloatArray, b: FloatArray, kernel: Kernel, bandwidth: float) -> FloatArray:
    from scipy.spatial import distance

    return _of_distance(distance.cdist(a, b, "sqeuclidean"), kernel, bandwidth)


def _of_distance(squared: FloatArray, kernel: Kernel, bandwidth: float) -> FloatArray:
    if kernel == "gaussian":
        return np.asarray(np.exp(squared / (-2 * bandwidth**2)))
    return np.asarray(np.exp(np.sqrt(squared) / -bandwidth))


def _check_kernel(kernel: str, bandwidth: float) -> None:
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be gaussian or laplacian, not {kernel!r}")
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be positive, not {bandwidth}")


def _result(statistic: float, p: float, rows: Outcomes) -> TestResult:
    clustered = rows.clusters is not None
    return TestResult(
        statistic,
        p,
        math.log(p),
        "greater",
        rows.n_units,
        "squared kernel calibration error, "
        + ("random signs of clusters" if clustered else "resampled outcomes"),
        _null_draws.CLUSTERED if clustered else _null_draws.INDEPENDENT,
    )
