"""Verdicts on pairs that were shown in both orders: what they agree on, and how far place counts.

Verdicts are numbers by place, as `parse_pairwise` gives them: 1 the response shown first is
better, -1 the second, 0 a tie, NaN where the text couldn't be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import mcnemar
from statllm.estimators.judge_audit.swaps import both_orders, verdicts_by_place
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
    a, b = both_orders(forward, backward)
    failed = np.isnan(a) | np.isnan(b)
    same = a == -b
    differ = ~same & ~failed
    outcome = np.where(same, a, 0.0 if inconsistent == "tie" else np.nan)
    outcome[failed] = np.nan
    return CombinedVerdicts(outcome, same & (a != 0), same & (a == 0), differ, failed)


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
    v = verdicts_by_place(verdicts, "verdicts")
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


def _decided(verdicts: ArrayLike) -> tuple[int, int]:
    """Verdicts for the first place, and those for either."""
    values = verdicts_by_place(verdicts, "verdicts")
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
