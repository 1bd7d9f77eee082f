"""How much likelier a mark is under a watermark than by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks
from statllm.estimators.watermark.nulls import optimal_score

#: Strengths that differ from mark to mark are rounded down to these.
_LEVELS = np.geomspace(1e-3, 0.999, 256)


def log_ratios(marks: Marks, strength: ArrayLike) -> FloatArray:
    """Return the log-density ratio of each mark, watermarked against by chance.

    With strength Delta a pivot has the ratio exp(h_Delta(y)) of the least-favourable law (Li, Ruan,
    Wang, Long and Su 2024); a token is green with probability g + Delta (1 - g); and bit l of a
    token is 1 with probability g + Delta w_l (1 - g), where w falls from 1 to .1 over the layers.
    Where two keys are mixed, the ratio is the mixture of theirs. Where lists have a fixed size, g
    is the share of greens among the targets that the seed hasn't shown yet, so that the product of
    the ratios over a document has a mean of exactly 1 by chance.

    Parameters
    ----------
    marks : Marks
        Deduplicated, in the order of the text.
    strength : array_like
        Delta in (0, 1), one or one per mark, known before the mark (the largest probability of a
        model's law is 1 - Delta, say). Strengths per mark are rounded down to 256 levels; below
        .001 the ratio is 1.

    Returns
    -------
    ndarray, shape (n,)
        Nats.

    Raises
    ------
    ValueError
        If a strength isn't in (0, 1), or there isn't one per mark.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> n = np.arange(2)
    >>> marks = Marks(np.array([1, 0], np.uint8), n.astype(np.uint64), n, n, np.array([0, 2]),
    ...               Null("green", share=0.25))
    >>> np.exp(log_ratios(marks, 0.2)).round(6)
    array([1.6, 0.8])
    """
    given = np.asarray(strength, np.float64)
    if given.ndim and given.shape != marks.seeds.shape:
        raise ValueError(f"strength must have shape {marks.seeds.shape}, not {given.shape}")
    if not np.all((given >= 0) & (given < 1)) or (given.ndim == 0 and given == 0):
        bad = given[~((given >= 0) & (given < 1))]
        raise ValueError(f"strength must lie between 0 and 1, not {bad.flat[0] if bad.size else 0}")
    if marks.null.kind == "uniform":
        return _of_pivots(marks, given)
    if marks.null.kind == "green":
        return _of_greens(marks, given)
    return _of_bits(marks, given)


def without_replacement(marks: Marks) -> FloatArray:
    """Return the probability of green of each mark, given the ones before it in its document.

    (greens - greens seen) / (vocabulary - seen) over the targets of its seed; the share itself
    where every token is coloured for itself.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> n = np.arange(3)
    >>> marks = Marks(np.array([1, 0, 1], np.uint8), np.zeros(3, np.uint64), n, n,
    ...               np.array([0, 3]), Null("green", 0.4, greens=2, vocabulary=5))
    >>> without_replacement(marks)
    array([0.4       , 0.25      , 0.33333333])
    """
    null = marks.null
    if null.greens is None or null.vocabulary is None:
        return np.full(len(marks.seeds), null.share)
    documents = marks.documents
    order = np.lexsort((marks.seeds, documents))  # stable: the text's order within a seed
    seeds, documents = marks.seeds[order], documents[order]
    first = np.ones(len(seeds), np.bool_)
    first[1:] = (seeds[1:] != seeds[:-1]) | (documents[1:] != documents[:-1])
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    green = marks.values[order].astype(np.int64)
    before = np.cumsum(green) - green
    seen_greens = before - before[starts][group]
    seen = np.arange(len(seeds)) - starts[group]
    share = np.empty(len(seeds))
    share[order] = (null.greens - seen_greens) / (null.vocabulary - seen)
    return share


def _of_pivots(marks: Marks, strength: FloatArray) -> FloatArray:
    if marks.null.mixing is None:
        return _optimal(marks.values, strength)
    first, second = (_optimal(marks.values[:, key], strength) for key in (0, 1))
    mixing = marks.null.mixing
    found: FloatArray = np.logaddexp(np.log1p(-mixing) + first, np.log(mixing) + second)
    return found


def _optimal(y: NDArray[Any], strength: FloatArray) -> FloatArray:
    if strength.ndim == 0:
        return optimal_score(y, float(strength))
    level: IntArray = np.searchsorted(_LEVELS, strength, side="right") - 1
    found = np.zeros(len(y))
    for number in np.unique(level[level >= 0]):
        at = level == number
        found[at] = optimal_score(y[at], float(_LEVELS[number]))
    return found


def _of_greens(marks: Marks, strength: FloatArray) -> FloatArray:
    share = without_replacement(marks)
    open_ = (share > 0) & (share < 1)  # a list that has shown all its greens holds no surprise
    share = np.where(open_, share, 0.5)
    raised = share + strength * (1 - share)
    ratio = np.where(marks.values == 1, raised / share, (1 - raised) / (1 - share))
    found: FloatArray = np.log(np.where(open_, ratio, 1.0))
    return found


def _of_bits(marks: Marks, strength: FloatArray) -> FloatArray:
    share = marks.null.share
    lean = np.multiply.outer(strength, np.linspace(1.0, 0.1, marks.null.depth))
    lift = np.log1p(lean * (1 - share) / share)  # of a bit that is 1
    found: FloatArray = np.where(marks.values == 1, lift, np.log1p(-lean)).sum(axis=1)
    return found
