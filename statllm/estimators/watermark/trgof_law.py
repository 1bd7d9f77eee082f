"""The exact law of the truncated goodness-of-fit statistic."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.fit_statistics import phi_divergence
from statllm.ragged import FloatArray, IntArray

_ROOM = 300_000  # numbers at a time


def trgof_log_tail(
    statistic: ArrayLike, n: ArrayLike, s: float = 2.0, truncation: ArrayLike | None = None
) -> FloatArray:
    """Return log P(S >= statistic) for the Tr-GoF statistic of n uniform pivots.

    S >= x means that p_(i) lies between c and b_i for some i, where b_i is the largest v with
    n K_s(i / n, v) >= x. Split by the last such i: then exactly i of the p are below b_i, so

    P(S >= x) = sum_i Bin(i; n, b_i) (1 - (c / b_i)^i) g_i,
    g_i = 1 - sum_{j > i} Bin(j - i; n - i, (b_j - b_i) / (1 - b_i)) g_j,

    where g_i is the probability that no later j follows. All terms of the first sum are positive:
    small tails keep their digits. n^2 operations per statistic.

    Parameters
    ----------
    statistic, n : array_like
        They broadcast.
    s : float
        Of the divergence K_s, above 0.
    truncation : array_like, optional
        c, below which p doesn't count; default 1 / n.

    Raises
    ------
    ValueError
        If n is below 1, the truncation isn't in (0, 1] or s isn't above 0.

    Examples
    --------
    The statistic of one pivot is large where p = 1 - y is small, but not below c:

    >>> from statllm.estimators.watermark.fit_statistics import truncated_divergence
    >>> from statllm.ragged import Ragged
    >>> x = truncated_divergence(Ragged.from_lists([[0.9]]), 2.0, np.array([0.01]))
    >>> np.exp(trgof_log_tail(x, 1, 2.0, 0.01)).round(6)    # .1 - .01
    array([0.09])
    """
    lengths = np.asarray(n, np.float64)
    cut = 1 / np.maximum(lengths, 1) if truncation is None else np.asarray(truncation, np.float64)
    x, size, c = np.broadcast_arrays(np.asarray(statistic, np.float64), lengths, cut)
    if np.any(size < 1):
        raise ValueError("n must be at least 1")
    if not np.all((c > 0) & (c <= 1)):
        raise ValueError("truncation must lie between 0 and 1")
    out = np.where(x <= 0, 0.0, -np.inf)
    out[np.isnan(x)] = np.nan
    left = np.flatnonzero((x > 0) & (c < 1))
    left = left[np.argsort(size.flat[left], kind="stable")]  # like lengths waste no room together
    while len(left):
        some = left[: max(1, int(_ROOM / size.flat[left[-1]]))]
        left = left[len(some) :]
        out.flat[some] = _tails(x.flat[some], size.flat[some].astype(np.int64), s, c.flat[some])
    return out


def _tails(x: FloatArray, n: IntArray, s: float, c: FloatArray) -> FloatArray:
    """Log tails at x > 0 of n pivots, c < 1; shapes (n_statistics,)."""
    from scipy import special

    bounds = _bounds(x, n, s, c)
    top = bounds.shape[1]
    log_factorial = special.gammaln(np.arange(top + 1) + 1)
    log_rest = np.log1p(-bounds)
    later = np.zeros(bounds.shape)  # g_i of i = 1, 2, ..., 0 where b_i is c
    log_terms = np.full(bounds.shape, -np.inf)
    for i in range(top, 0, -1):
        at = np.flatnonzero(bounds[:, i - 1] > c)
        here, rest = bounds[at, i - 1 : i], n[at, None] - i
        more = np.arange(1, top - i + 1)
        stay = np.maximum(rest - more, 0)
        with np.errstate(divide="ignore"):  # beyond n there is no step: log 0
            steps = np.log(np.maximum(bounds[at, i:] - here, 0.0))
        log_law = (
            log_factorial[rest]
            - log_factorial[more]
            - log_factorial[stay]
            + more * steps
            + stay * log_rest[at, i:]
            - rest * log_rest[at, i - 1 : i]
        )
        follow = (np.exp(log_law) * later[at, i:]).sum(axis=1)
        later[at, i - 1] = np.maximum(1 - follow, 0.0)
        with np.errstate(divide="ignore"):
            log_terms[at, i - 1] = (
                log_factorial[n[at]]
                - log_factorial[i]
                - log_factorial[rest[:, 0]]
                + i * np.log(here[:, 0])
                + rest[:, 0] * log_rest[at, i - 1]
                + np.log(-np.expm1(i * np.log(c[at] / here[:, 0])))
                + np.log(later[at, i - 1])
            )
    return np.asarray(np.minimum(special.logsumexp(log_terms, axis=1), 0.0))


def _bounds(x: FloatArray, n: IntArray, s: float, c: FloatArray) -> FloatArray:
    """The largest v in (c, i / n) with n K_s(i / n, v) >= x, by bisection; c where there is none.

    Shape (n_statistics, largest n); c where i is above n.
    """
    u = np.arange(1, int(n.max()) + 1) / n[:, None]
    possible = u <= 1
    u = np.minimum(u, 1.0)
    start = np.broadcast_to(np.log(c)[:, None], u.shape)
    low, high = start, np.log(np.maximum(u, c[:, None]))
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(invalid="ignore"):  # 0 / 0 where v is 1
            divergence = phi_divergence(u, np.minimum(np.exp(middle), u), s)
        enough = possible & (n[:, None] * divergence >= x[:, None])
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return np.where(low == start, c[:, None], np.exp(low))
