"""Plackett-Luce ratings from rankings of two or more items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.ranking import _separation as separation
from statllm.estimators.ranking.records import check_scale, coded
from statllm.estimators.ranking.response_elo import ELO_SCALE
from statllm.estimators.ranking.result import Ranking

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def plackett_luce(
    rankings: Sequence[Sequence[Any]],
    *,
    unranked: Sequence[Sequence[Any]] | None = None,
    clusters: ArrayLike | None = None,
    covariance: Literal["auto", "model", "sandwich"] = "auto",
    prior_ties: float = 0.0,
    scale: float = ELO_SCALE,
) -> Ranking:
    """Rate items by maximum likelihood of rankings (Luce 1959; Plackett 1975).

    A ranking picks its first item with probability proportional to exp(e) among all of its
    items, the second among the rest, and so on. A ranking of two is a battle. Rankings may leave
    items out, and may be of the top only: give the rest as `unranked`.

    Parameters
    ----------
    rankings : sequence of sequences of labels
        Each best first.
    unranked : sequence of sequences of labels, optional
        Items that a ranking had before it and placed below all that it lists, in no order.
    clusters : array_like, shape (number of rankings,), optional
        What rankings share: the prompt, the judge.
    covariance : {"auto", "model", "sandwich"}
        auto: sandwich with clusters, else model. As for `bradley_terry`.
    prior_ties : float
        Battles against every other item, half won, that each item has on top, spread evenly; see
        `bradley_terry`. 0: plain maximum likelihood, whose ratings are infinite or NaN where some
        items are never placed below others (`separated`).
    scale : float

    Returns
    -------
    Ranking
        `n_battles` counts rankings.

    Raises
    ------
    ValueError
        If there are no rankings, one has fewer than two items or an item twice (its number is
        named), lengths differ, or an option isn't known.

    Examples
    --------
    >>> found = plackett_luce([["x", "y", "z"], ["x", "z", "y"], ["y", "x", "z"], ["z", "x", "y"]])
    >>> found.models, found.rating.round(1)
    (('x', 'y', 'z'), array([136., -68., -68.]))
    """
    if covariance not in ("auto", "model", "sandwich"):
        raise ValueError(f"covariance must be auto, model or sandwich, not {covariance!r}")
    if not 0 <= prior_ties < math.inf:
        raise ValueError(f"prior_ties must be finite and not negative, not {prior_ties}")
    check_scale(scale)
    models, lists, n_ranked = _coded(rankings, unranked)
    k = len(models)
    stage, item, chosen, source = _stages(lists, n_ranked)
    winner, loser = np.repeat(chosen, np.bincount(stage)), item
    other = winner != loser
    separated = separation.groups_of(k, winner[other], loser[other])[0] > 1
    finite = prior_ties > 0 or not separated
    x, full, value, df = np.full(k, math.nan), np.full((k, k), math.nan), math.nan, math.inf
    ways = None if clusters is None else coded(np.asarray(clusters), "clusters")[1]
    if ways is not None and len(ways) != len(lists):
        raise ValueError(f"{len(ways)} cluster labels for {len(lists)} rankings")
    if finite:
        model = _Stages(k, stage, item, chosen, prior_ties / (2 * max(k - 1, 1)))
        x = model.maximum()
        value, _, information = model.evaluate(x)
        level = float(np.trace(information)) / k
        full = np.asarray(np.linalg.inv(information + level / k) - 1 / (level * k))
        if covariance == "sandwich" or (covariance == "auto" and ways is not None):
            groups = np.arange(len(lists)) if ways is None else ways
            full, df = _sandwich(model, x, full, groups[source])
            df = math.inf if ways is None else df
        value -= model.prior_value(x)
    else:
        x = separation.limits(k, winner[other], loser[other])
    appearances = np.bincount(np.concatenate(lists), minlength=k).astype(np.float64)
    return Ranking(
        models,
        scale * x,
        scale**2 * full,
        df,
        appearances,
        np.zeros(0),
        np.zeros((0, 0)),
        (),
        value,
        separated,
        float(scale),
        "Plackett-Luce",
    )


class _Stages:
    """Choices of one item among those left, and the prior's half-won battles."""

    def __init__(
        self, k: int, stage: IntArray, item: IntArray, chosen: IntArray, half_wins: float
    ) -> None:
        self.k, self.stage, self.item, self.chosen = k, stage, item, chosen
        self.half_wins, self.n = half_wins, len(chosen)
        self.wins = np.bincount(chosen, minlength=k).astype(np.float64)

    def shares(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Each entry's probability of being chosen, and the log of each stage's sum."""
        largest = x.max()
        weight = np.exp(x[self.item] - largest)
        total = np.bincount(self.stage, weight, self.n)
        return np.asarray(weight / total[self.stage]), np.asarray(np.log(total) + largest)

    def prior_value(self, x: FloatArray) -> float:
        """Log likelihood of the prior's battles."""
        gaps = x[:, None] - x[None, :]
        off = ~np.eye(self.k, dtype=bool)
        return -self.half_wins * float(np.logaddexp(0.0, -gaps)[off].sum())

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Log likelihood with the prior's, its gradient and the information."""
        from scipy import sparse

        share, log_total = self.shares(x)
        table = sparse.coo_array((share, (self.stage, self.item)), shape=(self.n, self.k)).tocsr()
        expected: FloatArray = np.bincount(self.item, share, self.k).astype(np.float64)
        information = np.diag(expected) - (table.T @ table).toarray()
        gradient = self.wins - expected
        value = float(x[self.chosen].sum() - log_total.sum())
        if self.half_wins:
            p = np.exp(-np.logaddexp(0.0, x[None, :] - x[:, None]))  # i beats j
            weight = 2 * self.half_wins * p * (1 - p)
            np.fill_diagonal(weight, 0.0)
            information += np.diag(weight.sum(axis=1)) - weight
            gradient += 2 * self.half_wins * (0.5 - p).sum(axis=1)
            value += self.prior_value(x)
        return value, gradient, information

    def maximum(self) -> FloatArray:
        """Newton's method with step halving; the maximum has to be finite."""
        x: FloatArray = np.zeros(self.k)
        value, gradient, information = self.evaluate(x)
        for _ in range(200):
            level = float(np.trace(information)) / self.k
            step = np.linalg.solve(information + level / self.k, gradient)
            longest = float(np.abs(step).max())
            size = min(1.0, 4 / longest) if longest > 0 else 1.0
            for _halving in range(50):
                moved = x + size * step
                new = self.evaluate(moved)
                if new[0] >= value - 1e-13 * abs(value):
                    break
                size /= 2
            x = np.asarray(moved - moved.mean())
            value, gradient, information = new
            if longest <= 1e-8:
                return x
        raise ValueError("the maximum wasn't found; use prior_ties")


def _sandwich(
    model: _Stages, x: FloatArray, inverse: FloatArray, groups: IntArray
) -> tuple[FloatArray, float]:
    """H^-1 G H^-1 with the scores of groups of stages."""
    from scipy import sparse

    number = int(groups.max()) + 1
    if number < 2:
        raise ValueError("clustered errors need at least two clusters")
    share, _ = model.shares(x)
    shape = (number, model.k)
    won = sparse.coo_array((np.ones(model.n), (groups, model.chosen)), shape=shape)
    expected = sparse.coo_array((share, (groups[model.stage], model.item)), shape=shape)
    scores = won.toarray() - expected.toarray()
    meat = number / (number - 1) * (scores.T @ scores)
    return np.asarray(inverse @ meat @ inverse), number - 1.0


def _coded(
    rankings: Sequence[Sequence[Any]], unranked: Sequence[Sequence[Any]] | None
) -> tuple[tuple[Any, ...], list[IntArray], IntArray]:
    """Labels, the codes of each ranking with its rest behind, and how many of them are ranked."""
    if not len(rankings):
        raise ValueError("there are no rankings")
    rest: Sequence[Sequence[Any]] = [()] * len(rankings) if unranked is None else unranked
    if len(rest) != len(rankings):
        raise ValueError(f"{len(rest)} lists of unranked items for {len(rankings)} rankings")
    whole = [[*ranked, *below] for ranked, below in zip(rankings, rest, strict=True)]
    for number, items in enumerate(whole):
        if len(items) < 2 or not len(rankings[number]):
            raise ValueError(f"ranking {number} doesn't place an item above another")
        if len(set(items)) < len(items):
            raise ValueError(f"ranking {number} has an item twice")
    lengths = np.array([len(items) for items in whole])
    models, codes = coded(np.array([item for items in whole for item in items]), "rankings")
    n_ranked = np.array([len(ranked) for ranked in rankings])
    return models, np.split(codes, np.cumsum(lengths)[:-1]), n_ranked


def _stages(
    lists: list[IntArray], n_ranked: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Entries (stage, item), the chosen item of each stage, and the ranking it's of."""
    entries, chosen, source = [], [], []
    for number, (items, ranked) in enumerate(zip(lists, n_ranked, strict=True)):
        for place in range(min(int(ranked), len(items) - 1)):
            entries.append(items[place:])
            chosen.append(items[place])
            source.append(number)
    stage = np.repeat(np.arange(len(entries)), [len(entry) for entry in entries])
    return stage, np.concatenate(entries), np.array(chosen), np.array(source)
