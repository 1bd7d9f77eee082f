"""Least squares and logistic fits, and checks of what goes into them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers
from statllm.estimators.ppi._combine import IntArray, cluster_sums

FloatArray = NDArray[np.float64]
Link = Literal["identity", "logit"]


def design(x: ArrayLike, what: str) -> FloatArray:
    """Return a design matrix.

    Raises
    ------
    ValueError
        If it isn't two-dimensional and finite, or has no more rows than columns.
    """
    matrix = numbers(x, what)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or matrix.shape[0] <= matrix.shape[1]:
        raise ValueError(f"{what} must be a matrix with more rows than columns, not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{what} must be finite")
    return matrix


def outcome(values: ArrayLike, x: FloatArray, link: Link, what: str) -> FloatArray:
    """Return outcomes, one per row of x.

    Raises
    ------
    ValueError
        If their number differs, or one isn't finite, or outside [0, 1] for the logit.
    """
    y = numbers(values, what)
    if y.shape != (len(x),):
        raise ValueError(f"{what} must have one value per row of x, {len(x)}, not {y.shape}")
    if not np.isfinite(y).all():
        raise ValueError(f"{what} must be finite; row {int(np.argmin(np.isfinite(y)))} isn't")
    if link == "logit" and (y.min() < 0 or y.max() > 1):
        raise ValueError(f"{what} must lie between 0 and 1 for a logistic regression")
    return y


def mean_and_weight(eta: FloatArray, link: Link) -> tuple[FloatArray, FloatArray]:
    """Mean of the outcome at a linear predictor, and its derivative."""
    if link == "identity":
        return eta, np.ones_like(eta)
    from scipy import special

    mean = special.expit(eta)
    return mean, mean * (1 - mean)


def fit(x: FloatArray, y: FloatArray, link: Link, what: str) -> FloatArray:
    """Return the coefficients.

    Raises
    ------
    ValueError
        If columns of x depend on each other, or outcomes are separated.
    """
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(f"{what}: columns of x depend on each other")
    if link == "identity":
        return np.asarray(np.linalg.lstsq(x, y)[0], np.float64)
    b = np.zeros(x.shape[1])
    for _ in range(100):
        mean, weight = mean_and_weight(x @ b, link)
        hessian = (x * weight[:, None]).T @ x
        if np.linalg.cond(hessian) > 1e14:
            break
        step = np.linalg.solve(hessian, x.T @ (y - mean))
        # a step of the linear predictor above 4 overshoots: expit is flat there
        b = b + step * min(1.0, 4 / max(float(np.abs(x @ step).max()), 1e-300))
        if np.abs(x @ step).max() < 1e-10:
            return b
    raise ValueError(f"{what}: x separates the outcomes, so that the logistic fit is infinite")


def without_each(
    x: FloatArray, y: FloatArray, number: IntArray, n_clusters: int, link: Link, what: str
) -> tuple[FloatArray, FloatArray]:
    """Return coefficients, and how they change without each cluster.

    -(H - H_c)^-1 x_c' (y_c - mu_c): one Newton step from the full fit, exact for least squares.

    Raises
    ------
    ValueError
        If the fit or one without a cluster isn't determined.
    """
    b = fit(x, y, link, what)
    mean, weight = mean_and_weight(x @ b, link)
    score = cluster_sums(x * (y - mean)[:, None], number, n_clusters)
    p = x.shape[1]
    products = (x[:, :, None] * x[:, None, :] * weight[:, None, None]).reshape(-1, p * p)
    left = products.sum(0) - cluster_sums(products, number, n_clusters)
    hessians = left.reshape(-1, p, p)
    scale = np.sqrt(np.einsum("cii->ci", hessians))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = hessians / (scale[:, :, None] * scale[:, None, :])
        bad = ~np.isfinite(correlations).all(axis=(1, 2))
    if not bad.any():
        bad = np.linalg.eigvalsh(correlations)[:, 0] < 1e-12
    if bad.any():
        raise ValueError(
            f"{what}: without one of the clusters the columns of x depend on each other"
        )
    return b, -np.linalg.solve(hessians, score[:, :, None])[:, :, 0]
