"""Tails of sums of unequal coins: weighted green tokens, and tokens of unequal green shares."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls._tilted import bernoulli_tail

_LEVELS = 256


def poisson_binomial_log_tail(count: float, probabilities: ArrayLike) -> float:
    """Return log P(B_1 + ... + B_n >= count) for independent B_i ~ Bernoulli(p_i).

    By convolution of the tilted law, n^2 operations without subtraction.

    Parameters
    ----------
    count : float
    probabilities : array_like, shape (n,)
        In (0, 1).

    Raises
    ------
    ValueError
        If a probability isn't in (0, 1).

    Examples
    --------
    >>> round(float(np.exp(poisson_binomial_log_tail(2, [0.5, 0.1, 0.2]))), 6)
    0.15
    """
    shares = _shares(probabilities)
    return bernoulli_tail(float(count), np.ones(len(shares), np.int64), shares)


def weighted_bernoulli_log_tail(statistic: float, weights: ArrayLike, share: ArrayLike) -> float:
    """Return log P(sum_i w_i B_i >= statistic) for independent B_i ~ Bernoulli(share).

    Exact for whole weights up to 256. Others are rounded up to 256 levels of the largest, which
    makes the p-value larger, never smaller: `whole_weights` does the same rounding, and with its
    weights the test is exact.

    Parameters
    ----------
    statistic : float
    weights : array_like, shape (n,)
        Not negative; those that are 0 don't matter.
    share : array_like
        One, or one per weight.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or a share isn't in (0, 1).

    Examples
    --------
    >>> round(float(np.exp(weighted_bernoulli_log_tail(3, [1, 2, 3], 0.5))), 6)
    0.625
    """
    given = np.asarray(weights, np.float64)
    if given.size and not (np.all(np.isfinite(given)) and given.min() >= 0):
        raise ValueError("weights must be finite and not negative")
    shares = np.broadcast_to(_shares(share), given.shape)
    used = given > 0
    if not used.any():
        return math.nan if math.isnan(statistic) else 0.0 if statistic <= 0 else -math.inf
    whole, scale = whole_weights(given)
    return bernoulli_tail(statistic * scale * (1 - 1e-12), whole[used], shares[used])


def whole_weights(weights: ArrayLike) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], float]:
    """Return weights as whole numbers up to 256, rounded up, and what they were multiplied by.

    Examples
    --------
    >>> whole_weights([0.5, 1.0])
    (array([128, 256]), 256.0)
    >>> whole_weights([3.0, 0.0, 7.0])
    (array([3, 0, 7]), 1.0)
    """
    given = np.asarray(weights, np.float64)
    largest = float(given.max(initial=0.0))
    if largest <= _LEVELS and np.all(given == np.round(given)):
        return given.astype(np.int64), 1.0
    scale = _LEVELS / largest
    return np.ceil(given * scale - 1e-9).astype(np.int64), scale


def _shares(share: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    found = np.asarray(share, np.float64)
    if not np.all((found > 0) & (found < 1)):
        raise ValueError("probabilities must lie between 0 and 1")
    return found
