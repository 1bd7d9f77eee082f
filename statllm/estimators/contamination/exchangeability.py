"""Was a data set memorised in the order in which it is published?"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.nulls.lattice import lattice_log_tail
from statllm.ragged import FloatArray, IntArray
from statllm.results import TestResult

Method = Literal["sum", "fisher", "e-value", "t", "oren"]
Ties = Literal["conservative", "randomised"]

ASSUMPTIONS = (
    "rows of the data set are exchangeable: canonical order carries no information; "
    "permutations are uniform and independent, shards share no row"
)
_NORMAL = "; differences of the shards are normal"
_STEP = 1e-3  # of the lattice on which Fisher's scores lie, in nats
_POWERS = np.linspace(0.05, 0.95, 19)  # of the ranks in e-values, each with the same weight


def exchangeability_test(
    canonical: ArrayLike,
    permuted: ArrayLike,
    method: Method = "sum",
    ties: Ties = "conservative",
    tolerance: float = 0.0,
    rng: np.random.Generator | int = 0,
) -> TestResult:
    """Test whether a model prefers the published order of rows (Oren et al. 2023).

    A model that never saw the file gives all orders of exchangeable rows the same chance, so the
    rank of the canonical order among B random ones is uniform on 1, ..., B + 1 in each shard, for
    every model and every law of the rows.

    ``"sum"``
        The sum of the shards' ranks, by its exact law: best where every shard is a little better.
    ``"fisher"``
        Fisher's sum of -log(rank / (B + 1)), each rounded to 0.001, by its exact law. (Chi-square
        with 2 r degrees of freedom is conservative for ranks, and much so where B is small.) Best
        where few shards are much better.
    ``"e-value"``
        1 / the largest value of `shard_e_process`: one may look after every shard, and add some.
    ``"t"``
        Student's t of log p(canonical) - mean log p(permuted) over shards.
    ``"oren"``
        That as it is published: sd with ddof=0 and p = 1 - cdf, which is 0 from about 1e-16 on. Its
        size is 5.8 %, 1.29 % and 0.14 % for 5, 1 and 0.1 % with ten normal shards.

    Parameters
    ----------
    canonical : array_like, shape (r,)
        Log-probability of each shard in the published order, nats.
    permuted : array_like, shape (r, B)
        Of the same rows in B random orders, drawn uniformly and independently.
    method : {"sum", "fisher", "e-value", "t", "oren"}
    ties, tolerance, rng
        See `shard_ranks`; of no use to the t tests.

    Returns
    -------
    TestResult
        `alternative` is "greater": the canonical order is more likely. The statistic is the number
        of permutations that are beaten, over all shards ("sum"); Fisher's sum; the largest log
        e-value; or t. n_effective is the number of shards.

    Raises
    ------
    ValueError
        If shapes don't fit, a log p is NaN or inf, or t has no spread to divide by.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> orders = rng.normal(size=(20, 51))
    >>> round(exchangeability_test(orders[:, 0] + 1, orders[:, 1:]).p_value, 5)
    1e-05
    """
    own, others = _log_ps(canonical, permuted)
    n, n_permutations = others.shape
    if method in ("t", "oren"):
        return _t_test(own, others, published=method == "oren")
    ranks = shard_ranks(own, others, ties, tolerance, rng)
    levels = n_permutations + 1
    said = f"{ties} ranks among {levels} orders"
    if method == "sum":
        statistic = float(np.sum(levels - ranks))
        law = np.full(levels, 1 / levels)
        log_p = float(lattice_log_tail(statistic, law, n))
        name = f"sum of {said}"
    elif method == "fisher":
        scores = np.rint(-np.log(np.arange(1, levels + 1) / levels) / _STEP).astype(np.int64)
        places = int(scores[ranks - 1].sum())
        law = np.bincount(scores) / levels
        statistic, log_p = places * _STEP, float(lattice_log_tail(places, law, n))
        name = f"Fisher's combination of {said}"
    elif method == "e-value":
        statistic = float(shard_e_process(ranks, n_permutations).max())
        log_p = min(0.0, -statistic)
        name = f"e-process of {said}"
    else:
        raise ValueError(f"method must be sum, fisher, e-value, t or oren, not {method!r}")
    return TestResult(statistic, math.exp(log_p), log_p, "greater", n, name, ASSUMPTIONS)


def shard_ranks(
    canonical: ArrayLike,
    permuted: ArrayLike,
    ties: Ties = "conservative",
    tolerance: float = 0.0,
    rng: np.random.Generator | int = 0,
) -> IntArray:
    """Rank of the canonical order among all of a shard's orders, 1 for the most likely.

    Parameters
    ----------
    canonical, permuted : array_like, shapes (r,) and (r, B)
    ties : {"conservative", "randomised"}
        Orders that are as likely as the canonical one all rank before it, or it has a random place
        among them, which makes the rank exactly uniform.
    tolerance : float
        Differences up to it are ties, nats: equal texts get log-probabilities that differ by the
        rounding of sums.
    rng : Generator or int
        For randomised ties.

    Returns
    -------
    ndarray of int64, shape (r,)
        From 1 to B + 1.

    Examples
    --------
    >>> shard_ranks([3.0, 1.0], [[1.0, 2.0, 3.0], [0.0, 0.5, 0.2]])
    array([2, 1])
    """
    own, others = _log_ps(canonical, permuted)
    if tolerance < 0:
        raise ValueError(f"tolerance must not be negative, it is {tolerance}")
    before = np.sum(others > own[:, None] + tolerance, axis=1)
    tied = np.sum(others >= own[:, None] - tolerance, axis=1) - before
    if ties == "conservative":
        return np.asarray(1 + before + tied, np.int64)
    if ties != "randomised":
        raise ValueError(f"ties must be conservative or randomised, not {ties!r}")
    place = np.random.default_rng(rng).integers(0, tied + 1)
    return np.asarray(1 + before + place, np.int64)


def shard_e_process(ranks: ArrayLike, n_permutations: int) -> FloatArray:
    """Log e-value after each shard: evidence that can be added to as one goes.

    With R uniform on 1, ..., B + 1, f_k(R) = R^(k - 1) / mean of r^(k - 1) over r = 1, ..., B + 1
    has mean 1, so the product over independent shards is a martingale, and so is its average over
    k = .05, .10, ..., .95. By Ville's inequality it ever reaches 1 / alpha with probability at most
    alpha: one may stop at any shard.

    Parameters
    ----------
    ranks : array_like of int, shape (r,)
        As of `shard_ranks`.
    n_permutations : int
        B.

    Returns
    -------
    ndarray, shape (r,)
        Nats.

    Raises
    ------
    ValueError
        If a rank isn't in 1, ..., B + 1.

    Examples
    --------
    >>> np.exp(shard_e_process([1, 1, 2], 99)).round(1)
    array([  6.8,  71.4, 507.8])
    """
    r = np.asarray(ranks)
    if r.ndim != 1 or not np.array_equal(r, np.round(r)):
        raise ValueError("ranks must be whole numbers in one dimension")
    if np.any((r < 1) | (r > n_permutations + 1)):
        raise ValueError(f"ranks must lie between 1 and {n_permutations + 1}")
    levels = np.arange(1, n_permutations + 2, dtype=np.float64)
    powers = _POWERS[:, None] - 1
    log_mean = np.log(np.mean(levels**powers, axis=1, keepdims=True))
    running = np.cumsum(powers * np.log(r) - log_mean, axis=1)
    return np.asarray(np.logaddexp.reduce(running, axis=0) - math.log(len(_POWERS)))


def _t_test(own: FloatArray, others: FloatArray, *, published: bool) -> TestResult:
    from scipy import stats

    n = len(own)
    if n < 2 or not (np.isfinite(own).all() and np.isfinite(others).all()):
        raise ValueError("a t test needs two shards or more, and finite log-probabilities")
    differences = own - others.mean(axis=1)
    sd = float(differences.std(ddof=0 if published else 1))
    if sd == 0:
        raise ValueError("all shards have the same difference: t has no spread to divide by")
    statistic = float(differences.mean()) / sd * math.sqrt(n)
    if published:
        p = float(1 - stats.t.cdf(statistic, df=n - 1))
        log_p = math.log(p) if p > 0 else -math.inf
        name = "t test of shards as published (ddof=0)"
    else:
        log_p = float(stats.t.logsf(statistic, df=n - 1))
        p, name = math.exp(log_p), "t test of shards"
    return TestResult(statistic, p, log_p, "greater", n, name, ASSUMPTIONS + _NORMAL)


def _log_ps(canonical: ArrayLike, permuted: ArrayLike) -> tuple[FloatArray, FloatArray]:
    own, others = np.asarray(canonical, np.float64), np.asarray(permuted, np.float64)
    if own.ndim != 1 or others.ndim != 2 or len(own) != len(others) or 0 in others.shape:
        raise ValueError(
            f"canonical must have shape (r,) and permuted (r, B), not {own.shape}, {others.shape}"
        )
    wrong = ~(own < np.inf) | ~(others < np.inf).all(axis=1)
    if wrong.any():
        raise ValueError(f"a log-probability of shard {np.flatnonzero(wrong)[0]} isn't one")
    return own, others
