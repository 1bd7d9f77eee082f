"""The exact law of a sum of integers, each of which counts with probability 1/2."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Multiplications that an exact law may cost: about a second.
MOST_WORK = 400_000_000
_PER_ENTRY = 40  # so that a law is at most 80 MB


def work(values: IntArray, counts: IntArray) -> float:
    """How many multiplications `log_upper_tail` takes; its memory counts, too."""
    length, total = 1.0, 0.0
    for v, m in _by_count(values, counts):
        total += (m + 1) * length
        length += v * m
    return max(total, _PER_ENTRY * length)


def log_upper_tail(values: IntArray, counts: IntArray, observed: int) -> float:
    """Log P(S >= observed) for S = sum_u values[u] B_u, B_u binomial(counts[u], 1/2).

    By convolution under an exponential tilt, B_u binomial(counts[u], expit(lambda values[u])),
    whose mean is the observed value: then nothing near it underflows, and
    P(S >= s) = M(lambda) sum_{t >= s} p_lambda(t) exp(-lambda t), M the moment generating function.

    Parameters
    ----------
    values : ndarray of int64, shape (k,)
        Above 0.
    counts : ndarray of int64, shape (k,)
    observed : int

    Examples
    --------
    >>> round(math.exp(log_upper_tail(np.array([1, 2, 3]), np.array([1, 1, 1]), 5)), 4)
    0.25
    """
    from scipy import special

    most = int(values @ counts)
    if observed <= 0:
        return 0.0
    if observed > most:
        return -math.inf
    if observed == most:
        return -float(counts.sum()) * math.log(2)
    tilt = _tilt(values, counts, observed)
    law = np.ones(1)
    for v, m in _by_count(values, counts):
        k = np.arange(m + 1)
        log_weight = special.gammaln(m + 1) - special.gammaln(k + 1) - special.gammaln(m - k + 1)
        log_weight = log_weight + k * special.log_expit(tilt * v)
        weights = np.exp(log_weight + (m - k) * special.log_expit(-tilt * v))
        law = _add(law, weights, v)
    beyond = np.arange(most - observed + 1)
    tail = float(law[observed:] @ np.exp(-tilt * beyond))
    generating = float(counts @ (np.logaddexp(0, tilt * values) - math.log(2)))
    return min(generating - tilt * observed + math.log(tail), 0.0)


def _add(law: FloatArray, weights: FloatArray, step: int) -> FloatArray:
    """The law of a sum of two, the second on multiples of `step`."""
    longer = np.zeros(len(law) + step * (len(weights) - 1))
    if len(law) < len(weights):
        for i, p in enumerate(law):
            longer[i : i + step * len(weights) : step][: len(weights)] += p * weights
    else:
        for j, p in enumerate(weights):
            longer[j * step : j * step + len(law)] += p * law
    return longer


def _tilt(values: IntArray, counts: IntArray, observed: int) -> float:
    """Lambda at which the mean is the observed value; 0 below the middle."""
    from scipy import optimize, special

    def short(tilt: float) -> float:
        return float((counts * values) @ special.expit(tilt * values)) - observed

    if short(0.0) >= 0:
        return 0.0
    high = 1.0 / float(values.max())
    while short(high) < 0:
        high *= 2
    return float(optimize.brentq(short, 0.0, high, rtol=1e-6))


def _by_count(values: IntArray, counts: IntArray) -> list[tuple[int, int]]:
    """The most frequent value first: its law is binomial, and the next ones are short."""
    order = np.argsort(-counts, kind="stable")
    return [(int(values[i]), int(counts[i])) for i in order]
