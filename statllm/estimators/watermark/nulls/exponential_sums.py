"""Tails of sums of exponential scores with unequal weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls.gamma import gamma_log_tail
from statllm.ragged import FloatArray

_NODES = 240


def two_gamma_log_tail(
    statistic: ArrayLike, shape: ArrayLike, scales: tuple[float, float]
) -> FloatArray:
    """Return log P(a A + b B >= statistic) for independent A, B ~ Gamma(shape, 1).

    The law of the detector of dual-key Gumbel watermarks, which vLLM approximates by one Gamma.
    P = int f(x) Q(shape, (s - a x) / b) dx + Q(shape, s / a), f the law of A, by Gauss-Legendre
    quadrature about the integrand's mode on the scale of logarithms.

    Parameters
    ----------
    statistic, shape : array_like
        They broadcast.
    scales : tuple of float
        a and b, positive.

    Returns
    -------
    ndarray
        Natural logarithms.

    Raises
    ------
    ValueError
        If a scale isn't positive.

    Examples
    --------
    Equal scales are one Gamma with twice the shape:

    >>> float(two_gamma_log_tail(40.0, 10, (1.0, 1.0))) - float(gamma_log_tail(40.0, 20)) < 1e-9
    True
    """
    from scipy import special

    a, b = max(scales), min(scales)
    if not b > 0:
        raise ValueError(f"scales must be positive, not {scales}")
    s, n = np.broadcast_arrays(np.asarray(statistic, np.float64), np.asarray(shape, np.float64))
    out: FloatArray = np.where(s <= 0, 0.0, -np.inf)
    inside = (s > 0) & (n > 0)
    s, n = s[inside], n[inside]
    if len(s):
        nodes, node_weights = np.polynomial.legendre.leggauss(_NODES)

        def log_integrand(x: FloatArray) -> FloatArray:
            with np.errstate(divide="ignore"):
                log_law = (n[:, None] - 1) * np.log(x) - x - special.gammaln(n)[:, None]
            found: FloatArray = log_law + gamma_log_tail((s[:, None] - a * x) / b, n[:, None])
            return found

        # find where the integrand is: a coarse grid, then the stretch that isn't negligible
        end = (s / a)[:, None]
        low, high = np.zeros_like(end), end.copy()
        for _ in range(2):
            grid = low + (high - low) * np.linspace(0, 1, 202)[1:-1]
            values = log_integrand(grid)
            large = values > values.max(axis=1, keepdims=True) - 50
            first = np.argmax(large, axis=1)[:, None]
            last = (large.shape[1] - 1 - np.argmax(large[:, ::-1], axis=1))[:, None]
            step = (high - low) / 201
            low, high = (
                np.maximum(low, np.take_along_axis(grid, first, 1) - step),
                np.minimum(high, np.take_along_axis(grid, last, 1) + step),
            )
        half = (high - low) / 2
        values = log_integrand(low + half * (nodes + 1))
        inner = special.logsumexp(values, axis=1, b=half * node_weights)
        out[inside] = np.minimum(np.logaddexp(inner, gamma_log_tail(s / a, n)), 0.0)
    return out


def hypoexponential_log_tail(statistic: float, rates: ArrayLike) -> float:
    """Return log P(E_1 / r_1 + ... + E_n / r_n >= statistic), E_i ~ Exp(1) independent.

    By uniformisation: a Poisson(r s) number of steps, r the largest rate, each of which leaves
    stage i with probability r_i / r; a sum of positive terms, whatever the rates are.

    Parameters
    ----------
    statistic : float
    rates : array_like, shape (n,)
        Positive; weighted scores w_i E_i have the rates 1 / w_i.

    Raises
    ------
    ValueError
        If a rate isn't positive.

    Examples
    --------
    >>> round(hypoexponential_log_tail(3.0, [2.0]), 9)
    -6.0
    """
    from scipy import special

    given = np.asarray(rates, np.float64)
    if given.ndim != 1 or not np.all(given > 0):
        raise ValueError("rates must be one-dimensional and positive")
    if statistic <= 0 or len(given) == 0:
        return 0.0 if statistic <= 0 else -np.inf
    rate = float(given.max())
    leaving = given / rate
    mean = rate * statistic
    logs = np.full(len(given), -np.inf)  # log P(in stage i after k steps)
    logs[0] = 0.0
    with np.errstate(divide="ignore"):
        log_stay, log_leave = np.log1p(-leaving), np.log(leaving)
    total, k = -np.inf, 0
    while True:
        alive = float(special.logsumexp(logs))
        term = k * np.log(mean) - mean - float(special.gammaln(k + 1)) + alive
        total = float(np.logaddexp(total, term))
        if k > mean and term < total - 45:
            return min(total, 0.0)
        moved = np.append(-np.inf, (logs + log_leave)[:-1])
        logs = np.logaddexp(logs + log_stay, moved)
        k += 1
