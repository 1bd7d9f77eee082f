"""Venn-Abers prediction: two probabilities, one of which is calibrated in any finite sample."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.calibrators._base import Calibrator, FloatArray, IntArray


class VennAbers(Calibrator):
    """Inductive Venn-Abers predictor (Vovk, Petej and Fedorova 2015).

    Isotonic regression of the calibration data and the new score, labelled wrong once and right
    once, gives the new score's probabilities p0 < p1. If the data are exchangeable, the one that
    belongs to its true label is perfectly calibrated, whatever the scores; the width p1 - p0
    says how little the data tell about the score. p0 is never 1 and p1 never 0, so the merged
    probability lies strictly between.

    Parameters
    ----------
    merge : {"log", "square"}
        How `predict_proba` makes one probability of two: minimax for log loss,
        p1 / (1 - p0 + p1), or for Brier score, p1 + p0^2 / 2 - p1^2 / 2.

    Attributes
    ----------
    x_ : ndarray of float64
        The distinct scores seen.
    p0_, p1_ : ndarray of float64
        Probabilities at those scores, p0_ with one before (below all scores), p1_ with one
        after (above all).

    Notes
    -----
    Fitting sorts and then takes time linear in the number of scores, prediction is a binary
    search. Every isotonic regression is the slope of a greatest convex minorant; the slope over
    the new point is that of the tangent common to the points before and after it, and the two
    points of contact only move forward as the new score grows. The new score has a weight of one,
    so weights should be in units of rows; with unequal ones the guarantee is no longer exact.

    Examples
    --------
    >>> model = VennAbers().fit([0.1, 0.3, 0.5, 0.7, 0.9], [0, 0, 1, 0, 1])
    >>> p0, p1 = model.interval([0.2, 0.7])
    >>> p0.round(3), p1.round(3)
    (array([0.   , 0.333]), array([0.5  , 0.667]))
    >>> model.predict_proba([0.7])[:, 1]
    array([0.5])
    """

    x_: FloatArray
    p0_: FloatArray
    p1_: FloatArray

    def __init__(self, merge: Literal["log", "square"] = "log") -> None:
        self.merge = merge

    def interval(self, score: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return p0 and p1 of each score, shape (n,) each.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If a score is NaN.
        """
        self._require_fitted()
        scores = self._scores(score)
        # Between two scores seen, a right answer is pooled with the next above it and a wrong
        # one with the next below.
        p0 = self.p0_[np.searchsorted(self.x_, scores, side="right")]
        p1 = self.p1_[np.searchsorted(self.x_, scores, side="left")]
        return p0, p1

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        if self.merge not in ("log", "square"):
            raise ValueError(f"merge must be log or square, not {self.merge!r}")
        self.x_, group = np.unique(scores, return_inverse=True)
        if np.all(weights == np.rint(weights)):
            weights = weights.astype(np.int64)
        count, right = (_grouped(group, each) for each in (weights, weights * labels))
        self.p1_ = _with_right(count, right)
        # Turned round, a wrong answer is a right one.
        self.p0_ = 1 - _with_right(count[::-1], (count - right)[::-1])[::-1]

    def _probability(self, scores: FloatArray) -> FloatArray:
        p0, p1 = self.interval(scores)
        if self.merge == "log":
            return p1 / (1 - p0 + p1)
        return p1 + p0**2 / 2 - p1**2 / 2


def _grouped(group: NDArray[np.intp], values: NDArray[Any]) -> NDArray[Any]:
    """Sums of each group, whole if the values are."""
    return np.bincount(group, values).astype(values.dtype)


def _with_right(count: NDArray[Any], right: NDArray[Any]) -> FloatArray:
    """Isotonic fit at each group after one right answer is added to it; at last, above all.

    Points (w, y) are cumulative counts and right answers. Adding a right answer to group i moves
    the points from i on by (1, 1); the fit at i is the slope of the line that touches the convex
    minorants of the points before i and of the moved ones. Whole numbers keep it exact; weights
    may be anything.
    """
    w = [0, *np.cumsum(count).tolist()]
    y = [0, *np.cumsum(right).tolist()]
    k = len(count)
    following = _next_corner(w, y)
    out = np.empty(k + 1)
    before = [0]  # corners of the minorant of the points before i, from the contact on
    a, b = 0, 1  # places of the contacts: before[a], and point b
    for i in range(1, k + 2):
        # The last round, above all scores, has the last point on both sides.
        b = max(b, min(i, k))
        while True:
            first = before[a]
            dw, dy = w[b] + 1 - w[first], y[b] + 1 - y[first]
            after = following[b]
            if after and (y[after] - y[b]) * dw < dy * (w[after] - w[b]):
                b = after
                continue
            if a + 1 < len(before):
                second = before[a + 1]
                if (y[second] - y[first]) * dw < dy * (w[second] - w[first]):
                    a += 1
                    continue
            break
        out[i - 1] = dy / dw
        if i <= k:  # point i joins those before
            while len(before) - a > 1 and _not_convex(w, y, before[-2], before[-1], i):
                before.pop()
            before.append(i)
    return out


def _next_corner(w: list[Any], y: list[Any]) -> list[int]:
    """For each point, the next corner of the minorant of it and all after; 0 after the last."""
    following = [0] * len(w)
    for i in range(len(w) - 2, -1, -1):
        j = i + 1
        while following[j] and _not_convex(w, y, i, j, following[j]):
            j = following[j]
        following[i] = j
    return following


def _not_convex(w: list[Any], y: list[Any], i: int, j: int, k: int) -> bool:
    """Whether point j lies on or above the line from i to k."""
    return bool((y[j] - y[i]) * (w[k] - w[i]) >= (y[k] - y[i]) * (w[j] - w[i]))
