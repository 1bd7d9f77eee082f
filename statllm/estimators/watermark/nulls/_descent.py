"""Tails of weighted sums of Gamma variables, by inversion of their transform.

For S = sum_j w_j G_j with G_j ~ Gamma(a_j, 1) and K(t) = -sum_j a_j log(1 - w_j t),

P(S >= s) = (1 / 2 pi i) int exp(f(t)) dt,  f(t) = K(t) - s t - log t,

along a curve that crosses the real axis between 0 and the pole 1 / max w_j; left of 0 the same
integral is -P(S < s). The curve is that of steepest descent from the saddle point c, f'(c) = 0.
On it f(t) = f(c) - u^2 is real, so that all terms of the trapezoidal rule in u are positive, and
the rule converges geometrically, for the integrand is exp(-u^2) dt / du.
"""

from __future__ import annotations

import numpy as np

from statllm.ragged import BoolArray, FloatArray

_CHUNK = 20_000  # numbers held at once


def gamma_mix_tail(s: FloatArray, weights: FloatArray, shapes: FloatArray) -> FloatArray:
    """Return log P(sum_j w_j G_j >= s) for many sums of the same weights.

    Parameters
    ----------
    s : ndarray, shape (m,)
        Positive and finite.
    weights : ndarray, shape (k,)
        Positive.
    shapes : ndarray, shape (k, m)
        Of G_j, positive.
    """
    upper = s >= weights @ shapes
    log_p = np.empty(len(s))
    columns = max(1, _CHUNK // len(weights))
    for start in range(0, len(s), columns):
        some = slice(start, start + columns)
        log_p[some] = _smaller(s[some], 1 / weights, shapes[:, some], upper[some])
    with np.errstate(divide="ignore"):
        complement = np.log1p(-np.exp(log_p))
    found: FloatArray = np.where(upper, log_p, complement)
    return found


def _smaller(s: FloatArray, poles: FloatArray, a: FloatArray, upper: BoolArray) -> FloatArray:
    """Log P(S >= s) where `upper`, else log P(S < s)."""
    from statllm.estimators.watermark.nulls._path import descend

    c = _saddles(s, poles, a, upper)
    d = poles[:, None] - c
    log_top = -(a * np.log(d / poles[:, None])).sum(axis=0) - s * c - np.log(np.abs(c))
    integral = descend(s, poles, a, c)
    found: FloatArray = np.minimum(log_top + np.log(integral / np.pi), 0.0)
    return found


def _saddles(s: FloatArray, poles: FloatArray, a: FloatArray, upper: BoolArray) -> FloatArray:
    """Where f'(t) = 0, right of 0 or left of it, by bisection."""
    first = poles.min()
    low = np.where(upper, 1e-9 * first, -(a.sum(axis=0) + 1) / s)
    high = np.where(upper, first * (1 - 1e-15), -1 / s)
    for _ in range(60):
        middle = (low + high) / 2
        below = (a / (poles[:, None] - middle)).sum(axis=0) - s - 1 / middle < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found: FloatArray = (low + high) / 2
    return found
