"""The two laws: their least-squares fits to a mean curve, and how these move with the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_ALPHAS = np.geomspace(0.02, 8.0, 400)  # exponents that are tried
_DEGENERATE = 1e-10  # smallest over largest eigenvalue of a Hessian that can't be inverted


@dataclass(frozen=True, eq=False)
class Fitted:
    """A law fitted to the mean curve.

    Attributes
    ----------
    names : tuple of str
    values : ndarray of float64, shape (n_parameters,)
    gradient : ndarray of float64, shape (n_parameters, n_sizes)
        How each parameter moves with the mean at each size; NaN where they aren't identified.
    """

    names: tuple[str, ...]
    values: FloatArray
    gradient: FloatArray


def fit_log(sizes: FloatArray, means: FloatArray) -> Fitted:
    """Mean = level + gain log2(n / n_1), by least squares; n_1 is the smallest size."""
    design = np.column_stack([np.ones(len(sizes)), np.log2(sizes / sizes.min())])
    solve = np.linalg.pinv(design)
    return Fitted(("level", "gain per doubling"), solve @ means, solve)


def predict_log(fitted: Fitted, sizes: FloatArray, n: float) -> tuple[float, FloatArray]:
    """Value at a size, and its gradient over the means."""
    basis = np.array([1.0, math.log2(n / sizes.min())])
    return float(basis @ fitted.values), basis @ fitted.gradient


def fit_power(sizes: FloatArray, means: FloatArray) -> Fitted:
    """Mean = limit - distance (n / n_1)^-exponent, by least squares.

    For each exponent, limit and distance are linear least squares (variable projection, Golub and
    Pereyra 1973); the best exponent of a grid is then refined between its neighbours.
    """
    from scipy import optimize

    u = sizes / sizes.min()

    def linear(alpha: float) -> tuple[FloatArray, float]:
        design = np.column_stack([np.ones(len(u)), -(u**-alpha)])
        coefficients = np.linalg.lstsq(design, means, rcond=None)[0]
        return coefficients, float(((means - design @ coefficients) ** 2).sum())

    losses = np.array([linear(alpha)[1] for alpha in _ALPHAS])
    best = int(losses.argmin())
    alpha, inside = float(_ALPHAS[best]), 0 < best < len(_ALPHAS) - 1
    if inside:
        found = optimize.minimize_scalar(
            lambda log: linear(math.exp(log))[1],
            bounds=(math.log(_ALPHAS[best - 1]), math.log(_ALPHAS[best + 1])),
            method="bounded",
            options={"xatol": 1e-10},
        )
        alpha = math.exp(float(found.x))
    (limit, distance), _ = linear(alpha)
    values = np.array([limit, distance, alpha])
    names = ("limit", "distance", "exponent")
    gradient = np.full((3, len(u)), math.nan)
    # At an end of the grid the curve is a line in log n, or a step: no exponent can be told.
    if inside and distance != 0:
        moved = _implicit(u, means, values)
        gradient = gradient if moved is None else moved
    return Fitted(names, values, gradient)


def predict_power(fitted: Fitted, sizes: FloatArray, n: float) -> tuple[float, FloatArray]:
    """As `predict_log`."""
    limit, distance, alpha = fitted.values
    u = n / sizes.min()
    power = u**-alpha
    basis = np.array([1.0, -power, distance * math.log(u) * power])
    return float(limit - distance * power), basis @ fitted.gradient


def _implicit(u: FloatArray, means: FloatArray, values: FloatArray) -> FloatArray | None:
    """How the minimiser moves with the means: the implicit function theorem on the gradient."""
    limit, distance, alpha = values
    power, log = u**-alpha, np.log(u)
    jacobian = np.column_stack([np.ones(len(u)), -power, distance * log * power])
    residual = means - (limit - distance * power)
    second = np.zeros((3, 3))
    second[1, 2] = second[2, 1] = float(residual @ (log * power))
    second[2, 2] = float(residual @ (-distance * log**2 * power))
    hessian = jacobian.T @ jacobian - second
    eigenvalues = np.linalg.eigvalsh(hessian)
    if eigenvalues[0] <= _DEGENERATE * eigenvalues[-1]:
        return None
    moved: FloatArray = np.linalg.solve(hessian, jacobian.T)
    return moved
