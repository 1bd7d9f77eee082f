"""Tails of the binomial law."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls._series import ratio_series
from statllm.ragged import FloatArray

_SAFE = 1e-280  # above it scipy's incomplete beta function is accurate


def binomial_log_tail(count: ArrayLike, n: ArrayLike, p: ArrayLike) -> FloatArray:
    """Return log P(X >= count) for X ~ Binomial(n, p).

    The incomplete beta function I_p(count, n - count + 1); where that underflows, the law at
    `count` times the sum of the ratios to it, which fall geometrically above the mean.

    Parameters
    ----------
    count : array_like
    n : array_like of whole numbers
    p : array_like
        In (0, 1). All broadcast.

    Returns
    -------
    ndarray
        Natural logarithms; 0 where count <= 0, -inf where count > n. NaN stays NaN.

    Raises
    ------
    ValueError
        If n is negative or broken, or p isn't in (0, 1).

    Examples
    --------
    >>> np.exp(binomial_log_tail([36, 0], 100, 0.25)).round(6)
    array([0.009407, 1.      ])
    >>> round(float(binomial_log_tail(5000, 5000, 0.25)), 6) == round(5000 * float(np.log(0.25)), 6)
    True
    """
    from scipy import special

    k, total, share = np.broadcast_arrays(
        np.ceil(np.asarray(count, np.float64)), np.asarray(n, np.float64), np.asarray(p, np.float64)
    )
    if not np.all((total >= 0) & (total == np.round(total))):
        raise ValueError("n must be whole and not negative")
    if not np.all((share > 0) & (share < 1)):
        raise ValueError("p must lie between 0 and 1")
    out = np.full(k.shape, -np.inf)
    out[k <= 0] = 0.0
    out[np.isnan(k)] = np.nan
    inside = (k > 0) & (k <= total)
    a, b, x = k[inside], total[inside] - k[inside] + 1, share[inside]
    tail = special.betainc(a, b, x)
    far = tail < _SAFE
    log_tail = np.log(np.where(far, 1.0, tail))
    # near 1 the complement is the accurate one
    near = tail > 0.5
    log_tail[near] = np.log1p(-special.betaincc(a[near], b[near], x[near]))
    if far.any():
        k_far, n_far, p_far = k[inside][far], total[inside][far], x[far]
        log_law = (
            special.gammaln(n_far + 1)
            - special.gammaln(k_far + 1)
            - special.gammaln(n_far - k_far + 1)
            + k_far * np.log(p_far)
            + (n_far - k_far) * np.log1p(-p_far)
        )
        odds = p_far / (1 - p_far)
        log_tail[far] = log_law + ratio_series(
            lambda i, at: (n_far[at] - k_far[at] - i) / (k_far[at] + i + 1) * odds[at], len(k_far)
        )
    out[inside] = log_tail
    return out
