"""Conformal selection: pick items that are good, with a bound on the share of bad ones picked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.conformal.law import check_alpha, checked_scores
from statllm.estimators.conformal.p_values import conformal_p_values

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Kind = Literal["clip", "difference"]


@dataclass(frozen=True, eq=False)
class ConformalSelection:
    """Which items were selected.

    Attributes
    ----------
    selected : ndarray of bool, shape (m,)
    p_values : ndarray of float64, shape (m,)
        Of "this item is bad".
    p_threshold : float
        The largest p-value selected; 0 where nothing is.
    score_threshold : float
        The lowest score selected; infinity where nothing is.
    alpha : float
        Bound on the false discovery rate.
    n_calibration : int
    """

    selected: BoolArray
    p_values: FloatArray
    p_threshold: float
    score_threshold: float
    alpha: float
    n_calibration: int

    @property
    def n_selected(self) -> int:
        """Number of items selected."""
        return int(np.count_nonzero(self.selected))

    @property
    def note(self) -> str:
        """What to tell the reader when no selection was possible; empty otherwise."""
        smallest = 1.0 / (self.n_calibration + 1)
        if self.n_selected or smallest <= self.alpha:
            return ""
        return (
            f"{self.n_calibration} calibration items are too few: the smallest p-value, "
            f"{smallest:.3g}, is above alpha = {self.alpha:g}"
        )

    def false_discovery_proportion(self, good: ArrayLike) -> float:
        """Share of bad items among the selected, where the truth is known; 0 if none selected."""
        truth = np.asarray(good, dtype=bool)
        if truth.shape != self.selected.shape:
            raise ValueError(f"good must be {len(self.selected)} labels, not {truth.shape}")
        return float(np.count_nonzero(self.selected & ~truth) / max(self.n_selected, 1))


def conformal_selection(
    calibration_scores: ArrayLike,
    calibration_truth: ArrayLike,
    scores: ArrayLike,
    alpha: float = 0.1,
    threshold: float | None = None,
    kind: Kind = "clip",
    smoothed: bool = False,
    rng: np.random.Generator | int = 0,
) -> ConformalSelection:
    """Select items whose truth exceeds a threshold, with false discovery rate at most alpha.

    Jin and Candes (2023): for each item a conformal p-value of "it's bad" and then Benjamini
    and Hochberg (1995). E[bad selected / selected] <= alpha over calibration and test items.
    Conformal alignment (Gui, Jin and Ren 2024) is this with ``kind="clip"``.

    Which scores are valid: any function of the item itself (reward, vote share, log-probability,
    a classifier's output) that was fixed before the calibration truth was seen. A score fitted
    on these calibration items, ranked within the test batch, or chosen because it selects most,
    isn't. Calibration and test items must be exchangeable: one item per prompt on both sides,
    or else the same prompts' items on one side only.

    With ĝ the score, the p-value of item j is

        [#{i : V_i < V_j} + u (1 + #{i : V_i = V_j})] / (n + 1),

    - ``"clip"``: V_j = -ĝ_j and V_i = -ĝ_i for bad calibration items, infinity for good ones,
      so only bad items that score as high count against j.
    - ``"difference"``: V_i = truth_i - ĝ_i and V_j = threshold - ĝ_j, for a score that
      predicts a numeric truth.

    Parameters
    ----------
    calibration_scores : array_like of float, shape (n,)
        Larger is better.
    calibration_truth : array_like of bool or float, shape (n,)
        Whether the item is good; or its numeric quality, with `threshold`.
    scores : array_like of float, shape (m,)
    alpha : float
    threshold : float, optional
        An item is good when its truth exceeds this. Required unless truth is 0 and 1.
    kind : {"clip", "difference"}
    smoothed : bool
        Draw u uniformly; False sets u = 1, which is valid, depends on no draw, and loses little.
    rng : Generator or int

    Returns
    -------
    ConformalSelection

    Raises
    ------
    ValueError
        If lengths differ, a number is NaN, or truth isn't 0 or 1 and there's no threshold.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> good = rng.random(1000) < 0.5
    >>> score = rng.normal(size=1000) + 2 * good
    >>> picked = conformal_selection(score[:500], good[:500], score[500:], alpha=0.1)
    >>> picked.n_selected, round(picked.false_discovery_proportion(good[500:]), 3)
    (150, 0.047)
    """
    check_alpha(alpha)
    fit = checked_scores(calibration_scores, "calibration_scores")
    test = checked_scores(scores, "scores")
    truth = checked_scores(calibration_truth, "calibration_truth")
    if truth.shape != fit.shape:
        raise ValueError(f"calibration_truth must be {len(fit)} values, not {len(truth)}")
    if threshold is None:
        if not np.isin(truth, [0, 1]).all():
            raise ValueError("threshold is needed where the truth isn't 0 or 1")
        threshold = 0.0
    if kind == "clip":
        # Larger V is stranger for `conformal_p_values`: turn both signs.
        fit_v, test_v = np.where(truth > threshold, -np.inf, fit), test
    elif kind == "difference":
        fit_v, test_v = fit - truth, test - threshold
    else:
        raise ValueError(f"kind must be clip or difference, not {kind!r}")
    p = conformal_p_values(fit_v, test_v, smoothed=smoothed, rng=rng)
    cut = _benjamini_hochberg(p, alpha)
    selected = p <= cut
    lowest = float(test[selected].min()) if selected.any() else float("inf")
    return ConformalSelection(selected, p, cut, lowest, alpha, len(fit))


def _benjamini_hochberg(p_values: FloatArray, alpha: float) -> float:
    """Largest p-value that the step-up procedure rejects; 0 where it rejects none."""
    ordered = np.sort(p_values)
    m = len(ordered)
    # p = k / (n + 1) often meets its limit exactly; a rounding error must not decide.
    passing = np.flatnonzero(ordered <= alpha * np.arange(1, m + 1) / max(m, 1) * (1 + 1e-12))
    return float(ordered[passing[-1]]) if len(passing) else 0.0
