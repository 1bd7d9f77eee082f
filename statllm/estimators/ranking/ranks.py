"""Intervals for ranks, from intervals for differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankIntervals:
    """Ranks of K models, 1 being the best.

    Attributes
    ----------
    models : tuple
    rank : ndarray of int64, shape (K,)
        1 + the number of models with a higher rating.
    low, high : ndarray of int64, shape (K,)
        Best and worst rank that the battles leave possible.
    level : float
    simultaneous : bool
        Whether all K intervals hold together with probability `level`, or each by itself.
    """

    models: tuple[Any, ...]
    rank: IntArray
    low: IntArray
    high: IntArray
    level: float
    simultaneous: bool


def rank_intervals(
    models: tuple[Any, ...],
    rating: ArrayLike,
    errors: ArrayLike,
    difference_se: ArrayLike,
    level: float = 0.95,
    *,
    simultaneous: bool = True,
) -> RankIntervals:
    """Intervals of ranks (Mogstad, Romano, Shaikh and Wilhelm 2024).

    A model's rank is at least 1 + the number of models that are surely better, and at most K - the
    number of those that are surely worse. Sure is what simultaneous intervals of differences,
    rating_i - rating_j ± c se_ij, say; c is the quantile of max |error_i - error_j| / se_ij over
    all pairs (`simultaneous`), or over the pairs of one model. Ranks of tied models are any between
    the lowest and the highest they could share, so the intervals also hold where models are equal.
    They err on the wide side: all of seven ranks were covered in 99.5 % of simulations or more.

    Parameters
    ----------
    models : tuple
    rating : array_like of float, shape (K,)
    errors : array_like of float, shape (D, K)
        Draws of the estimation error: from its law, or bootstrap ratings less the estimates.
    difference_se : array_like of float, shape (K, K)
    level : float
    simultaneous : bool

    Raises
    ------
    ValueError
        If `level` isn't in (0, 1), there are no draws or values aren't finite.

    Examples
    --------
    >>> errors = np.random.default_rng(0).normal(0, 1, (2000, 3))
    >>> found = rank_intervals(("x", "y", "z"), [9.0, 8.0, 0.0], errors, np.full((3, 3), 2**0.5))
    >>> found.rank, found.low, found.high
    (array([1, 2, 3]), array([1, 1, 3]), array([2, 2, 3]))
    """
    value, draws = np.asarray(rating, np.float64), np.asarray(errors, np.float64)
    se = np.asarray(difference_se, np.float64)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if draws.ndim != 2 or draws.shape[1] != len(value) or not len(draws):
        raise ValueError(f"errors must have shape (D, {len(value)}), not {draws.shape}")
    if not (np.isfinite(value).all() and np.isfinite(draws).all() and np.isfinite(se).all()):
        raise ValueError("ratings, errors and difference_se must be finite")
    k = len(value)
    safe = np.where(se > 0, se, np.inf)
    largest = np.zeros((len(draws), k))  # over the pairs of each model
    for j in range(k):
        np.max(np.abs(draws - draws[:, j : j + 1]) / safe[j], axis=1, out=largest[:, j])
    if simultaneous:
        critical = np.full(k, np.quantile(largest.max(axis=1), level))
    else:
        critical = np.quantile(largest, level, axis=0)
    gap = value[:, None] - value[None, :]
    better = gap > critical[None, :] * se  # i is surely better than j, as j's interval sees it
    worse = -gap > critical[None, :] * se
    return RankIntervals(
        models,
        1 + (gap > 0).sum(axis=0),
        1 + better.sum(axis=0),
        k - worse.sum(axis=0),
        level,
        simultaneous,
    )


def best_shares(ratings: FloatArray) -> FloatArray:
    """How often each of K models is on top of D draws of their ratings, shape (K,)."""
    return np.bincount(ratings.argmax(axis=1), minlength=ratings.shape[1]) / len(ratings)
