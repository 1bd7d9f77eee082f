"""Average precision: the area under the precision-recall curve, whatever the order of ties."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.selective._coverage import Steps, checked
from statllm.estimators.selective._jackknife import Jackknife, logit_limits
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]


def average_precision(
    score: ArrayLike,
    label: ArrayLike,
    ties: Literal["step", "average"] = "step",
    missing: Literal["raise", "drop"] = "raise",
    clusters: ArrayLike | None = None,
    name: str = "average precision",
) -> Estimate:
    """Mean over the positives of the precision at their score.

    Parameters
    ----------
    score : array_like of float, shape (n,)
        Larger means more likely positive.
    label : array_like of bool, shape (n,)
        Whether the answer is right.
    ties : {"step", "average"}
        ``"step"``: tied answers are taken together, as a threshold takes them (scikit-learn's
        definition): AP = (1/m) sum over positives of TP / (TP + FP) at their score; a constant
        score has the share of positives. ``"average"``: the mean over all orders of the ties
        (McSherry and Najork 2008), which is larger; no error.
    missing : {"raise", "drop"}
        What to do about NaN scores.
    clusters : array_like, shape (n,), optional
        Rows of one cluster may depend on each other.
    name : str

    Returns
    -------
    Estimate
        Error by the infinitesimal jackknife: the derivative of AP by the weight of each answer,
        its square summed over answers or clusters. Interval: t on the logit scale; nominal 95 %
        covered 92 to 96 % in simulations with 50 or 200 answers, 85 to 90 % where two to ten
        wrong ones are expected (studies/validity). NaN without positives, and no interval where
        AP is 1.

    Raises
    ------
    ValueError
        If lengths differ, a label isn't 0 or 1, or a score is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> precision = average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1])
    >>> round(precision.value, 4), round(precision.se, 4)
    (0.8056, 0.2124)
    """
    if ties not in ("step", "average"):
        raise ValueError(f"ties must be step or average, not {ties!r}")
    scores, right, groups = checked(score, label, missing, clusters)
    if not np.isin(right, [0, 1]).all():
        raise ValueError("labels must be true or false (1 or 0)")
    positives = float(right.sum())
    if not positives:
        return Estimate(math.nan, math.nan, len(scores), "average precision", name, "share")
    steps = Steps.of_scores(scores, right)
    if ties == "average":
        value = _averaged(steps) / positives
        return Estimate(value, math.nan, steps.n, "AP, ties averaged", name, "share")
    precision = steps.kept_total / steps.kept
    value = float(steps.total @ precision) / positives

    # By the weight of answer j: its own term, and its part in the precision of all positives
    # that score as low or lower.
    def from_below(x: FloatArray) -> FloatArray:
        sums: FloatArray = np.cumsum(x[::-1])[::-1][steps.of]
        return sums

    own = right * (precision[steps.of] - value)
    others = right * from_below(steps.total / steps.kept)
    slope = (own + others - from_below(steps.total * precision / steps.kept)) / positives
    spread = Jackknife.linear(steps.n * slope, groups)

    def interval_of(level: float) -> Interval:
        if value == 1 or math.isnan(spread.se):
            return Interval(math.nan, math.nan, level, "undefined")
        low, high = logit_limits(value, spread.half_width(level), 1.0)
        return Interval(low, high, level, f"t({spread.units - 1}) on the logit scale")

    return Estimate(value, spread.se, spread.units, "AP, step", name, "share", interval_of)


def _averaged(steps: Steps) -> float:
    """Expected sum of precisions at the positives over random orders of the ties.

    With p positives among s answers above a group of g that holds r positives, place i is
    positive with probability r / g, and (i - 1)(r - 1) / (g - 1) of those before it are too.
    """
    place = np.arange(steps.n) - np.repeat(steps.before, steps.size)  # i - 1
    r, g = np.repeat(steps.total, steps.size), np.repeat(steps.size, steps.size)
    before = np.repeat(steps.kept_total - steps.total, steps.size)
    expected = before + 1 + place * (r - 1) / np.maximum(g - 1, 1)
    return float((r / g * expected / np.arange(1, steps.n + 1)).sum())
