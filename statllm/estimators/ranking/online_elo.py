"""Elo's update, battle after battle: it depends on their order, so it's averaged over orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators._arrays import whole
from statllm.estimators.ranking.records import Battles

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OnlineElo:
    """Elo ratings of K models.

    Attributes
    ----------
    models : tuple
    rating : ndarray of float64, shape (K,)
        Mean over orders.
    order_sd : ndarray of float64, shape (K,)
        Standard deviation of the rating over orders: what the order alone moves. It isn't an error
        of sampling; for that use `bradley_terry`. 0 for a single order.
    n_orders : int
    """

    models: tuple[Any, ...]
    rating: FloatArray
    order_sd: FloatArray
    n_orders: int


def online_elo(
    data: Battles,
    *,
    k: float = 4.0,
    n_orders: int = 100,
    initial: float = 1000.0,
    scale: float = 400.0,
    rng: np.random.Generator | int | None = None,
) -> OnlineElo:
    """Run Elo's update through the battles (Elo 1978).

    After a battle with result s (1, 1/2 or 0) the rating of its first model moves by
    k (s - 1 / (1 + 10^((b - a) / scale))) and the other's by as much the other way. Late battles
    count more than early ones, which suits players that change and not models that don't.

    Parameters
    ----------
    data : Battles
        Weights multiply k. Clusters and style aren't used.
    k : float
        4 is what Chatbot Arena used. The memory is about scale / k battles of a model.
    n_orders : int
        Random orders to average over; 0: the given order alone.
    initial, scale : float
        Where ratings start, and how many points are a factor of 10 in odds.
    rng : numpy.random.Generator or int, optional

    Raises
    ------
    ValueError
        If `k` or `scale` isn't positive or `n_orders` is negative.

    Examples
    --------
    >>> from statllm.estimators.ranking import battles
    >>> table = battles(["x", "x"], ["y", "y"], [1, 0])
    >>> online_elo(table, k=32, n_orders=0).rating.round(3)
    array([ 998.53, 1001.47])
    """
    n_orders = whole(n_orders, "n_orders", 0)
    if not (k > 0 and scale > 0):
        raise ValueError("k and scale must be positive")
    n, runs = len(data), max(n_orders, 1)
    generator = np.random.default_rng(rng)
    order = np.tile(np.arange(n), (runs, 1))
    if n_orders:
        order = generator.permuted(order, axis=1)
    rating = np.full((runs, data.n_models), float(initial))
    outcome, step = 1 - data.result / 2, k * data.weight
    each = np.arange(runs)
    for column in order.T:  # one battle of every order at a time
        i, j = data.first[column], data.second[column]
        expected = 1 / (1 + 10 ** ((rating[each, j] - rating[each, i]) / scale))
        move = step[column] * (outcome[column] - expected)
        rating[each, i] += move
        rating[each, j] -= move
    return OnlineElo(data.models, rating.mean(axis=0), rating.std(axis=0), n_orders or 1)
