"""Brier and log score, and what they are made of: miscalibration, discrimination, uncertainty."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.calibration._outcomes import FloatArray, checked, checked_matrix
from statllm.estimators.comparison import ratio_estimate
from statllm.results import Estimate, Interval

if TYPE_CHECKING:
    import pandas as pd

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


@dataclass(frozen=True)
class ScoreDecomposition:
    """What `corp_decomposition` returns: score = miscalibration - discrimination + uncertainty.

    Attributes
    ----------
    score : float
        Mean score of the confidences.
    miscalibration : float
        MCB: how much the score falls when the confidences are recalibrated; 0 is best.
    discrimination : float
        DSC: how much better recalibrated confidences are than the overall share; more is better.
    uncertainty : float
        UNC: the score of the overall share.
    unit : str
    n : int
    """

    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float
    unit: str
    n: int

    def to_frame(self) -> pd.DataFrame:
        """Return a one-row frame."""
        import pandas as pd

        return pd.DataFrame([asdict(self)])


def corp_decomposition(
    confidence: ArrayLike,
    correct: ArrayLike,
    score: Score = "brier",
    weights: ArrayLike | None = None,
    missing: Missing = "raise",
) -> ScoreDecomposition:
    """Split a score by isotonic recalibration (Dimitriadis, Gneiting and Jordan 2021).

    With r the isotonic regression of correct on confidence (pool adjacent violators) and c the
    mean of correct: MCB = S(p) - S(r), DSC = S(c) - S(r), UNC = S(c). No bins to choose, and
    MCB >= 0, DSC >= 0 in every sample, which binned decompositions don't give. Both are biased
    upwards in small samples, since r is fitted to the outcomes that it's scored on.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, or of float in [0, 1], shape (n,)
    score : {"brier", "log"}
    weights : array_like of float, shape (n,), optional
        Sampling weights.
    missing : {"raise", "drop"}

    Returns
    -------
    ScoreDecomposition
        NaN without rows.

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> parts = corp_decomposition([0.9, 0.8, 0.6, 0.4, 0.2], [1, 1, 0, 1, 0])
    >>> round(parts.miscalibration, 4), round(parts.discrimination, 4), round(parts.uncertainty, 4)
    (0.062, 0.14, 0.24)
    """
    if score not in get_args(Score):
        raise ValueError(f"score must be brier or log, not {score!r}")
    rows = checked(confidence, correct, weights, None, missing)
    unit = "squared probability" if score == "brier" else "nats"
    if not len(rows):
        return ScoreDecomposition(math.nan, math.nan, math.nan, math.nan, unit, 0)
    p, y, w = rows.confidence, rows.outcome, rows.weight
    values, group = np.unique(p, return_inverse=True)
    recalibrated = isotonic(values, group, y, w)[group]
    overall = float(np.average(y, weights=w))

    def mean_score(forecast: FloatArray) -> float:
        return float(np.average(_binary_loss(forecast, y, score), weights=w))

    original, best = mean_score(p), mean_score(recalibrated)
    constant = mean_score(np.full(len(p), overall))
    return ScoreDecomposition(original, original - best, constant - best, constant, unit, len(rows))


def isotonic(
    values: FloatArray, group: NDArray[np.intp], outcome: FloatArray, weight: FloatArray
) -> FloatArray:
    """Non-decreasing least-squares fit at each distinct confidence, clipped to [0, 1].

    `group` says which of the rising `values` each row has. Equal confidences get one value, so
    their order doesn't matter; rows without weight don't count.
    """
    from scipy import optimize

    mass = np.bincount(group, weight, len(values))
    mean = np.bincount(group, weight * outcome, len(values))
    used = mass > 0
    fit = optimize.isotonic_regression(mean[used] / mass[used], weights=mass[used]).x
    # Where nothing weighs, the value of the next lower confidence (the first: the lowest).
    place = np.maximum(np.cumsum(used) - 1, 0)
    return np.asarray(np.clip(fit, 0, 1)[place])


def _binary_loss(p: FloatArray, y: FloatArray, score: Score) -> FloatArray:
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
        w = None if weights is None else np.asarray(weights)[kept]
        labels = None if clusters is None else np.asarray(clusters)[kept]
        rows = checked(np.minimum(own, 1), np.ones(len(own)), w, labels)
        if score == "brier":
            loss = np.asarray((p**2).sum(axis=1) - 2 * own + 1)
        else:
            loss = _binary_loss(rows.confidence, rows.outcome, score)
    else:
        rows = checked(probabilities, label, weights, clusters, missing)
        loss = _binary_loss(rows.confidence, rows.outcome, score)
    name, unit = ("Brier score", "squared probability") if score == "brier" else ("NLL", "nats")
    if not np.isfinite(loss).all():

        def interval_of(level: float) -> Interval:
            return Interval(math.nan, math.inf, level, "infinite loss")

        return Estimate(math.inf, math.nan, rows.n_units, "mean", name, unit, interval_of)
    return ratio_estimate(rows.weight * loss, rows.weight, name, unit, rows.clusters, "mean")
