"""The Technical Transparency Index: what a report of a reasoning model discloses, 100 points.

Items, points and published rows: Huang et al. 2024, O1 Replication Journey part 2 (2411.16489).
An item is answered yes or no; openly saying that something was not used counts as yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError

FloatArray = NDArray[np.float64]

#: Points by dimension and item.
ITEMS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "data": {
            "sources cited": 3,
            "distributions and formats": 3,
            "selection and filter criteria": 4,
            "synthetic process": 4,
        },
        "methodology": {
            "base model": 4,
            "search algorithm": 6,
            "RL algorithm": 6,
            "long-thought generation": 6,
            "full pipeline": 3,
            "compute": 2,
            "hyper-parameters": 2,
            "ablations": 4,
        },
        "evaluation": {
            "benchmark justification": 4,
            "evaluation level": 4,
            "metrics defined": 4,
            "custom metrics justified": 4,
            "metrics consistent over baselines": 4,
            "evaluation conditions": 4,
        },
        "open source": {
            "post-training data": 3,
            "long-thought data": 5,
            "weights": 5,
            "training code": 4,
            "evaluation code": 4,
            "guidance": 4,
            "technical paper": 4,
        },
    }
)
#: Most points of each dimension: 14, 33, 24, 29.
MOST: Mapping[str, int] = MappingProxyType({d: sum(items.values()) for d, items in ITEMS.items()})


@dataclass(frozen=True)
class TransparencyScore:
    """Points by dimension.

    Parameters
    ----------
    name : str
    points : mapping
        Of each dimension of `ITEMS`.

    Raises
    ------
    InputError
        If a dimension is missing or unknown, or no set of items gives its points.

    Examples
    --------
    >>> PUBLISHED[1].name, PUBLISHED[1].total
    ('O1 Journey part 1', 76)
    """

    name: str
    points: Mapping[str, int]

    def __post_init__(self) -> None:
        _check_keys(f"{self.name}: dimension", self.points, ITEMS)
        for dimension in ITEMS:
            points = self.points.get(dimension)
            if points is None:
                raise InputError(f"{self.name}: dimension {dimension!r} has no points")
            if not possible_items(dimension, points):
                raise InputError(f"{self.name}: no items of {dimension!r} give {points} points")

    @property
    def total(self) -> int:
        """Points out of 100."""
        return sum(self.points.values())

    @property
    def shares(self) -> FloatArray:
        """Share of each dimension's points, shape (4,)."""
        return np.array([self.points[d] / MOST[d] for d in ITEMS])


def check(name: str, yes: Mapping[str, Iterable[str]]) -> TransparencyScore:
    """Score a filled-in checklist.

    Parameters
    ----------
    name : str
    yes : mapping
        Items answered yes, by dimension; a dimension left out has none.

    Raises
    ------
    InputError
        Of an unknown dimension or item, or an item given twice.

    Examples
    --------
    >>> score = check("mine", {"data": ["sources cited"], "open source": ["weights"]})
    >>> score.total, dict(score.points)
    (8, {'data': 3, 'methodology': 0, 'evaluation': 0, 'open source': 5})
    """
    _check_keys(f"{name}: dimension", yes, ITEMS)
    points = {}
    for dimension, items in ITEMS.items():
        given = list(yes.get(dimension, ()))
        _check_keys(f"{name}: item of {dimension!r}", given, items)
        if len(set(given)) < len(given):
            raise InputError(f"{name}: an item of {dimension!r} is given twice")
        points[dimension] = sum(items[item] for item in given)
    return TransparencyScore(name, points)


def possible_items(dimension: str, points: int) -> list[tuple[str, ...]]:
    """Return the sets of items that give so many points: what a published row can mean.

    Examples
    --------
    >>> possible_items("data", 10)
    [('sources cited', 'distributions and formats', 'selection and filter criteria'),
     ('sources cited', 'distributions and formats', 'synthetic process')]
    """
    items = ITEMS[dimension]
    return [
        chosen
        for size in range(len(items) + 1)
        for chosen in combinations(items, size)
        if sum(items[item] for item in chosen) == points
    ]


def rank_shares(
    scores: Sequence[TransparencyScore], draws: int = 20_000, seed: int = 0
) -> FloatArray:
    """How often each score takes each rank when the weights of the dimensions are drawn.

    The index weighs the dimensions 14 : 33 : 24 : 29. Here weights are uniform over all
    non-negative ones that sum to 1 (Dirichlet(1, 1, 1, 1)), and multiply the shares of points.

    Parameters
    ----------
    scores : sequence of TransparencyScore, length m
    draws : int
    seed : int

    Returns
    -------
    ndarray, shape (m, m)
        Row: a score; column: rank, the best first. Rows and columns sum to 1; equal scores keep
        the order given. Monte Carlo se at most 0.5 / sqrt(draws).

    Raises
    ------
    ValueError
        Without scores or draws.

    Examples
    --------
    >>> float(rank_shares(PUBLISHED, draws=1000)[6, 0])  # part 2 leads under any weights
    1.0
    """
    if not scores or draws < 1:
        raise ValueError("at least one score and one draw are needed")
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(ITEMS)), draws)
    values = weights @ np.stack([score.shares for score in scores]).T
    order = np.argsort(-values, axis=1, kind="stable")
    m = len(scores)
    return np.stack([(order == i).mean(axis=0) for i in range(m)]).reshape(m, m)


def dominates(a: TransparencyScore, b: TransparencyScore) -> bool:
    """Whether a has at least b's points everywhere and more somewhere: ahead under any weights.

    Examples
    --------
    >>> dominates(PUBLISHED[6], PUBLISHED[1])
    True
    """
    return bool((a.shares >= b.shares).all() and (a.shares > b.shares).any())


def _check_keys(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"{what} {key!r} is unknown; known: {', '.join(known)}")


def _row(name: str, *points: int) -> TransparencyScore:
    return TransparencyScore(name, dict(zip(ITEMS, points, strict=True)))


#: The published leaderboard, in the paper's order. The two parts of O1 Journey score themselves.
PUBLISHED: tuple[TransparencyScore, ...] = (
    _row("Open O1", 0, 8, 20, 5),
    _row("O1 Journey part 1", 10, 33, 24, 9),
    _row("LLaMA-O1", 0, 6, 0, 5),
    _row("k0Math", 0, 0, 16, 0),
    _row("Skywork O1", 0, 0, 0, 0),
    _row("DeepSeek-R1-Lite", 0, 0, 20, 0),
    _row("O1 Journey part 2", 10, 33, 24, 12),
)
