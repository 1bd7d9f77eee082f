"""Conformal thresholds that hold given features of the item, not only on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.conformal.factuality import breaking_scores, factual_share, kept_claims
from statllm.estimators.conformal.law import checked_scores
from statllm.ragged import Ragged
from statllm.results import Estimate

FloatArray = NDArray[np.float64]

#: Added to alpha, so that the quantile is unique; far above the solver's rounding.
_NUDGE = 1e-6


def conditional_threshold(
    scores: ArrayLike,
    features: ArrayLike,
    new_features: ArrayLike,
    alpha: float | tuple[ArrayLike, ArrayLike] = 0.1,
) -> FloatArray:
    """Threshold of each new item such that coverage is right given its features.

    For every f >= 0 that is linear in the features Φ, E[f(X) (1{S <= τ(X)} - (1 - alpha))] >= 0
    (Gibbs, Cherian and Candes 2023): with indicators of groups, which may overlap, coverage is at
    least 1 - alpha in each; with a number, under each shift of the population that is linear in it.
    A constant is always among the features, so coverage is right on average too.

    τ(x) is the quantile regression's fit at x with the new item's score at infinity, which equals
    sup{S : S <= the fit with the new item's score at S}. One linear program in n variables per
    distinct row of `new_features` is solved. Without features it's `conformal_quantile`; with
    indicators of disjoint groups, that of each group.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        Nonconformity of calibration items, finite; larger is stranger.
    features : array_like, shape (n, d)
        Φ, chosen without looking at the scores, and d much smaller than n.
    new_features : array_like, shape (m, d)
    alpha : float or pair of array_like, shapes (n,) and (m,)
        Miscoverage; one value per item makes it level-adaptive (Cherian, Gibbs and Candes 2024):
        a function of the item, fitted elsewhere. 1e-6 is added.

    Returns
    -------
    ndarray of float64, shape (m,)
        Infinity where there are too few calibration items like the new one.

    Raises
    ------
    ValueError
        If shapes differ, a number is NaN or infinite, or alpha isn't in (0, 1).

    Examples
    --------
    >>> scores = np.arange(40.0)
    >>> group = (np.arange(40) % 2)[:, None]  # even and odd scores
    >>> conditional_threshold(scores, group, [[0], [1]], alpha=0.1).round(6)
    array([36., 37.])
    """
    s = checked_scores(scores, "scores")
    if not np.isfinite(s).all():
        raise ValueError("scores must be finite")
    phi, new = _design(features, "features", len(s)), _design(new_features, "new_features", None)
    if phi.shape[1] != new.shape[1]:
        raise ValueError(f"new_features has {new.shape[1] - 1} columns, not {phi.shape[1] - 1}")
    levels, new_levels = _levels(alpha, len(s), len(new))
    rows, place = np.unique(np.column_stack([new, new_levels]), axis=0, return_inverse=True)
    found = np.array([_fit_at(s, phi, levels, row[:-1], row[-1]) for row in rows])
    return found[place] if len(rows) else np.empty(0)


@dataclass(frozen=True, eq=False)
class ConditionalFactuality:
    """Which claims to keep, given the features of the response.

    Attributes
    ----------
    breaking : ndarray of float64, shape (n,)
        Breaking scores of the calibration responses, at least `floor`.
    features : ndarray of float64, shape (n, d)
    alpha : float
    level, floor : float
    """

    breaking: FloatArray
    features: FloatArray
    alpha: float
    level: float
    floor: float

    def thresholds(self, features: ArrayLike) -> FloatArray:
        """Score above which each response's claims are kept."""
        return conditional_threshold(self.breaking, self.features, features, self.alpha)

    def keep(self, scores: Any, features: ArrayLike) -> Ragged:
        """Say which claims of new responses to keep: score > the response's threshold.

        Returns
        -------
        Ragged of bool
        """
        return kept_claims(scores, self.thresholds(features))

    def factual(self, scores: Any, correct: Any, features: ArrayLike) -> Estimate:
        """Share of new responses whose kept claims are right often enough, Clopper-Pearson."""
        return factual_share(self.keep(scores, features), correct, self.level)


def conditional_factuality(
    scores: Any,
    correct: Any,
    features: ArrayLike,
    alpha: float = 0.1,
    level: float = 1.0,
    floor: float = 0.0,
) -> ConditionalFactuality:
    """Calibrate claim back-off given features of the response (Cherian et al. 2024).

    As `conformal_factuality`, but P(share right among the kept >= `level`) >= 1 - alpha also holds
    within groups of prompts and under linear shifts of `features`; see `conditional_threshold`.

    Parameters
    ----------
    scores : Ragged or list of lists of float
        Confidence in each claim of each calibration response.
    correct : Ragged or list of lists of bool
    features : array_like, shape (n_responses, d)
        Of the prompt or the response, without the labels: topic indicators, length.
    alpha, level : float
    floor : float
        Lowest score a claim can have. A response that never breaks counts as if it broke there.

    Returns
    -------
    ConditionalFactuality

    Raises
    ------
    ValueError
        As `breaking_scores` and `conditional_threshold`, or if a score lies below `floor`.

    Examples
    --------
    >>> scores = [[0.9, 0.5, 0.1], [0.8, 0.7], [0.6, 0.3], [0.4]] * 5
    >>> correct = [[1, 1, 0], [1, 0], [1, 1], [0]] * 5
    >>> rule = conditional_factuality(scores, correct, [[0], [1], [0], [1]] * 5, alpha=0.2)
    >>> rule.thresholds([[0], [1]]).round(6)
    array([0.1, 0.7])
    """
    worst = breaking_scores(scores, correct, level)
    rows = scores if isinstance(scores, Ragged) else Ragged.from_lists(scores, np.float64)
    if rows.values.size and rows.values.min() < floor:
        raise ValueError(f"a score is {rows.values.min():g}, below floor = {floor:g}")
    phi = _design(features, "features", len(worst))[:, 1:]
    _levels(alpha, 0, 0)
    return ConditionalFactuality(np.maximum(worst, floor), phi, alpha, level, floor)


def _fit_at(
    scores: FloatArray, phi: FloatArray, levels: FloatArray, row: FloatArray, level: float
) -> float:
    """Fit of the quantile regression at `row`, an extra item with an infinite score.

    The dual: maximise sum η_i S_i over η_i in [-alpha_i, 1 - alpha_i] with sum η_i Φ_i =
    -(1 - alpha) Φ(x); the multipliers of the equations are the coefficients.
    """
    from scipy.optimize import linprog

    bounds: Any = np.column_stack([-levels, 1 - levels])
    solved = linprog(-scores, A_eq=phi.T, b_eq=-(1 - level) * row, bounds=bounds, method="highs")
    if solved.status == 2:  # infeasible: whatever the new item's score, it isn't strange
        return float("inf")
    if solved.status != 0:
        raise RuntimeError(f"the linear program wasn't solved: {solved.message}")
    return float(-solved.eqlin.marginals @ row)


def _design(features: ArrayLike, name: str, n: int | None) -> FloatArray:
    """Features with a leading constant."""
    phi = np.asarray(features, dtype=np.float64)
    if phi.ndim != 2 or n not in (None, len(phi)):
        expected = "a matrix" if n is None else f"a matrix of {n} rows"
        raise ValueError(f"{name} must be {expected}, not of shape {phi.shape}")
    if not np.isfinite(phi).all():
        raise ValueError(f"{name} must be finite numbers without NaN")
    return np.column_stack([np.ones(len(phi)), phi])


def _levels(
    alpha: float | tuple[ArrayLike, ArrayLike], n: int, m: int
) -> tuple[FloatArray, FloatArray]:
    """Miscoverage of each calibration item and of each new one, nudged."""
    pair = alpha if isinstance(alpha, tuple) else (np.full(n, alpha), np.full(m, alpha))
    if not isinstance(alpha, tuple) and not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    levels, new = (np.asarray(part, dtype=np.float64) for part in pair)
    if levels.shape != (n,) or new.shape != (m,):
        raise ValueError(f"alpha must be {n} and {m} numbers, not {levels.shape}, {new.shape}")
    if not all(np.all((part > 0) & (part < 1)) for part in (levels, new)):
        raise ValueError("alpha must lie between 0 and 1")
    return levels + _NUDGE, new + _NUDGE
