"""Tails of sums of whole-numbered scores."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls._tilted import lattice_tails
from statllm.ragged import FloatArray


def lattice_log_tail(statistic: ArrayLike, pmf: ArrayLike, n: ArrayLike) -> FloatArray:
    """Return log P(S >= statistic) for the sum S of n independent scores 0, 1, 2, ...

    The law is tilted by exp(t S) until the statistic is its mean, convolved by FFT there, and
    tilted back: the relative error of p is that of the middle, about 1e-11 (n times 1e-15 where
    that is more), at any depth. One convolution serves many statistics: the work is per distinct n.

    Parameters
    ----------
    statistic, n : array_like of whole numbers
        They broadcast.
    pmf : array_like, shape (k,)
        P(score = 0), P(score = 1), ...

    Returns
    -------
    ndarray
        Natural logarithms.

    Raises
    ------
    ValueError
        If `pmf` isn't a law, or n is negative.

    Examples
    --------
    The sum of 3 dice is at least 17 in 4 of 216 throws.

    >>> die = [0, 1/6, 1/6, 1/6, 1/6, 1/6, 1/6]
    >>> round(float(np.exp(lattice_log_tail(17, die, 3))) * 216, 9)
    4.0
    """
    law = np.asarray(pmf, np.float64)
    if law.ndim != 1 or np.any(law < 0) or abs(law.sum() - 1) > 1e-9:
        raise ValueError("pmf must be one-dimensional, not negative, and sum to 1")
    s, times = np.broadcast_arrays(np.asarray(statistic, np.float64), np.asarray(n, np.int64))
    if np.any(times < 0):
        raise ValueError("n must not be negative")
    out = np.where(s <= 0, 0.0, -np.inf)
    out[np.isnan(s)] = np.nan
    for count in np.unique(times[times > 0]):
        at = times == count
        out[at] = lattice_tails(s[at], [law], np.array([count]))
    return out


def weighted_bits_log_tail(
    statistic: ArrayLike, weights: ArrayLike, n: ArrayLike, share: float = 0.5
) -> FloatArray:
    """Return log P(S >= statistic) for n tokens of independent bits that weigh `weights` each.

    Parameters
    ----------
    statistic, n : array_like of whole numbers
        They broadcast.
    weights : array_like of int, shape (depth,)
        Of a token's bits.
    share : float
        Probability of a bit.

    Examples
    --------
    >>> round(float(np.exp(weighted_bits_log_tail(3, [1, 2], 1))), 6)
    0.25
    """
    law = _bits_law(tuple(int(w) for w in np.asarray(weights)), share)
    return lattice_log_tail(statistic, law, n)


@lru_cache(maxsize=8)
def _bits_law(weights: tuple[int, ...], share: float) -> FloatArray:
    law = np.zeros(sum(weights) + 1)
    law[0] = 1.0
    end = 0
    for weight in weights:
        set_ = law[: end + 1] * share
        law[: end + 1] *= 1 - share
        law[weight : weight + end + 1] += set_
        end += weight
    return law
