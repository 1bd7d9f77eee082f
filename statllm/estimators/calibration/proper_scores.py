"""Brier and log score; `corp` splits them into their parts."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration._outcomes import (
    FloatArray,
    checked,
    checked_matrix,
    design_of,
)
from statllm.estimators.comparison import ratio_estimate
from statllm.results import Estimate, Interval

Score = Literal["brier", "log"]
Missing = Literal["raise", "drop"]


def brier_score(
    probabilities: ArrayLike,
    label: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Missing = "raise",
) -> Estimate:
    """Mean squared distance of probability and outcome (Brier 1950); 0 is perfect.

    Parameters
    ----------
    probabilities : array_like of float, shape (n,) or (n, n_classes)
        Of the answer being right: (p - y)^2, at most 1. Or of each class:
        sum_k (p_k - 1[label = k])^2, at most 2, which for two classes is twice the former.
    label : array_like, shape (n,)
        Outcomes in [0, 1], or class numbers.
    weights : array_like of float, shape (n,), optional
        Sampling weights.
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster may depend on each other.
    missing : {"raise", "drop"}

    Returns
    -------
    Estimate
        t interval; n counts clusters.

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> round(brier_score([0.9, 0.6, 0.2], [1, 0, 0]).value, 4)
    0.1367
    """
    return _mean_loss(probabilities, label, "brier", weights, clusters, missing)


def log_score(
    probabilities: ArrayLike,
    label: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Missing = "raise",
) -> Estimate:
    """Mean negative log probability of what happened, in nats (log loss, NLL); 0 is perfect.

    Infinite where something happened that had probability 0. Parameters, returned value and
    exceptions as for `brier_score`.

    Examples
    --------
    >>> round(log_score([0.9, 0.6, 0.2], [1, 0, 0]).value, 4)
    0.4149
    """
    return _mean_loss(probabilities, label, "log", weights, clusters, missing)


def binary_loss(p: FloatArray, y: FloatArray, score: Score) -> FloatArray:
    """Loss of each probability."""
    if score == "brier":
        return np.asarray((p - y) ** 2)
    from scipy import special

    return np.asarray(-special.xlogy(y, p) - special.xlog1py(1 - y, -p))


def _mean_loss(
    probabilities: ArrayLike,
    label: ArrayLike,
    score: Score,
    weights: ArrayLike | None,
    clusters: ArrayLike | None,
    missing: Missing,
) -> Estimate:
    if np.ndim(probabilities) == 2:
        p, code, kept = checked_matrix(probabilities, label, missing)
        own = p[np.arange(len(p)), code]
        rows = checked(np.minimum(own, 1), np.ones(len(own)), *design_of(weights, clusters, kept))
        if score == "brier":
            loss = np.asarray((p**2).sum(axis=1) - 2 * own + 1)
        else:
            loss = binary_loss(rows.confidence, rows.outcome, score)
    else:
        rows = checked(probabilities, label, weights, clusters, missing)
        loss = binary_loss(rows.confidence, rows.outcome, score)
    loss = np.where(rows.weight > 0, loss, 0.0)
    name, unit = ("Brier score", "squared probability") if score == "brier" else ("NLL", "nats")
    if not np.isfinite(loss).all():

        def interval_of(level: float) -> Interval:
            return Interval(math.nan, math.inf, level, "infinite loss")

        return Estimate(math.inf, math.nan, rows.n_units, "mean", name, unit, interval_of)
    return ratio_estimate(rows.weight * loss, rows.weight, name, unit, rows.clusters, "mean")
