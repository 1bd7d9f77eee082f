"""Verdicts on pairs that were shown in both orders: what they agree on, and how far place counts.

Verdicts are numbers by place, as `parse_pairwise` gives them: 1 the response shown first is
better, -1 the second, 0 a tie, NaN where the text couldn't be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import mcnemar, mean_estimate
from statllm.estimators.proportions import proportion
from statllm.results import Estimate, TestResult

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CombinedVerdicts:
    """One verdict per pair (a, b); every array has length n_pairs.

    Attributes
    ----------
    outcome : ndarray of float64
        1 a is better, -1 b, 0 a tie, NaN where an order failed.
    agree, tie, inconsistent, failed : ndarray of bool
        Exactly one is true: both orders prefer the same response; both say tie; they differ; at
        least one has no verdict.
    """

    outcome: FloatArray
    agree: BoolArray
    tie: BoolArray
    inconsistent: BoolArray
    failed: BoolArray

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by what became of them; they add up to all."""
        names = ("agree", "tie", "inconsistent", "failed")
        return {name: int(getattr(self, name).sum()) for name in names}


def combine_orders(
    forward: ArrayLike, backward: ArrayLike, inconsistent: Literal["tie", "null"] = "tie"
) -> CombinedVerdicts:
    """Combine the verdicts on (a, b) and on (b, a) into one.

    Parameters
    ----------
    forward, backward : array_like of float, shape (n,)
        Verdicts by place; a was shown first in `forward`, b in `backward`.
    inconsistent : {"tie", "null"}
        What orders that differ amount to (a preference against a tie differs, too): a tie, as in
        MT-bench (Zheng et al. 2023), or no verdict, which is NaN.

    Returns
    -------
    CombinedVerdicts

    Raises
    ------
    ValueError
        If lengths differ, or a verdict isn't 1, 0, -1 or NaN.

    Examples
    --------
    >>> both = combine_orders([1, 1, 0, 1], [-1, 1, 0, float("nan")])
    >>> both.outcome, both.counts
    (array([ 1.,  0.,  0., nan]), {'agree': 1, 'tie': 1, 'inconsistent': 1, 'failed': 1})
    """
    if inconsistent not in ("tie", "null"):
        raise ValueError(f"inconsistent must be tie or null, not {inconsistent!r}")
    a, b = _orders(forward, backward)
    failed = np.isnan(a) | np.isnan(b)
    same = a == -b
    differ = ~same & ~failed
    outcome = np.where(same, a, 0.0 if inconsistent == "tie" else np.nan)
    outcome[failed] = np.nan
    return CombinedVerdicts(outcome, same & (a != 0), same & (a == 0), differ, failed)


@dataclass(frozen=True)
class SwapAudit:
    """How verdicts on the same pairs change when the two responses change places.

    Attributes
    ----------
    n_pairs, n_failed : int
        All pairs, and those left out because an order has no verdict.
    n_toward_first, n_toward_second : int
        Pairs whose two verdicts lean to the first place (preferred twice, or once with a tie), and
        to the second.
    consistency : Estimate
        Share of pairs on which both orders say the same, ties included; Wilson's interval, or by
        cluster.
    first_share : Estimate
        Share of verdicts for the response shown first, ties half; 0.5 without bias, whichever
        response is better, because every response was shown in both places. t interval over
        pairs or clusters; of width 0 where all pairs are alike.
    first_share_of_inconsistent : Estimate
        n_toward_first / (n_toward_first + n_toward_second), with the exact interval of Clopper and
        Pearson, which takes pairs for independent.
    test : TestResult
        McNemar's exact test of n_toward_first against n_toward_second, pairs independent.
    """

    n_pairs: int
    n_failed: int
    n_toward_first: int
    n_toward_second: int
    consistency: Estimate
    first_share: Estimate
    first_share_of_inconsistent: Estimate
    test: TestResult


def audit_swaps(
    forward: ArrayLike, backward: ArrayLike, clusters: ArrayLike | None = None
) -> SwapAudit:
    """Measure position bias and consistency on pairs shown in both orders.

    A judge that is only unsure changes its mind towards either place equally often; one with a
    position bias favours one of them.

    Parameters
    ----------
    forward, backward : array_like of float, shape (n,)
        As for `combine_orders`.
    clusters : array_like, shape (n,), optional
        Labels of pairs that depend on each other, such as those of one prompt. They enter
        `consistency` and `first_share`; the exact parts treat pairs as independent.

    Returns
    -------
    SwapAudit

    Raises
    ------
    ValueError
        As for `combine_orders`.

    Examples
    --------
    >>> audit = audit_swaps([1, 1, 1, -1, 1, 1], [1, 1, 1, 1, -1, 1])
    >>> audit.consistency.value.__round__(3), audit.first_share.value.__round__(3)
    (0.333, 0.833)
    >>> audit.test.summary()
    'McNemar, exact: statistic 4, p = 0.125 (two-sided, n = 4)'
    """
    a, b = _orders(forward, backward)
    used = ~(np.isnan(a) | np.isnan(b))
    labels = None if clusters is None else np.asarray(clusters)
    if labels is not None and labels.shape != a.shape:
        raise ValueError("clusters must have one label per pair")
    lean, same = (a + b)[used], (a == -b)[used]
    groups = None if labels is None else labels[used]
    first, second = int((lean > 0).sum()), int((lean < 0).sum())
    consistency = (
        proportion(int(same.sum()), len(same), name="consistency under swap")
        if groups is None
        else mean_estimate(same, groups, "consistency under swap", "share")
    )
    return SwapAudit(
        len(a),
        int((~used).sum()),
        first,
        second,
        consistency,
        mean_estimate(0.5 + lean / 4, groups, "share of the first place", "share"),
        proportion(
            first, first + second, "clopper-pearson", "first place among inconsistent pairs"
        ),
        mcnemar(lean < 0, lean > 0),
    )


