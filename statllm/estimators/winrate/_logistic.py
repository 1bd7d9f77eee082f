"""Logistic regression of outcomes in [0, 1]: with a ridge, and with a lasso."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def ridge_logistic(x: FloatArray, y: FloatArray, penalty: FloatArray) -> FloatArray:
    """Maximise the log likelihood less sum(penalty * coefficients^2).

    Raises
    ------
    ValueError
        If there's no finite maximum.
    """
    b = np.zeros(x.shape[1])
    value = _value(x, y, b) - float(penalty @ b**2)
    for _ in range(100):
        p = expit(x @ b)
        gradient = x.T @ (y - p) - 2 * penalty * b
        information = (x * (p * (1 - p))[:, None]).T @ x + 2 * np.diag(penalty)
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            break
        size = min(1.0, 4 / max(float(np.abs(x @ step).max()), 1e-300))
        for _halving in range(50):
            moved = b + size * step
            new = _value(x, y, moved) - float(penalty @ moved**2)
            if new >= value - 1e-13 * abs(value):
                break
            size /= 2
        b, value = moved, new
        if float(np.abs(x @ step).max()) <= 1e-8:
            return b
        if float(np.abs(x @ b).max()) > 200:
            break
    raise ValueError(
        "the win rate has no finite fit: outcomes are all wins, all losses or split by a "
        "covariate, or covariates are collinear; a ridge may help"
    )


def lasso_logistic(
    x: FloatArray, y: FloatArray, weight: FloatArray, c: float, start: FloatArray
) -> FloatArray:
    """Minimise sum |coefficients| + c * sum(weight * log loss), by proximal Newton steps.

    Few columns are meant: each step solves its quadratic lasso by coordinate descent.
    """
    b = start.copy()

    def cost(b: FloatArray) -> float:
        eta = x @ b
        return float(np.abs(b).sum() + c * weight @ (np.logaddexp(0.0, eta) - y * eta))

    now = cost(b)
    for _ in range(200):
        p = expit(x @ b)
        gradient = c * (x.T @ (weight * (p - y)))
        hessian = c * ((x * (weight * p * (1 - p))[:, None]).T @ x)
        hessian[np.diag_indices_from(hessian)] += 1e-12 * max(float(np.trace(hessian)), 1e-12)
        moved = b.copy()
        for _sweep in range(500):
            before = moved.copy()
            for j in range(len(b)):
                slope = gradient[j] + hessian[j] @ (moved - b) - hessian[j, j] * moved[j]
                shrunk = max(abs(slope) - 1.0, 0.0)
                moved[j] = -np.sign(slope) * shrunk / hessian[j, j]
            if np.abs(moved - before).max() <= 1e-12 * max(np.abs(moved).max(), 1.0):
                break
        step, size = moved - b, 1.0
        new = cost(moved)
        while new > now + 1e-14 * abs(now) and size > 1e-10:
            size /= 2
            moved = b + size * step
            new = cost(moved)
        b, now = moved, new
        if np.abs(step).max() <= 1e-9 * max(np.abs(b).max(), 1.0):
            break
    return b


def expit(eta: FloatArray) -> FloatArray:
    """1 / (1 + exp(-eta)) without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -eta)))


def _value(x: FloatArray, y: FloatArray, b: FloatArray) -> float:
    eta = x @ b
    return float((y * eta - np.logaddexp(0.0, eta)).sum())
