"""The numbers behind the figures; how they are drawn is decided in `plots`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.proportions import clopper_pearson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Course:
    """One figure of one run over its iterations; `low` and `high` are interval ends."""

    iterations: IntArray
    values: FloatArray
    low: FloatArray
    high: FloatArray


def prepare_course(metrics: Iterable[Mapping[str, Any]], name: str) -> Course | None:
    """Collect a figure over the iterations.

    Parameters
    ----------
    metrics : iterable of mappings
        Rows of metrics.parquet.
    name : str
        The figure's name up to an '@', so that "majority" finds "majority@8_accuracy".

    Returns
    -------
    Course or None
        None where no row has the name.

    Examples
    --------
    >>> row = {"iteration": 0, "name": "majority@8_accuracy", "value": .7, "low": .6, "high": .8}
    >>> prepare_course([row], "majority").values
    array([0.7])
    """
    rows = [row for row in metrics if row["name"].split("@")[0] == name]
    if not rows:
        return None
    rows.sort(key=lambda row: row["iteration"])
    values, low, high = (
        np.array([row[key] for row in rows], dtype=np.float64) for key in ("value", "low", "high")
    )
    return Course(np.array([row["iteration"] for row in rows]), values, low, high)


def share_edges(k: int) -> FloatArray:
    """Return bins for shares of k votes.

    Each of 1/k, ..., 1 lies in the middle of a bin of its own, up to k = 16; shares of fewer
    votes go to the nearest. For larger k there are ten bins from 0 to 1.

    Examples
    --------
    >>> share_edges(2)
    array([0.25, 0.75, 1.25])
    """
    return (np.arange(k + 1) + 0.5) / k if k <= 16 else np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True)
class Reliability:
    """How often the majority answer is right, by its share of the votes.

    Attributes
    ----------
    edges : ndarray, shape (n_bins + 1,)
        Bins of vote share, closed on the right.
    count, correct : ndarray, shape (n_bins,)
        Problems, and those whose majority answer is right.
    share, accuracy, low, high : ndarray, shape (n_bins,)
        Mean share, accuracy and its 95 % Clopper-Pearson limits; NaN in an empty bin.
    n_unknown : int
        Problems without a vote or a verdict; they are in no bin.
    """

    edges: FloatArray
    count: IntArray
    correct: FloatArray
    share: FloatArray
    accuracy: FloatArray
    low: FloatArray
    high: FloatArray
    n_unknown: int


def prepare_reliability(share: ArrayLike, correct: ArrayLike, k: int) -> Reliability:
    """Count right majority answers by vote share.

    Parameters
    ----------
    share, correct : array_like of float, shape (n,)
        NaN where a problem has no vote (or no verdict).
    k : int
        Votes per problem, at most; decides the bins, see `share_edges`.

    Examples
    --------
    >>> r = prepare_reliability([0.5, 0.5, 1.0, 1.0, float("nan")], [1, 0, 1, 1, 0], k=2)
    >>> r.count, r.accuracy, r.n_unknown
    (array([2, 2]), array([0.5, 1. ]), 1)
    """
    shares = np.asarray(share, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    known = np.isfinite(shares) & np.isfinite(right)
    edges = share_edges(k)
    n_bins = len(edges) - 1
    place = np.clip(np.searchsorted(edges, shares[known], side="left") - 1, 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    hits = np.asarray(np.bincount(place, weights=right[known], minlength=n_bins), np.float64)
    with np.errstate(invalid="ignore"):
        accuracy = hits / count
        mean_share = np.bincount(place, weights=shares[known], minlength=n_bins) / count
    low, high = clopper_pearson(hits, count)
    empty = count == 0
    low, high = np.where(empty, np.nan, low), np.where(empty, np.nan, high)
    n_unknown = int((~known).sum())
    return Reliability(edges, count, hits, mean_share, accuracy, low, high, n_unknown)


@dataclass(frozen=True)
class Histogram:
    """Shares of units by value.

    Attributes
    ----------
    edges : ndarray, shape (n_bins + 1,)
    share : ndarray, shape (n_bins,)
        Share of the `n` values in each bin; they add up to 1.
    n : int
        Values counted.
    n_unknown : int
        Values that were NaN.
    """

    edges: FloatArray
    share: FloatArray
    n: int
    n_unknown: int


def prepare_histogram(values: ArrayLike, edges: ArrayLike) -> Histogram:
    """Count values in bins; the outermost bins also take what lies beyond.

    Examples
    --------
    >>> prepare_histogram([0.1, 0.2, 0.9, float("nan")], [0.0, 0.5, 1.0]).share.round(3)
    array([0.667, 0.333])
    """
    x, bounds = np.asarray(values, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    known = np.isfinite(x)
    inside = np.clip(x[known], bounds[0], bounds[-1])
    counts, _ = np.histogram(inside, bounds)
    share = counts / max(len(inside), 1)
    return Histogram(bounds, share, len(inside), int((~known).sum()))


def entropy_edges(values: Iterable[ArrayLike], k: int, n_bins: int = 16) -> FloatArray:
    """Return bins from 0 to ln k, the largest plug-in entropy, or to what a correction reaches.

    Examples
    --------
    >>> entropy_edges([[0.0, 1.2]], k=8, n_bins=2).round(4)
    array([0.    , 1.0397, 2.0794])
    """
    top = max((float(np.nanmax(v)) for v in map(_floats, values) if _any_known(v)), default=0.0)
    return np.linspace(0.0, max(math.log(max(k, 2)), top), n_bins + 1)


@dataclass(frozen=True)
class Curve:
    """A training curve of one iteration, thinned.

    Attributes
    ----------
    progress : ndarray, shape (n_points,)
        Middle of each block of steps, as a share of the iteration's steps.
    mean, low, high : ndarray, shape (n_points,)
        Mean, smallest and largest value of the block.
    block : int
        Steps in a block.
    """

    progress: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    block: int


def prepare_curve(values: ArrayLike, max_points: int = 40) -> Curve:
    """Average consecutive steps so that a long training takes no more space than a short one.

    Examples
    --------
    >>> curve = prepare_curve([4.0, 2.0, 1.0, 1.0], max_points=2)
    >>> curve.mean, curve.progress, curve.block
    (array([3., 1.]), array([0.25, 0.75]), 2)
    """
    y = _floats(values)
    if len(y) == 0:
        nothing = np.empty(0)
        return Curve(nothing, nothing, nothing, nothing, 1)
    block = math.ceil(len(y) / max_points)
    starts = np.arange(0, len(y), block)
    ends = np.minimum(starts + block, len(y))
    mean = np.add.reduceat(y, starts) / (ends - starts)
    low, high = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    return Curve((starts + ends) / 2 / len(y), mean, low, high, block)


def weight_edges(weights: Sequence[ArrayLike], k: int) -> FloatArray:
    """Return bins for weights: `share_edges`, since ScPO's are shares, unless some exceed 1.

    Examples
    --------
    >>> weight_edges([[0.5, 4.0]], k=2)[-1]
    np.float64(4.0)
    """
    top = max((float(np.max(w)) for w in weights), default=1.0)
    return share_edges(k) if top <= 1 else np.linspace(0.0, top, 11)


def _floats(values: ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _any_known(values: FloatArray) -> bool:
    return bool(np.isfinite(values).any())
