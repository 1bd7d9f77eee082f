"""Laws of the classical distances between pivots and the uniform law."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from statllm.estimators.watermark.fit_statistics import distance
from statllm.ragged import FloatArray, IntArray, Ragged

#: Limit laws are used from `_FEW` pivots on, and not below this p. Of 100,000 simulated documents
#: they reject up to 1.02, 1.07, 1.1 and 1.7 times the level at .05, .01, .001 and 1e-4.
_FLOOR = math.log(1e-4)
_FEW = 200


def fit_log_tail(test: str, x: FloatArray, n: IntArray, n_draws: int, seed: int) -> FloatArray:
    """Return log P(statistic of n uniform pivots >= x) for a test of `fit_statistics.distance`.

    Parameters
    ----------
    test : str
    x : ndarray, shape (n_documents,)
    n : ndarray of int64, shape (n_documents,)
    n_draws, seed : int
        Of the laws that are simulated, once per length.

    Examples
    --------
    The 1 % point of A^2 is 3.857 (Stephens 1974), to its rounding.

    >>> float(np.exp(fit_log_tail("anderson-darling", np.array([3.857]), np.array([200]), 0, 0))[0])
    0.0102...
    """
    if test == "ks":
        return _ks_log_tail(x, n)
    simulated = (n < _FEW) | (test in ("rao", "greenwood"))
    found = np.empty(len(x))
    for length in np.unique(n[simulated]):
        at = simulated & (n == length)
        null = _null(test, int(length), n_draws, seed)
        above = n_draws - np.searchsorted(null, x[at] * (1 - 1e-12))
        found[at] = np.log((1 + above) / (n_draws + 1))
    large = ~simulated
    found[large] = np.maximum(_limit_log_tail(test, x[large], n[large]), _FLOOR)
    return found


@lru_cache(maxsize=64)
def _null(test: str, n: int, n_draws: int, seed: int) -> FloatArray:
    """The statistic of `n_draws` documents of `n` uniform pivots, ascending."""
    rng = np.random.default_rng([seed, n])
    step = max(1, 2_000_000 // n)
    parts = []
    for start in range(0, n_draws, step):
        some = min(step, n_draws - start)
        parts.append(distance(Ragged.from_lengths(rng.random(some * n), [n] * some), test))
    return np.sort(np.concatenate(parts))


def _ks_log_tail(x: FloatArray, n: IntArray) -> FloatArray:
    """Two-sided; where that is small, twice the one-sided tail, which it then equals or is below.

    P(D+ >= d) = d sum_j C(n, j) (d + j / n)^(j - 1) (1 - d - j / n)^(n - j), Birnbaum and Tingey
    (1951), of positive terms only.
    """
    from scipy import special, stats

    tail = stats.kstwo.sf(x, n)
    found = np.log(np.maximum(tail, 1e-300))
    for i in np.flatnonzero(tail < 1e-8):
        d, size = float(x[i]), int(n[i])
        j = np.arange(math.floor(size * (1 - d)) + 1)
        rest = np.maximum(1 - d - j / size, 0.0)
        log_choices = special.gammaln([size + 1])
        log_choices = log_choices - special.gammaln(j + 1) - special.gammaln(size - j + 1)
        log_terms = log_choices + (j - 1) * np.log(d + j / size) + special.xlogy(size - j, rest)
        found[i] = math.log(2 * d) + special.logsumexp(log_terms)
    return np.asarray(np.minimum(found, 0.0))


def _limit_log_tail(test: str, x: FloatArray, n: IntArray) -> FloatArray:
    """Limit laws, with the modifications of Stephens (1970) for finite n."""
    from scipy import stats

    if test == "neyman":
        return np.asarray(stats.chi2.logsf(x, 3))
    if test == "chi-squared":
        return np.asarray(stats.chi2.logsf(x, 19))
    if test == "anderson-darling":
        return _quadratic_log_tail(x, test)
    if test == "cramer-von-mises":
        modified = (x - 0.4 / n + 0.6 / n**2) * (1 + 1 / n)
        return _quadratic_log_tail(modified, test)
    if test == "watson":
        modified = (x - 0.1 / n + 0.1 / n**2) * (1 + 0.8 / n)
        return _quadratic_log_tail(modified, test)
    root = np.sqrt(n)
    squares = (x * (root + 0.155 + 0.24 / root))[:, None] ** 2 * np.arange(1, 101) ** 2
    tail = 2 * np.sum((4 * squares - 1) * np.exp(-2 * squares), axis=1)
    # the series is slow where the tail is 1
    return np.asarray(np.log(np.clip(np.where(squares[:, 0] < 0.16, 1.0, tail), 1e-12, 1.0)))


def _quadratic_log_tail(x: FloatArray, law: str) -> FloatArray:
    points, log_tail = _quadratic_table(law)
    return np.asarray(np.interp(x, points, log_tail))


@lru_cache(maxsize=3)
def _quadratic_table(law: str) -> tuple[FloatArray, FloatArray]:
    """Log P(sum_j w_j Z_j^2 >= x), from the characteristic function (Imhof 1961, Davies 1973).

    The weights beyond the first 500 count by their sum, the mean - sum w_j.
    """
    j = np.arange(1, 501)
    weights, mean = {
        "anderson-darling": (1 / (j * (j + 1)), 1.0),
        "cramer-von-mises": (1 / (np.pi * j) ** 2, 1 / 6),
        "watson": (np.repeat(1 / (2 * np.pi * j) ** 2, 2), 1 / 12),
    }[law]
    points = np.linspace(0, 15 * mean, 3000)
    half = np.arange(4000) + 0.5
    u = half * 2 * np.pi / (100 * mean + 40 * weights[0])
    angles = np.outer(u, weights)
    phase, log_size = np.arctan(angles).sum(axis=1) / 2, np.log1p(angles**2).sum(axis=1) / 4
    rest = points - (mean - weights.sum())
    waves = np.sin(phase - np.outer(rest, u) / 2) * (np.exp(-log_size) / half)
    tail = 0.5 + waves.sum(axis=1) / np.pi
    return points, np.log(np.clip(tail, 1e-12, 1.0))
