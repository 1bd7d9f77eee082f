"""Tails of the gamma law, the sum of exponential scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls._series import ratio_series
from statllm.ragged import BoolArray, FloatArray

_SAFE = 1e-280


def gamma_log_tail(statistic: ArrayLike, shape: ArrayLike) -> FloatArray:
    """Return log P(S >= statistic) for S ~ Gamma(shape, 1).

    The regularised incomplete gamma function Q(shape, s); where it underflows, its continued
    fraction (Legendre).

    Parameters
    ----------
    statistic, shape : array_like
        They broadcast; the shape may be 0, a sum of nothing.

    Returns
    -------
    ndarray
        Natural logarithms; NaN stays NaN.

    Raises
    ------
    ValueError
        If a shape is negative or not finite.

    Examples
    --------
    >>> np.exp(gamma_log_tail([223.816, 234.362], 200)).round(4)
    array([0.05, 0.01])
    >>> round(float(gamma_log_tail(1000.0, 1)), 9)
    -1000.0
    """
    from scipy import special

    s, a, out, inside = _arranged(statistic, shape, below=0.0, above=-np.inf)
    tail = special.gammaincc(a, s)
    far = tail < _SAFE
    found = _log(tail, special.gammainc(a, s), far)
    x, b = s[far], a[far]
    found[far] = b * np.log(x) - x - special.gammaln(b) + np.log(_fraction(b, x))
    out[inside] = found
    return out


def gamma_log_cdf(statistic: ArrayLike, shape: ArrayLike) -> FloatArray:
    """Return log P(S <= statistic) for S ~ Gamma(shape, 1).

    Parameters and returned values as for `gamma_log_tail`.

    Examples
    --------
    >>> np.exp(gamma_log_cdf([177.320, 168.578], 200)).round(4)
    array([0.05, 0.01])
    """
    from scipy import special

    s, a, out, inside = _arranged(statistic, shape, below=-np.inf, above=0.0)
    lower = special.gammainc(a, s)
    far = lower < _SAFE
    found = _log(lower, special.gammaincc(a, s), far)
    x, b = s[far], a[far]
    series = ratio_series(lambda i, at: x[at] / (b[at] + i + 1), len(x))
    found[far] = b * np.log(x) - x - special.gammaln(b + 1) + series
    out[inside] = found
    return out


def _log(p: FloatArray, complement: FloatArray, far: BoolArray) -> FloatArray:
    """Log p: near 1 from its complement; the values that are `far` come later."""
    near = p > 0.5
    found: FloatArray = np.log(np.where(far | near, 1.0, p))
    found[near] = np.log1p(-complement[near])
    return found


def _arranged(
    statistic: ArrayLike, shape: ArrayLike, below: float, above: float
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Finite s > 0 with a shape above 0; the answers to the others, and where the former go."""
    s, a = np.broadcast_arrays(np.asarray(statistic, np.float64), np.asarray(shape, np.float64))
    if not np.all((a >= 0) & (a < np.inf)):
        raise ValueError("shape must be finite and not negative")
    inside = (a > 0) & (s > 0) & (s < np.inf)
    out = np.where(s > 0, above, below)
    out[(s == 0) & (a == 0)] = 0.0
    out[np.isnan(s)] = np.nan
    return s[inside], a[inside], out, inside


def _fraction(a: FloatArray, x: FloatArray) -> FloatArray:
    """1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / ...)), by Lentz's method; x > a."""
    tiny = 1e-300
    b = x + 1 - a
    c = np.full_like(x, 1 / tiny)
    d = 1 / np.where(b == 0, tiny, b)
    h = d.copy()
    for i in range(1, 100_000):
        numerator = -i * (i - a)
        b = b + 2
        d = numerator * d + b
        d = 1 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + numerator / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        change = c * d
        h = h * change
        if np.all(np.abs(change - 1) < 1e-15):
            break
    return h
