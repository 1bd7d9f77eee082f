"""Does a score tell right answers from wrong ones?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]


def auroc(
    score: ArrayLike,
    label: ArrayLike,
    interval: Literal["logit", "plain"] = "logit",
    missing: Literal["raise", "drop"] = "raise",
    name: str = "AUROC",
) -> Estimate:
    """Area under the ROC curve: the probability that a right answer scores above a wrong one.

    Ties count one half. The standard error is that of DeLong, DeLong and Clarke-Pearson (1988),
    from midranks in O(n log n) (Sun and Xu 2014): with V10_i the share of negatives below
    positive i and V01_j the share of positives above negative j,
    se^2 = var(V10) / n_positive + var(V01) / n_negative.

    Parameters
    ----------
    score : array_like of float, shape (n,)
        Larger means more confident.
    label : array_like of bool, shape (n,)
        Whether the answer is right.
    interval : {"logit", "plain"}
        ``"logit"``: normal on the scale ln(A / (1 - A)), which stays inside (0, 1).
        ``"plain"``: A ± z se. Where the classes are separated completely (A = 0 or 1) the
        DeLong error is 0 and both give the exact binomial limit that pairing the two classes
        off, min(n_positive, n_negative) concordant pairs, allows.
    missing : {"raise", "drop"}
        What to do about NaN scores.
    name : str

    Returns
    -------
    Estimate
        n counts scores. NaN unless both labels occur; the error needs two of each.

    Raises
    ------
    ValueError
        If lengths differ, a label isn't 0 or 1, or a score is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> area = auroc([0.9, 0.8, 0.8, 0.3, 0.1], [True, True, False, True, False])
    >>> round(area.value, 4), round(area.se, 4)
    (0.75, 0.2887)
    """
    if interval not in ("logit", "plain"):
        raise ValueError(f"interval must be logit or plain, not {interval!r}")
    scores, right = _checked(score, label, missing)
    positive, negative = scores[right], scores[~right]
    m, n = len(positive), len(negative)
    above, below = _placements(positive, negative)
    value = float(above.mean()) if m and n else float("nan")
    se = float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)) if min(m, n) > 1 else np.nan

    def interval_of(level: float) -> Interval:
        if value in (0.0, 1.0):
            from statllm.estimators.proportions import clopper_pearson

            low, high = clopper_pearson(value * min(m, n), min(m, n), level)
            return Interval(float(low), float(high), level, "exact, separated classes")
        return _normal_interval(value, se, level, interval)

    return Estimate(value, se, m + n, "AUROC, DeLong", name, "probability", interval_of)


def _placements(positive: FloatArray, negative: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each positive the share of negatives below it; for each negative, of positives above."""
    if not len(positive) or not len(negative):
        return np.empty(0), np.empty(0)
    ordered_negative, ordered_positive = np.sort(negative), np.sort(positive)
    above = _midrank(ordered_negative, positive) / len(negative)
    below = 1 - _midrank(ordered_positive, negative) / len(positive)
    return above, below


def _midrank(ordered: FloatArray, values: FloatArray) -> FloatArray:
    """How many of `ordered` lie below each value, ties one half."""
    left = np.searchsorted(ordered, values, side="left")
    right = np.searchsorted(ordered, values, side="right")
    return (left + right) / 2.0


def _normal_interval(value: float, se: float, level: float, scale: str) -> Interval:
    """Normal interval on the scale named."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.5 + level / 2)
    if scale == "plain":
        return Interval(value - z * se, value + z * se, level, "normal")
    centre, spread = np.log(value / (1 - value)), z * se / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-centre + spread)), 1 / (1 + np.exp(-centre - spread))
    return Interval(float(low), float(high), level, "normal on the logit scale")


def _checked(
    score: ArrayLike, label: ArrayLike, missing: str
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Scores and labels without missing values."""
    scores, labels = np.asarray(score, dtype=np.float64), np.asarray(label)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"score and label must be two arrays of one length, not {scores.shape}, {labels.shape}"
        )
    if not np.isin(labels, [0, 1]).all():
        raise ValueError("labels must be true or false (1 or 0)")
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be raise or drop, not {missing!r}")
    lost = np.isnan(scores)
    if lost.any() and missing == "raise":
        raise ValueError(f"{lost.sum()} of {len(scores)} scores are NaN; missing='drop' drops them")
    return scores[~lost], labels[~lost].astype(bool)
