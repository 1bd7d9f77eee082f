"""Answer or abstain, with a bound on how often a wrong answer is given (FactTest)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.conformal.law import check_alpha, checked_scores

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FactTest:
    """A certainty above which answers are given.

    Attributes
    ----------
    threshold : float
        Answers are given when certainty > threshold; infinity (always abstain) when there are too
        few wrong calibration answers for alpha and delta.
    rank : int or None
        k̂, which of the sorted certainties of wrong answers the threshold is; None where there
        are too few.
    n_wrong : int
        Wrong calibration answers.
    alpha, delta : float
    """

    threshold: float
    rank: int | None
    n_wrong: int
    alpha: float
    delta: float

    @property
    def note(self) -> str:
        """What to tell the reader when there's nothing but abstention; empty otherwise."""
        if self.rank is not None:
            return ""
        need = int(np.ceil(np.log(self.delta) / np.log1p(-self.alpha) - 1e-9))
        return (
            f"{self.n_wrong} wrong answers are too few for alpha = {self.alpha:g} and "
            f"delta = {self.delta:g}: at least {need} are needed, so every answer is withheld"
        )

    def answers(self, certainty: ArrayLike) -> BoolArray:
        """Say which new questions to answer.

        Raises
        ------
        ValueError
            If a certainty is NaN.
        """
        return checked_scores(certainty, "certainty") > self.threshold


def order_statistic_rank(n: int, alpha: float, delta: float) -> int | None:
    """Return the smallest k with P(Bin(n, 1 - alpha) >= k) <= delta; None if there is none.

    The k-th smallest of n draws then exceeds the 1 - alpha quantile except with probability
    at most delta (Tong, Feng and Li 2018, Neyman-Pearson classification).

    Examples
    --------
    >>> order_statistic_rank(100, 0.1, 0.05), order_statistic_rank(20, 0.1, 0.05)
    (96, None)
    """
    from scipy import stats

    check_alpha(alpha)
    check_alpha(delta, "delta")
    if n < 0:
        raise ValueError(f"n must not be negative, it is {n}")
    tails = stats.binom.sf(np.arange(n), n, 1 - alpha)  # at k - 1: P(X >= k)
    good = np.flatnonzero(tails <= delta)
    return int(good[0]) + 1 if len(good) else None


def fact_test(
    certainty: ArrayLike, correct: ArrayLike, alpha: float = 0.1, delta: float = 0.05
) -> FactTest:
    """Calibrate when to answer: P(answered | the answer is wrong) <= alpha (FactTest).

    The null hypothesis is "the answer is wrong". Of the n0 wrong calibration answers with
    certainties T_(1) <= ... <= T_(n0), the threshold is T_(k), k = `order_statistic_rank` (Nie
    et al. 2024). With probability 1 - delta over calibration sets, at most alpha of the wrong
    answers are given, whatever the distribution of the certainty and with any ties. The bound is
    on wrong answers among wrong ones, not among the answers given; for that see
    `conformal_selection`.

    Parameters
    ----------
    certainty : array_like of float, shape (n,)
        Larger is surer: a vote share, minus an entropy. Not fitted on these questions.
    correct : array_like of bool, shape (n,)
    alpha : float
        Type I error.
    delta : float
        Probability that the type I error is larger.

    Returns
    -------
    FactTest

    Raises
    ------
    ValueError
        If lengths differ, a certainty is NaN, or a label isn't 0 or 1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> correct = rng.random(400) < 0.6
    >>> certainty = rng.normal(size=400) + 2 * correct
    >>> test = fact_test(certainty, correct)
    >>> test.rank, test.n_wrong, bool(test.answers([3.0])[0])
    (165, 175, True)
    """
    values, labels = checked_scores(certainty, "certainty"), np.asarray(correct)
    if labels.shape != values.shape:
        raise ValueError(f"correct must be {len(values)} labels, not of shape {labels.shape}")
    if not np.isin(labels, [0, 1]).all():
        raise ValueError("labels must be true or false (1 or 0)")
    wrong = np.sort(values[~labels.astype(bool)])
    rank = order_statistic_rank(len(wrong), alpha, delta)
    threshold = float("inf") if rank is None else float(wrong[rank - 1])
    return FactTest(threshold, rank, len(wrong), alpha, delta)
