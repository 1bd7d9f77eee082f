"""Doubt about the data and doubt about the model in one score, by their ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Pair = tuple[ArrayLike, ArrayLike]


def mean_rank(scores: Pair, reference: Pair) -> FloatArray:
    """Mean of two scores' shares of a reference that lies at or below them.

    With perplexity and a Mahalanobis distance it's lm-polygraph's ``PPLMDSeq`` (Ren et al. 2023).

    Parameters
    ----------
    scores : pair of array_like, shape (n,)
    reference : pair of array_like, shapes (m1,) and (m2,)
        The same scores of responses known to be in order. A distance must come from rows that
        had no part in its fit.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1].

    Raises
    ------
    ValueError
        If a score is NaN, lengths differ or a reference is empty.

    Examples
    --------
    >>> mean_rank(([2.0], [5.0]), ([1.0, 2.0, 3.0, 4.0], [1.0, 9.0]))
    array([0.5])
    """
    columns = [_numbers(each, f"scores[{i}]") for i, each in enumerate(scores)]
    known = [_numbers(each, f"reference[{i}]") for i, each in enumerate(reference)]
    if len(columns) != 2 or len(known) != 2 or len(columns[0]) != len(columns[1]):
        raise ValueError("scores and reference must be pairs, scores of one length")
    if not all(len(each) for each in known):
        raise ValueError("reference must not be empty")
    shares = [
        np.searchsorted(np.sort(r), s, side="right") / len(r)
        for s, r in zip(columns, known, strict=True)
    ]
    return np.asarray((shares[0] + shares[1]) / 2)


def huq(
    epistemic: ArrayLike,
    aleatoric: ArrayLike,
    reference: Pair | None = None,
    low: float = 0.1,
    high: float = 0.9,
    alpha: float = 0.1,
) -> FloatArray:
    """Hybrid uncertainty: which of two doubts counts depends on where a response lies.

    With R ranks among the reference responses: R(aleatoric) among those of low epistemic doubt,
    if the response's own is among the lowest share `low`; R(aleatoric) among all, if besides the
    aleatoric one is above the share `high`; else (1 - α) R(epistemic) + α R(aleatoric)
    (Vazhentsev et al. 2023).

    Parameters
    ----------
    epistemic, aleatoric : array_like of float, shape (n,)
        A distance from training data and a doubt about the answer, say an entropy.
    reference : pair of array_like of one length m, optional
        Both scores of other responses: each response is ranked among them and itself. Default:
        the responses are ranked among each other, as published; then a response's score depends
        on which others are evaluated.
    low, high, alpha : float
        In [0, 1]. To be tuned on held-out data; the defaults are those of the authors' code.

    Returns
    -------
    ndarray of float64, shape (n,)
        Ranks, from 1; ties share their mean rank. Larger is more doubtful.

    Raises
    ------
    ValueError
        If lengths differ, a score is NaN, or an option isn't in [0, 1].

    Examples
    --------
    >>> huq([1.0, 2.0, 3.0, 4.0], [0.4, 0.1, 0.2, 0.3], low=0.5, high=0.9, alpha=0.5)
    array([4. , 1. , 2.5, 3.5])
    """
    e, a = _numbers(epistemic, "epistemic"), _numbers(aleatoric, "aleatoric")
    if e.shape != a.shape:
        raise ValueError(f"{len(e)} epistemic scores for {len(a)} aleatoric ones")
    for name, value in (("low", low), ("high", high), ("alpha", alpha)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {value}")
    if reference is None:
        from scipy.stats import rankdata

        m = len(e)
        e_rank, a_rank = (np.asarray(rankdata(x), dtype=np.float64) for x in (e, a))
        near = e_rank <= int(m * low)
        a_near = np.zeros(m)
        a_near[near] = rankdata(a[near])
    else:
        known = [_numbers(each, f"reference[{i}]") for i, each in enumerate(reference)]
        if len(known) != 2 or known[0].shape != known[1].shape:
            raise ValueError("reference must be a pair of scores of one length")
        m = len(known[0]) + 1
        e_rank, a_rank = _rank_among(e, known[0]), _rank_among(a, known[1])
        near = e_rank <= int(m * low)
        # A response that is near is one of the int(m low) nearest; the others are these.
        others = known[1][np.argsort(known[0], kind="stable")[: max(int(m * low) - 1, 0)]]
        a_near = _rank_among(a, others)
    total = np.where(near, a_near, (1 - alpha) * e_rank + alpha * a_rank)
    return np.where(near & (a_rank > int(m * high)), a_rank, total)


def _rank_among(values: FloatArray, reference: FloatArray) -> FloatArray:
    """Rank of each value among the reference and itself, ties at their mean."""
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, values, side="left")
    equal = np.searchsorted(ordered, values, side="right") - below
    return np.asarray(below + 1 + equal / 2)


def _numbers(values: ArrayLike, what: str) -> FloatArray:
    """One number per response, none of them missing."""
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or np.isnan(column).any():
        raise ValueError(f"{what} must be one number per response, without NaN")
    return column
