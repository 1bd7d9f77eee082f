"""Squared kernel calibration error (SKCE): a distance between outcomes and confidences."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration._outcomes import (
    FloatArray,
    checked,
    checked_matrix,
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
    missing: Literal["raise", "drop"] = "raise",
) -> float:
    """Squared kernel calibration error of Widmann, Lindsten and Zachariah (2019).

    With e the outcome as a unit vector, SKCE = E k(p, p') <e - p, e' - p'> over two independent
    rows; 0 exactly under calibration, for a characteristic kernel. ``"unbiased"``: the mean over
    the pairs i != j, which may be negative. ``"biased"``: over all pairs, never negative, with
    mean (1/n) E |e - p|^2 k(p, p) under calibration.

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
    place, residual, scale = _residuals(probabilities, label, missing)
    n = len(residual)
    own = scale * float((residual**2).sum())  # k(p, p) = 1
    if n < (2 if estimator == "unbiased" else 1):
        return math.nan
    # Rows at one place share their kernel row: add their residuals first.
    values, group = np.unique(place, axis=0, return_inverse=True)
    sums = np.zeros((len(values), residual.shape[1]))
    np.add.at(sums, group.ravel(), residual)
    total, step = 0.0, max(_BLOCK // len(values), 1)
    for start in range(0, len(values), step):
        block = _kernel_matrix(values[start : start + step], values, kernel, bandwidth)
        total += float((sums[start : start + step] * (block @ sums)).sum())
    total *= scale
    return total / n**2 if estimator == "biased" else (total - own) / (n * (n - 1))


def kernel_calibration_test(
    probabilities: ArrayLike,
    label: ArrayLike,
    kernel: Kernel = "gaussian",
    bandwidth: float = 1.0,
    n_resamples: int = 999,
    rng: np.random.Generator | int = 0,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration by the unbiased SKCE.

    Outcomes are drawn anew from the given probabilities `n_resamples` times; p = (1 + number of
    draws with an SKCE at least the observed one) / (n_resamples + 1), which has at most the
    nominal size in any sample (Monte Carlo test; "consistency resampling"). Rows must be
    independent. For a vector of over 2,048 distinct confidences, those within 1/2,048 are pooled
    and their outcomes drawn from a binomial: the kernel doesn't tell them apart.

    Parameters
    ----------
    probabilities, label, kernel, bandwidth, missing
        As for `kernel_calibration_error`.
    n_resamples : int
        The smallest p-value is 1 / (n_resamples + 1).
    rng : numpy.random.Generator or int

    Returns
    -------
    TestResult
        The statistic is n times the unbiased SKCE.

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
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, not {n_resamples}")
    generator = np.random.default_rng(rng)
    place, residual, _ = _residuals(probabilities, label, missing)
    n = len(residual)
    if n < 2:
        return _result(math.nan, math.nan, n)
    if np.ndim(probabilities) == 1:
        observed, drawn = _binary_draws(
            place[:, 0], residual[:, 0], kernel, bandwidth, n_resamples, generator
        )
    else:
        if n > 5000:
            raise ValueError(
                f"the test of class probabilities takes up to 5,000 rows, not {n}; "
                "test the top label, or a random part"
            )
        observed, drawn = _class_draws(place, residual, kernel, bandwidth, n_resamples, generator)
    # Rounding must not turn a tie into a win.
    slack = 1e-12 * max(abs(observed), 1.0)
    exceeding = int((drawn >= observed - slack).sum())
    return _result(observed / (n - 1), (1 + exceeding) / (n_resamples + 1), n)


def _binary_draws(
    p: FloatArray,
    residual: FloatArray,
    kernel: Kernel,
    bandwidth: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[float, FloatArray]:
    """Sum over the pairs i != j, observed and under calibration."""
    values, cell = distinct_cells(p, _CELLS)
    count = np.bincount(cell, minlength=len(values))
    hits = np.bincount(cell, residual + p, len(values))
    matrix = _kernel_matrix(values[:, None], values[:, None], kernel, bandwidth)
    drawn = rng.binomial(count, values, size=(n_resamples, len(values)))
    outcomes = np.vstack([hits, drawn])
    sums = outcomes - count * values
    # sum_i d_i^2, d = 1 - p for a right answer and -p for a wrong one.
    own = outcomes @ (1 - 2 * values) + float(count @ values**2)
    pairs = 2 * ((sums @ matrix * sums).sum(axis=1) - own)
    return float(pairs[0]), pairs[1:]


def _class_draws(
    p: FloatArray,
    residual: FloatArray,
    kernel: Kernel,
    bandwidth: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[float, FloatArray]:
    """Sum over the pairs i != j, observed and under calibration."""
    matrix = _kernel_matrix(p, p, kernel, bandwidth)
    np.fill_diagonal(matrix, 0)
    cumulative = np.cumsum(p, axis=1)
    cumulative /= cumulative[:, -1:]
    drawn = np.empty(n_resamples)
    for start in range(0, n_resamples, 50):
        u = rng.random((min(50, n_resamples - start), len(p), 1))
        code = (u >= cumulative[:, :-1]).sum(axis=2)
        d = (code[..., None] == np.arange(p.shape[1])) - p
        drawn[start : start + len(d)] = np.einsum(
            "bnk,bnk->b", d, np.tensordot(matrix, d, axes=(1, 1)).transpose(1, 0, 2)
        )
    return float((residual * (matrix @ residual)).sum()), drawn


def _residuals(
    probabilities: ArrayLike, label: ArrayLike, missing: str
) -> tuple[FloatArray, FloatArray, float]:
    """Places in the kernel's space, residuals, and the factor of their inner product."""
    if np.ndim(probabilities) == 1:
        rows = checked(probabilities, label, missing=missing, binary=True)
        return rows.confidence[:, None], rows.residual[:, None], 2.0
    p, code, _ = checked_matrix(probabilities, label, missing)
    return p, (code[:, None] == np.arange(p.shape[1])) - p, 1.0


def _kernel_matrix(a: FloatArray, b: FloatArray, kernel: Kernel, bandwidth: float) -> FloatArray:
    from scipy.spatial import distance

    squared = distance.cdist(a, b, "sqeuclidean")
    if kernel == "gaussian":
        return np.asarray(np.exp(squared / (-2 * bandwidth**2)))
    return np.asarray(np.exp(np.sqrt(squared) / -bandwidth))


def _check_kernel(kernel: str, bandwidth: float) -> None:
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be gaussian or laplacian, not {kernel!r}")
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be positive, not {bandwidth}")


def _result(statistic: float, p: float, n: int) -> TestResult:
    return TestResult(
        statistic,
        p,
        math.log(p),
        "greater",
        n,
        "squared kernel calibration error, resampled outcomes",
        "outcomes are independent given the probabilities",
    )
