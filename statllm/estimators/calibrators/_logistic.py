"""Logistic regression without penalty, by Newton's method with bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.calibrators._base import FloatArray


def fit_logistic(
    features: FloatArray, target: FloatArray, weights: FloatArray, lower: FloatArray
) -> FloatArray:
    """Maximise sum w (t log p + (1 - t) log(1 - p)), logit p = features @ coefficients.

    Newton's method on the coefficients that aren't held at their bound. A step is cut where it
    reaches a bound and halved until the loss, which is convex, falls enough.

    Parameters
    ----------
    features : ndarray, shape (n, k)
    target : ndarray, shape (n,)
        In [0, 1]. The maximum has to exist: separated classes are the caller's business.
    weights : ndarray, shape (n,)
        Positive.
    lower : ndarray, shape (k,)
        Lower bounds of the coefficients, 0 or -inf (none).

    Returns
    -------
    ndarray of float64, shape (k,)

    Raises
    ------
    RuntimeError
        If 500 steps don't reach the maximum.
    """
    from scipy import special

    x = np.zeros(features.shape[1])
    weights = weights / weights.mean()  # in units of a row, whatever theirs
    loss = _loss(features, target, weights, x)
    for _ in range(500):
        p = special.expit(features @ x)
        gradient = features.T @ (weights * (p - target))
        hessian = (features * (weights * p * (1 - p))[:, None]).T @ features
        step = _newton_step(hessian, gradient, x, lower)
        decrement = -float(gradient @ step)
        room = np.divide(lower - x, step, out=np.full(len(x), np.inf), where=step < 0)
        size = min(1.0, float(room.min()))
        # Newton converges quadratically: one full step more leaves nothing that could be seen.
        if decrement <= 1e-10 + 1e-12 * loss:
            return x + size * step
        enough = 1e-4 * decrement
        while (new := _loss(features, target, weights, x + size * step)) > loss - size * enough:
            size /= 2
            if size < 1e-14:  # the loss can't fall any more in floating point
                return x
        x = np.maximum(x + size * step, lower)
        loss = new
    raise RuntimeError("logistic regression didn't converge; are the classes nearly separated?")


def _newton_step(
    hessian: FloatArray, gradient: FloatArray, x: FloatArray, lower: FloatArray
) -> FloatArray:
    """Newton step of the coefficients that it doesn't push out of their bounds."""
    free = (x > lower) | (gradient < 0)
    # Units in which the diagonal is 1: ln s near s = 1 is tiny beside ln(1 - s).
    unit = np.sqrt(hessian.diagonal())
    unit[unit == 0] = 1.0
    scaled = hessian / np.outer(unit, unit)
    while True:
        step = np.zeros(len(x))
        # Least squares, because the features may be collinear (two distinct scores, say).
        solution = np.linalg.lstsq(scaled[np.ix_(free, free)], -(gradient / unit)[free], rcond=None)
        step[free] = solution[0] / unit[free]
        pushed = free & (x <= lower) & (step < 0)
        if not pushed.any():
            return step
        free &= ~pushed


def separated(score: FloatArray, right: NDArray[np.bool_]) -> bool:
    """Whether a threshold splits wrong from right answers; a shared score at it doesn't help."""
    if right.all() or not right.any():
        return True
    return bool(score[~right].max() <= score[right].min())


def _loss(
    features: FloatArray, target: FloatArray, weights: FloatArray, coefficients: FloatArray
) -> float:
    eta = features @ coefficients
    return float(weights @ (np.logaddexp(0.0, eta) - target * eta))
