"""Bradley-Terry on features: rewards that are linear in them, and what the data leave open.

P(a is preferred to b) = sigma(w . x) with x the difference of the features of a and b. There's no
intercept: the level of rewards isn't identified, gaps are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_STEPS = 100
_TOLERANCE = 1e-10  # of half the Newton decrement: log-likelihood still to be won, in nats


@dataclass(frozen=True, eq=False)
class BradleyTerryFit:
    """The weights' posterior in Laplace's approximation: normal about its mode.

    Attributes
    ----------
    weights : ndarray of float64, shape (d,)
        The mode; without a prior the maximum-likelihood estimate.
    covariance : ndarray of float64, shape (d, d)
        H^-1, H = sum_i sigma'(w . x_i) x_i x_i^T + prior_precision I. Without a prior it's the
        inverse Fisher information, (n H_n)^-1 with H_n the mean over pairs.
    prior_precision : float
    log_likelihood : float
        At the mode, nats, summed over pairs.
    log_evidence : float
        Laplace's approximation of the log marginal likelihood, nats; NaN without a prior.
    n_pairs : int
    """

    weights: FloatArray
    covariance: FloatArray
    prior_precision: float
    log_likelihood: float
    log_evidence: float
    n_pairs: int

    def gap_variance(self, differences: ArrayLike) -> FloatArray:
        """Return the variance x^T H^-1 x of the reward gap of each difference of features."""
        x = np.atleast_2d(np.asarray(differences, dtype=np.float64))
        variance: FloatArray = ((x @ self.covariance) * x).sum(axis=1)
        return variance


def fit_bradley_terry(
    differences: ArrayLike, prior_precision: float | None = None
) -> BradleyTerryFit:
    """Fit linear rewards to preference pairs, by Newton's method.

    Parameters
    ----------
    differences : array_like of float, shape (n_pairs, d)
        Features of the chosen response minus those of the rejected one.
    prior_precision : float, optional
        Of an independent normal prior of mean 0 on each weight; 0 is none. Default: the one with
        the highest evidence (MacKay 1992), between 1e-6 and 1e6 times the mean information per
        weight at w = 0.

    Returns
    -------
    BradleyTerryFit

    Raises
    ------
    ValueError
        If there are no pairs, a number isn't finite, or, without a prior, the pairs can be
        ordered without error (the maximum lies at infinity) or don't identify the weights.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 2))
    >>> flip = rng.random(500) > 1 / (1 + np.exp(-x @ [1.0, -2.0]))
    >>> fit = fit_bradley_terry(np.where(flip[:, None], -x, x), prior_precision=0)
    >>> fit.weights.round(2), np.sqrt(fit.gap_variance([1.0, 1.0])).round(3)
    (array([ 0.89, -2.04]), array([0.189]))
    """
    x = np.asarray(differences, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"differences must be pairs x features, not of shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("differences must be finite")
    if prior_precision is not None:
        if not (prior_precision >= 0 and math.isfinite(prior_precision)):
            raise ValueError(f"prior_precision must be 0 or more, not {prior_precision}")
        return _fit(x, float(prior_precision), np.zeros(x.shape[1]))
    return _by_evidence(x)


def _by_evidence(x: FloatArray) -> BradleyTerryFit:
    """The fit whose prior has the highest evidence."""
    from scipy.optimize import minimize_scalar

    scale = math.log(max(float((x * x).mean()) * len(x) / 4, 1e-300))
    start = np.zeros(x.shape[1])

    def loss(log_precision: float) -> float:
        nonlocal start
        fit = _fit(x, math.exp(log_precision), start)
        start = fit.weights
        return -fit.log_evidence

    # A coarse grid first: the evidence can have more than one maximum.
    grid = scale + np.log(10.0) * np.arange(6, -7, -1)  # strong priors first: short Newton paths
    losses = [loss(float(each)) for each in grid]
    best = int(np.argmin(losses))
    low, high = grid[min(best + 1, 12)], grid[max(best - 1, 0)]
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 0.01})
    return _fit(x, math.exp(float(found.x)), start)


def _fit(x: FloatArray, precision: float, start: FloatArray) -> BradleyTerryFit:
    """Newton's method with halved steps; the objective is concave."""
    from scipy import linalg

    w, now = start, _objective(x, start, precision)
    for _ in range(_STEPS):
        gradient, hessian = _derivatives(x, w, precision)
        try:
            factor = linalg.cho_factor(hessian, lower=True)
        except linalg.LinAlgError as error:
            raise ValueError(_UNIDENTIFIED) from error
        step = linalg.cho_solve(factor, gradient)
        decrement = float(gradient @ step)
        if decrement / 2 <= _TOLERANCE:
            break
        size = 1.0
        while size > 1e-8:
            then = _objective(x, w + size * step, precision)
            if then >= now + 0.25 * size * decrement:
                break
            size /= 2
        else:
            break  # no gain left that floating point can see
        w, now = w + size * step, then
        if precision == 0 and float((x @ w).min()) > 0:
            raise ValueError(_SEPARABLE)
    else:
        raise ValueError(_UNIDENTIFIED)
    d = len(w)
    if precision == 0 and np.linalg.matrix_rank(x) < d:
        raise ValueError(_UNIDENTIFIED)
    covariance = linalg.cho_solve(factor, np.eye(d))
    log_likelihood = now + 0.5 * precision * float(w @ w)
    log_det = 2 * float(np.log(np.diag(factor[0])).sum())
    evidence = now + 0.5 * (d * math.log(precision) - log_det) if precision else math.nan
    symmetric: FloatArray = (covariance + covariance.T) / 2
    return BradleyTerryFit(w, symmetric, precision, log_likelihood, evidence, len(x))


_SEPARABLE = "the pairs can be ordered without error, so there's no maximum: give a prior"
_UNIDENTIFIED = "the pairs don't identify the weights: give a prior"


def _objective(x: FloatArray, w: FloatArray, precision: float) -> float:
    """Log-likelihood plus log-prior, without the latter's constant."""
    return -float(np.logaddexp(0, -(x @ w)).sum()) - 0.5 * precision * float(w @ w)


def _derivatives(x: FloatArray, w: FloatArray, precision: float) -> tuple[FloatArray, FloatArray]:
    """Gradient, and the negative second derivative."""
    from scipy import special

    p = special.expit(x @ w)
    scaled = x * np.sqrt(p * (1 - p))[:, None]
    hessian: FloatArray = scaled.T @ scaled
    hessian[np.diag_indices(len(w))] += precision
    return x.T @ (1 - p) - precision * w, hessian
