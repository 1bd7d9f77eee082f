"""Tails of hypergeometric laws: green tokens among distinct targets of one fixed-size list."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls._series import ratio_series
from statllm.estimators.watermark.nulls._tilted import lattice_tails
from statllm.ragged import FloatArray


def hypergeometric_log_tail(
    count: ArrayLike, population: ArrayLike, greens: ArrayLike, draws: ArrayLike
) -> FloatArray:
    """Return log P(X >= count): greens among `draws` distinct ones of a population.

    Terms are summed from the count away from the mean, where they fall; on the near side it is the
    complement of the sum below.

    Parameters
    ----------
    count : array_like
    population, greens, draws : array_like of whole numbers
        All broadcast.

    Returns
    -------
    ndarray
        Natural logarithms; 0 where the count can't be missed, -inf where it can't be reached; NaN
        stays NaN.

    Raises
    ------
    ValueError
        Unless 0 <= greens, draws <= population.

    Examples
    --------
    All 3 of 3 draws from 4 greens among 10: 4/10 3/9 2/8.

    >>> round(float(np.exp(hypergeometric_log_tail(3, 10, 4, 3))), 6)
    0.033333
    """
    k, size, good, drawn = np.broadcast_arrays(
        np.ceil(np.asarray(count, np.float64)),
        *(np.asarray(v, np.float64) for v in (population, greens, draws)),
    )
    if not np.all((good >= 0) & (good <= size) & (drawn >= 0) & (drawn <= size)):
        raise ValueError("greens and draws must lie between 0 and the population")
    least, most = np.maximum(0, drawn - (size - good)), np.minimum(drawn, good)
    out = np.where(k <= least, 0.0, -np.inf)
    out[np.isnan(k)] = np.nan
    inside = (k > least) & (k <= most)
    k, size, good, drawn = k[inside], size[inside], good[inside], drawn[inside]
    bad = size - good
    above = k > drawn * good / size
    tail = np.empty(len(k))
    x, m, g, b = k[above], drawn[above], good[above], bad[above]
    tail[above] = _log_law(x, m, g, b) + ratio_series(
        lambda i, at: (
            (m[at] - x[at] - i) * (g[at] - x[at] - i)
            / ((x[at] + i + 1) * (b[at] - m[at] + x[at] + i + 1))
        ),
        len(x),
    )  # fmt: skip
    y, m, g, b = k[~above] - 1, drawn[~above], good[~above], bad[~above]
    below = _log_law(y, m, g, b) + ratio_series(
        lambda i, at: np.maximum(
            (y[at] - i) * (b[at] - m[at] + y[at] - i)
            / ((m[at] - y[at] + i + 1) * (g[at] - y[at] + i + 1)),
            0.0,
        ),
        len(y),
    )  # fmt: skip
    tail[~above] = np.log1p(-np.minimum(np.exp(below), 1 - 1e-16))
    out[inside] = np.minimum(tail, 0.0)
    return out


def hypergeometric_sum_log_tail(
    count: float, population: int, greens: int, draws: ArrayLike
) -> float:
    """Return log P(X_1 + ... + X_s >= count) for independent hypergeometric X_j.

    By the tilted convolution of `lattice_log_tail`.

    Parameters
    ----------
    count : float
    population, greens : int
        Of every list.
    draws : array_like of int, shape (s,)
        Distinct targets of each list.

    Examples
    --------
    >>> one = float(hypergeometric_log_tail(3, 10, 4, 4))
    >>> abs(hypergeometric_sum_log_tail(3, 10, 4, [4]) - one) < 1e-12
    True
    """
    sizes, times = np.unique(np.asarray(draws, np.int64), return_counts=True)
    laws = []
    for size in sizes:
        x = np.arange(size + 1, dtype=np.float64)
        possible = (x <= greens) & (size - x <= population - greens)
        log_law = np.full(len(x), -np.inf)
        m = np.full(int(possible.sum()), float(size))
        log_law[possible] = _log_law(
            x[possible], m, np.full_like(m, greens), np.full_like(m, population - greens)
        )
        laws.append(np.exp(log_law))
    return float(lattice_tails(np.array([count], np.float64), laws, times)[0])


def _log_law(x: FloatArray, m: FloatArray, g: FloatArray, b: FloatArray) -> FloatArray:
    from scipy import special

    def choose(n: FloatArray, k: FloatArray) -> FloatArray:
        found: FloatArray = special.gammaln(n + 1) - special.gammaln(k + 1)
        return found - special.gammaln(n - k + 1)

    return choose(g, x) + choose(b, m - x) - choose(g + b, m)
