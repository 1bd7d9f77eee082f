"""Pairs shown in both orders: what verdicts agree on, and how far place counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes, numbers
from statllm.estimators.comparison import mcnemar
from statllm.estimators.judge_audit.findings import FloatArray, mean_share, share
from statllm.estimators.proportions import proportion
from statllm.results import Estimate, TestResult


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
        Share of pairs on which both orders say the same, ties included; Wilson's interval, or t
        over clusters.
    first_share : Estimate
        Share of verdicts for the response shown first, ties half; 0.5 without bias, whichever
        response is better, because every response was shown in both places. t interval over
        pairs or clusters.
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

    @classmethod
    def of(
        cls, lean: FloatArray, consistent: FloatArray, clusters: NDArray[Any], n_pairs: int
    ) -> SwapAudit:
        """Audit pairs that have verdicts in both orders.

        Parameters
        ----------
        lean : ndarray of float64, shape (n,)
            Mean of both orders' verdicts by place, in [-1, 1]; positive towards the first.
        consistent : ndarray of float64, shape (n,)
            Whether both orders say the same; a share where there are several votes.
        clusters : ndarray, shape (n,)
        n_pairs : int
            With those that lack an order.
        """
        first, second = int((lean > 0).sum()), int((lean < 0).sum())
        return cls(
            n_pairs,
            n_pairs - len(lean),
            first,
            second,
            share(consistent, clusters, "consistency under swap"),
            mean_share(0.5 + lean / 2, clusters, "share of the first place"),
            proportion(
                first, first + second, "clopper-pearson", "first place among inconsistent pairs"
            ),
            mcnemar(lean < 0, lean > 0),
        )


def audit_swaps(
    forward: ArrayLike, backward: ArrayLike, clusters: ArrayLike | None = None
) -> SwapAudit:
    """Measure position bias and consistency on pairs shown in both orders.

    A judge that is only unsure changes its mind towards either place equally often; one with a
    position bias favours one of them.

    Parameters
    ----------
    forward, backward : array_like of float, shape (n,)
        Verdicts by place, 1, 0, -1 or NaN; a was shown first in `forward`, b in `backward`.
    clusters : array_like, shape (n,), optional
        Labels of pairs that depend on each other, such as those of one prompt. They enter
        `consistency` and `first_share`; the exact parts treat pairs as independent.

    Returns
    -------
    SwapAudit

    Raises
    ------
    ValueError
        If lengths differ, or a verdict isn't 1, 0, -1 or NaN.

    Examples
    --------
    >>> audit = audit_swaps([1, 1, 1, -1, 1, 1], [1, 1, 1, 1, -1, 1])
    >>> audit.consistency.value.__round__(3), audit.first_share.value.__round__(3)
    (0.333, 0.833)
    >>> audit.test.summary()
    'McNemar, exact: statistic 4, p = 0.125 (two-sided, n = 4)'
    """
    a, b = both_orders(forward, backward)
    labels = np.arange(len(a)) if clusters is None else label_codes(clusters, "clusters", len(a))
    used = ~(np.isnan(a) | np.isnan(b))
    lean = (a + b)[used] / 2
    return SwapAudit.of(lean, (lean == 0).astype(np.float64), labels[used], len(a))


def both_orders(forward: ArrayLike, backward: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Verdicts of both orders; ValueError as `audit_swaps` says."""
    a, b = verdicts_by_place(forward, "forward"), verdicts_by_place(backward, "backward")
    if len(a) != len(b):
        raise ValueError(f"forward and backward must be equally long, not {len(a)} and {len(b)}")
    return a, b


def verdicts_by_place(x: ArrayLike, name: str) -> FloatArray:
    """Verdicts 1, 0, -1 and NaN as floats; ValueError if there are others."""
    values = numbers(x, name)
    if values.ndim != 1 or not np.all(np.isin(values, [-1, 0, 1]) | np.isnan(values)):
        raise ValueError(f"{name} must be one-dimensional, of 1, 0, -1 and NaN")
    return values
