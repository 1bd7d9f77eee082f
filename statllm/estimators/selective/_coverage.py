"""Answers in order of confidence, tied ones together, and averages over the coverage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """Groups of tied scores, the most confident first.

    Attributes
    ----------
    score, size, total : ndarray, shape (n_groups,)
        Common score, number of answers and sum of their values in each group.
    of : ndarray of int64, shape (n,)
        Group of each answer.
    value : ndarray, shape (n,)
        What is summed: a loss, or a quality.
    """

    score: FloatArray
    size: IntArray
    total: FloatArray
    of: IntArray
    value: FloatArray

    @classmethod
    def of_scores(cls, score: FloatArray, value: FloatArray) -> Steps:
        """Sort and group."""
        distinct, of, size = np.unique(-score, return_inverse=True, return_counts=True)
        total = np.bincount(of, weights=value, minlength=len(distinct)).astype(np.float64)
        return cls(-distinct, size, total, of, value)

    @property
    def n(self) -> int:
        """Number of answers."""
        return len(self.value)

    @cached_property
    def kept(self) -> IntArray:
        """Number of answers with at least this score."""
        return np.cumsum(self.size)

    @cached_property
    def kept_total(self) -> FloatArray:
        """Sum of their values."""
        return np.cumsum(self.total)

    @cached_property
    def before(self) -> IntArray:
        """Number of answers with a higher score."""
        return self.kept - self.size

    def mean(self, share: float = 1.0) -> float:
        """Mean over coverages of the mean value of what is kept, ties in random order.

        The coverages are (n - K + 1) / n, ..., 1 with K = floor(share n): up to K - 1 answers
        are rejected. The answer of rank i is in the mean of k answers for every k >= i, so it
        weighs w_i = (H_n - H_max(i - 1, n - K)) / K with H the harmonic numbers; a tied one
        weighs the mean of the weights of its group's ranks, which is the expectation over
        random orders.
        """
        return float(self.value.mean()) + self.mean_excess(share)

    def mean_excess(self, share: float = 1.0) -> float:
        """`mean` less the overall mean; exactly 0 if all scores are tied."""
        weights = np.add.reduceat(rank_weights(self.n, share), self.before) / self.size
        # Centred with whole numbers, as a share of n would leave a rounding error.
        centred = self.n * self.total - self.size * self.total.sum()
        return float(weights @ centred) / self.n

    def means_without_one(self, share: float = 1.0) -> FloatArray:
        """`mean` of the other answers, for each answer, shape (n,); all in O(n log n)."""
        n = self.n
        weights = rank_weights(n - 1, share)
        first, last = self.before, self.kept - 1
        # Groups above keep their ranks; those below move up by one.
        padded = np.append(weights, 0.0)
        same = np.add.reduceat(padded, first)
        above = _shifted_sum(same / self.size * self.total)
        moved = np.add.reduceat(np.insert(weights, 0, 0.0), first) / self.size * self.total
        below = _shifted_sum(moved[::-1])[::-1]
        own = (same - padded[last]) / np.maximum(self.size - 1, 1)
        rest: FloatArray = above[self.of] + below[self.of]
        rest += own[self.of] * (self.total[self.of] - self.value)
        return rest

    def midrank_mean(self) -> float:
        """Mean of value times the share of answers that score lower, ties one half."""
        lower = self.n - self.kept + self.size / 2
        return float(self.total @ lower) / self.n**2

    def midrank_excess(self) -> float:
        """One half of the overall mean less `midrank_mean`; exactly 0 if all scores are tied."""
        return float(self.total @ (2 * self.kept - self.size - self.n)) / (2 * self.n**2)

    def midrank_means_without_one(self) -> FloatArray:
        """`midrank_mean` of the other answers, for each answer, shape (n,)."""
        lower = (self.n - self.kept + self.size / 2)[self.of]
        higher = (self.kept_total - self.total / 2)[self.of]
        # The tie of an answer with itself is in both.
        both = self.value * lower + higher - self.value / 2
        rest: FloatArray = (self.n**2 * self.midrank_mean() - both) / (self.n - 1) ** 2
        return rest


def rank_weights(n: int, share: float) -> FloatArray:
    """Weight of each rank in the mean over coverages; they add up to 1."""
    rejected = max(int(share * n + 1e-9), 1)
    # H_n - H_r as a sum from the far end: no digits are lost to cancellation.
    terms = np.where(np.arange(1, n + 1) > n - rejected, 1 / np.arange(1, n + 1), 0.0)
    tail: FloatArray = np.cumsum(terms[::-1])[::-1] / rejected
    return tail


def _shifted_sum(x: FloatArray) -> FloatArray:
    """Sum of all earlier entries."""
    return np.concatenate([[0.0], np.cumsum(x)[:-1]])


def checked(
    score: ArrayLike, correct: ArrayLike, missing: str, clusters: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray, NDArray[np.generic] | None]:
    """Scores, correctness in [0, 1] and cluster labels without the rows that lack a score."""
    scores = np.asarray(score, dtype=np.float64)
    quality = np.asarray(correct, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != quality.shape:
        raise ValueError(
            "score and correct must be two arrays of one length, "
            f"not {scores.shape} and {quality.shape}"
        )
    if not np.all((quality >= 0) & (quality <= 1)):
        raise ValueError("correct must lie between 0 (wrong) and 1 (right)")
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be raise or drop, not {missing!r}")
    lost = np.isnan(scores)
    if lost.any() and missing == "raise":
        raise ValueError(f"{lost.sum()} of {len(scores)} scores are NaN; missing='drop' drops them")
    groups = None if clusters is None else np.asarray(clusters)
    if groups is not None:
        if groups.shape != scores.shape:
            raise ValueError(f"{len(groups)} cluster labels for {len(scores)} rows")
        groups = groups[~lost]
    return scores[~lost], quality[~lost], groups