def first_place_share(verdicts: ArrayLike) -> Estimate:
    """Share of decided verdicts for the response shown first, with its exact interval.

    For verdicts on pairs shown once, in random order. Where the order isn't random, or each pair
    was shown twice, use `audit_swaps`: there the better response may have been first more often,
    and two verdicts on one pair aren't independent.

    Examples
    --------
    >>> share = first_place_share([1, 1, 1, -1, 0, float("nan")])
    >>> f"{share.value} {share.interval():.3f} {share.n}"
    '0.75 [0.194, 0.994] 4'
    """
    first, n = _decided(verdicts)
    return proportion(first, n, "clopper-pearson", "share of the first place")


def first_place_test(verdicts: ArrayLike) -> TestResult:
    """Exact binomial test of `first_place_share` = 1/2, under the same conditions.

    Examples
    --------
    >>> first_place_test([1] * 9 + [-1]).summary()
    'binomial, exact: statistic 9, p = 0.0215 (two-sided, n = 10)'
    """
    first, n = _decided(verdicts)
    picks = np.arange(n) < first
    test = mcnemar(~picks, picks)  # its conditional law is this binomial
    return TestResult(
        test.statistic,
        test.p_value,
        test.log_p_value,
        test.alternative,
        n,
        "binomial, exact",
        "pairs are independent, each shown once in random order",
    )


def battle_matrix(
    prompt: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    verdicts: ArrayLike,
    n_prompts: int,
    n_responses: int,
    ties: Literal["half", "none"] = "half",
) -> FloatArray:
    """Count the wins of each response over each other, prompt by prompt.

    Parameters
    ----------
    prompt, first, second : array_like of int, shape (m,)
        The columns of `pairwise_prompts`.
    verdicts : array_like of float, shape (m,)
        By place. NaN counts for nobody.
    n_prompts, n_responses : int
        Size of the result.
    ties : {"half", "none"}
        A tie is half a win for both, or nothing, as in Thinking LLMs (Wu et al. 2024).

    Returns
    -------
    ndarray of float64, shape (n_prompts, n_responses, n_responses)
        ``[p, i, j]`` are wins of i over j, for `elo_from_battles`.

    Raises
    ------
    ValueError
        If lengths differ, an index is out of bounds, a response meets itself, or a verdict isn't
        1, 0, -1 or NaN.

    Examples
    --------
    >>> battle_matrix([0, 0], [0, 1], [1, 0], [1, 0], n_prompts=1, n_responses=2)
    array([[[0. , 1.5], [0.5, 0. ]]])
    """
    if ties not in ("half", "none"):
        raise ValueError(f"ties must be half or none, not {ties!r}")
    v = _verdicts(verdicts, "verdicts")
    p, i, j = (
        _indices(x, name, size, len(v))
        for x, name, size in (
            (prompt, "prompt", n_prompts),
            (first, "first", n_responses),
            (second, "second", n_responses),
        )
    )
    if np.any(i == j):
        raise ValueError("first and second must differ: no response meets itself")
    tied = 0.5 if ties == "half" else 0.0
    to_first = np.where(v == 1, 1.0, np.where(v == 0, tied, 0.0))
    to_second = np.where(v == -1, 1.0, np.where(v == 0, tied, 0.0))
    size = n_prompts * n_responses**2
    row = p * n_responses
    wins: FloatArray = np.bincount((row + i) * n_responses + j, to_first, size).astype(np.float64)
    wins += np.bincount((row + j) * n_responses + i, to_second, size)
    return wins.reshape(n_prompts, n_responses, n_responses)


def _verdicts(x: ArrayLike, name: str) -> FloatArray:
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or not np.all(np.isin(values, [-1, 0, 1]) | np.isnan(values)):
        raise ValueError(f"{name} must be one-dimensional, of 1, 0, -1 and NaN")
    return values


def _orders(forward: ArrayLike, backward: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = _verdicts(forward, "forward"), _verdicts(backward, "backward")
    if len(a) != len(b):
        raise ValueError(f"forward and backward must be equally long, not {len(a)} and {len(b)}")
    return a, b


def _decided(verdicts: ArrayLike) -> tuple[int, int]:
    """Verdicts for the first place, and those for either."""
    values = _verdicts(verdicts, "verdicts")
    return int((values == 1).sum()), int((np.abs(values) == 1).sum())


def _indices(x: ArrayLike, name: str, size: int, length: int) -> NDArray[np.int64]:
    index = np.asarray(x)
    if index.shape != (length,):
        raise ValueError(f"{name} must have one value per verdict")
    if not length:
        return np.zeros(0, dtype=np.int64)
    if index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= size:
        raise ValueError(f"{name} must hold whole numbers from 0 to {size - 1}")
    return index.astype(np.int64)
