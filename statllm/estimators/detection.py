"""How well yes/no verdicts find what is there: precision, recall and F1 with their errors.

A reward model that labels steps of solutions, say: the steps of one problem depend on each other,
so the problem is the cluster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import TEstimate, ratio_estimate
from statllm.estimators.proportions import wilson
from statllm.results import Estimate, Interval

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """Verdicts against the truth, for one class.

    Attributes
    ----------
    precision, recall, f1, specificity, accuracy : Estimate
        NaN where their denominator is 0.
    true_positive, false_positive, false_negative, true_negative : int
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate
    specificity: Estimate
    accuracy: Estimate
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row per figure."""
        import pandas as pd

        return pd.concat([figure.to_frame(level) for figure in self.figures()], ignore_index=True)

    def figures(self) -> tuple[Estimate, ...]:
        """Return the five estimates."""
        return self.precision, self.recall, self.f1, self.specificity, self.accuracy


def detection(
    predicted: ArrayLike, actual: ArrayLike, clusters: ArrayLike | None = None
) -> Detection:
    """Return precision, recall, F1, specificity and accuracy of verdicts.

    With TP, FP, FN, TN the counts: precision TP / (TP + FP), recall TP / (TP + FN),
    F1 = 2 TP / (2 TP + FP + FN) (van Rijsbergen 1979, its harmonic mean), specificity
    TN / (TN + FP). Each is a ratio of two sums over rows, so its error is that of
    `statllm.estimators.comparison.ratio_estimate`: linearised, with clusters. The interval is the
    t interval of log(R / (1 - R)), turned back, which stays within 0 and 1; at R = 0 or 1, where
    there's no such thing, it is Wilson's with a cluster for a trial.

    Parameters
    ----------
    predicted, actual : array_like of bool, shape (n,)
        True: of the class that is looked for (a wrong step, say).
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster may depend on each other.

    Returns
    -------
    Detection

    Raises
    ------
    ValueError
        If lengths differ, or a value is neither 0 nor 1.

    Examples
    --------
    >>> found = detection([1, 1, 1, 0, 0], [1, 1, 0, 1, 0], clusters=["p", "p", "q", "q", "r"])
    >>> round(found.precision.value, 3), round(found.recall.value, 3), round(found.f1.value, 3)
    (0.667, 0.667, 0.667)
    >>> f"{detection([1, 1, 0, 0] * 10, [1, 0, 1, 0] * 10).f1.interval():.2f}"
    '[0.31, 0.69]'
    """
    guess, truth = _binary(predicted, "predicted"), _binary(actual, "actual")
    if len(guess) != len(truth):
        raise ValueError(f"{len(guess)} predictions and {len(truth)} truths")
    hit, false = guess * truth, guess * (1 - truth)
    missed, rest = (1 - guess) * truth, (1 - guess) * (1 - truth)
    ones = np.ones(len(guess))

    def share(part: FloatArray, of: FloatArray, name: str) -> Estimate:
        return _share(part, of, clusters, name)

    return Detection(
        share(hit, guess, "precision"),
        share(hit, truth, "recall"),
        share(2 * hit, guess + truth, "F1"),
        share(rest, 1 - truth, "specificity"),
        share(hit + rest, ones, "accuracy"),
        *(int(part.sum()) for part in (hit, false, missed, rest)),
    )


def f1_difference(
    first: ArrayLike, second: ArrayLike, actual: ArrayLike, clusters: ArrayLike | None = None
) -> TEstimate:
    """F1 of the second verdicts minus that of the first, on the same rows.

    Both F1 are ratios R = sum y / sum w; the difference is linearised row by row,
    d = (y2 - R2 w2) / W2 - (y1 - R1 w1) / W1, so that what both find hard cancels.

    Parameters
    ----------
    first, second, actual : array_like of bool, shape (n,)
    clusters : array_like, shape (n,), optional

    Returns
    -------
    TEstimate
        NaN where one has no F1.

    Raises
    ------
    ValueError
        If lengths differ, or a value is neither 0 nor 1.

    Examples
    --------
    >>> gain = f1_difference([1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0])
    >>> round(gain.value, 3)
    0.333
    """
    truth = _binary(actual, "actual")
    parts, values = [], []
    for given, name in ((first, "first"), (second, "second")):
        guess = _binary(given, name)
        if len(guess) != len(truth):
            raise ValueError(f"{len(guess)} verdicts ({name}) and {len(truth)} truths")
        y, w = 2 * guess * truth, guess + truth
        total = float(w.sum())
        values.append(float(y.sum()) / total if total else math.nan)
        parts.append((y - values[-1] * w) / total if total else np.full(len(w), math.nan))
    n = len(truth)
    # A mean of n (part2 - part1) has the linearised difference's error; its own value is 0.
    found = ratio_estimate(
        n * (parts[1] - parts[0]), np.ones(n), "difference of F1", "", clusters, "linearised"
    )
    value = values[1] - values[0]

    def interval(level: float) -> Interval:
        around = found.interval(level)
        return Interval(value + around.low, value + around.high, level, around.method)

    return replace(found, value=value, interval_of=interval)


def _share(part: FloatArray, of: FloatArray, clusters: ArrayLike | None, name: str) -> Estimate:
    labels = np.arange(len(of)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    if len(labels) != len(of):
        raise ValueError(f"{len(labels)} cluster labels for {len(of)} rows")
    counted = of > 0
    if not counted.any():
        return Estimate(math.nan, math.nan, 0, "ratio of sums", name, "share")
    found = ratio_estimate(part[counted], of[counted], name, "share", labels[counted])
    value, trials = found.value, len(np.unique(labels[counted]))

    def interval(level: float) -> Interval:
        if not 0 < value < 1:
            low, high = wilson(value * trials, trials, level)
            return Interval(float(low), float(high), level, "Wilson, a cluster for a trial")
        centre, slope = math.log(value / (1 - value)), 1 / (value * (1 - value))
        half = (found.interval(level).high - value) * slope
        return Interval(_expit(centre - half), _expit(centre + half), level, "t of the logit")

    return replace(found, interval_of=interval)


def _expit(x: float) -> float:
    return 0.0 if x < -700 else 1 / (1 + math.exp(-x))  # NaN stays


def _binary(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, one dimension was expected")
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name} must be true or false in every row")
    return array
