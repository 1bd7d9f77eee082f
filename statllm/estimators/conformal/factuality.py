"""Conformal factuality: leave out claims until what is left is right with a stated probability."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.conformal.law import CoverageLaw, check_alpha, conformal_quantile
from statllm.ragged import Ragged
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def breaking_scores(scores: Any, correct: Any, level: float = 1.0) -> FloatArray:
    """Score at which each response first holds too few right claims.

    r = sup{t : share right among the claims with score >= t is below `level`}, and minus infinity
    where there's no such t (Mohri and Hashimoto 2024, eq. 5). Claims of equal score come together.
    Every threshold at r or above is safe when claims strictly above it are kept; no claim
    left counts as right.

    Parameters
    ----------
    scores : Ragged or list of lists of float
        Confidence in each claim of each response; larger is surer.
    correct : Ragged or list of lists of bool
        Whether the claim is right.
    level : float
        a, the share of claims that must be right, in (0, 1].

    Returns
    -------
    ndarray of float64, shape (n_responses,)

    Raises
    ------
    ValueError
        If rows differ in length, a score is NaN, a label isn't 0 or 1, or level isn't in (0, 1].

    Examples
    --------
    >>> breaking_scores([[3.0, 2.0, 1.0], [0.5], []], [[True, False, True], [True], []])
    array([  2., -inf, -inf])
    """
    rows = _as_ragged(scores, "scores")
    right = _checked_labels(correct, rows)
    if not 0 < level <= 1:
        raise ValueError(f"level must lie in (0, 1], not {level}")
    order = np.lexsort((-rows.values, rows.rows))
    ordered, row = rows.values[order], rows.rows
    running = np.cumsum(right[order])
    before = np.concatenate([[0], running])[rows.offsets[:-1]][row]
    n_kept = rows.positions + 1
    last_of_tie = np.ones(len(ordered), dtype=bool)
    last_of_tie[:-1] = (ordered[1:] != ordered[:-1]) | (row[1:] != row[:-1])
    breaks = last_of_tie & (running - before < level * n_kept - 1e-9)
    worst = np.full(rows.n_rows, -np.inf)
    at = np.flatnonzero(breaks)[::-1]
    worst[row[at]] = ordered[at]  # reversed: the first break is written last
    return worst


@dataclass(frozen=True, eq=False)
class FactualityThreshold:
    """The score above which claims are kept.

    Attributes
    ----------
    threshold : float
        Infinity (nothing is kept) when the calibration set is too small for alpha.
    alpha : float
        Allowed probability that the kept claims hold too few right ones.
    level : float
        Share of the kept claims that must be right.
    law : CoverageLaw
        How the probability varies with the calibration set.
    """

    threshold: float
    alpha: float
    level: float
    law: CoverageLaw

    @property
    def note(self) -> str:
        """What to tell the reader when the calibration set was too small; empty otherwise."""
        return self.law.note.replace("nothing is left out", "no claim is kept")

    def keep(self, scores: Any) -> Ragged:
        """Say which claims of new responses to keep: score > threshold.

        Returns
        -------
        Ragged of bool
        """
        return kept_claims(scores, self.threshold)

    def factual(self, scores: Any, correct: Any) -> Estimate:
        """Share of new responses whose kept claims are right often enough, Clopper-Pearson."""
        return factual_share(self.keep(scores), correct, self.level)

    def removed(self, scores: Any) -> Estimate:
        """Mean share of a response's claims that are left out, over responses with claims."""
        kept = self.keep(scores)
        shares = 1.0 - kept.mean()[kept.lengths > 0]
        mean = mean_estimate(shares, None, "removed claims", "share")
        return replace(mean, method="conformal factuality")


def conformal_factuality(
    scores: Any, correct: Any, alpha: float = 0.1, level: float = 1.0
) -> FactualityThreshold:
    """Calibrate the threshold of claim back-off (Mohri and Hashimoto 2024).

    The ceil((n + 1)(1 - alpha))-th smallest of `breaking_scores`. Keeping the claims that score
    above it, P(share right among the kept >= `level`) >= 1 - alpha on a new response of the same
    kind, and at most 1 - alpha + 1/(n + 1) for continuous scores that all break somewhere. The
    released code keeps scores equal to the threshold and breaks ties by added noise; we keep
    scores strictly above, as the proof does, and need no noise.

    Parameters
    ----------
    scores : Ragged or list of lists of float
        Confidence in each claim of each calibration response.
    correct : Ragged or list of lists of bool
        Whether a human (or a reference) finds the claim right.
    alpha : float
    level : float
        Partial factuality: share of the kept claims that must be right, 1 for all.

    Returns
    -------
    FactualityThreshold

    Raises
    ------
    ValueError
        As `breaking_scores`, or if alpha isn't in (0, 1). Too few responses are no error.

    Examples
    --------
    >>> scores = [[0.9, 0.5, 0.1], [0.8, 0.7], [0.6, 0.3], [0.4]]
    >>> correct = [[1, 1, 0], [1, 0], [1, 1], [0]]
    >>> rule = conformal_factuality(scores, correct, alpha=0.25)
    >>> rule.threshold, rule.keep([[0.9, 0.7], [0.2]]).to_lists()
    (0.7, [[True, False], [False]])
    """
    check_alpha(alpha)
    worst = breaking_scores(scores, correct, level)
    return FactualityThreshold(
        conformal_quantile(worst, alpha), alpha, level, CoverageLaw(len(worst), alpha)
    )


def kept_claims(scores: Any, thresholds: float | FloatArray) -> Ragged:
    """Which claims score above their response's threshold."""
    rows = _as_ragged(scores, "scores")
    limit = np.broadcast_to(thresholds, rows.n_rows)[rows.rows]
    return rows.with_values(rows.values > limit)


def factual_share(kept: Ragged, correct: Any, level: float) -> Estimate:
    """Share of responses whose kept claims are right often enough, Clopper-Pearson."""
    from statllm.estimators.proportions import proportion

    right = kept.with_values(kept.values & _checked_labels(correct, kept))
    good = right.sum() >= level * kept.sum() - 1e-9
    return proportion(
        int(np.count_nonzero(good)), len(good), "clopper-pearson", "factual responses"
    )


def _as_ragged(rows: Any, name: str) -> Ragged:
    """Rows of floats without NaN."""
    ragged = rows if isinstance(rows, Ragged) else Ragged.from_lists(rows, np.float64)
    values = ragged.values.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {len(values)} {name} are NaN")
    return ragged.with_values(values)


def _checked_labels(correct: Any, rows: Ragged) -> BoolArray:
    """Labels of the claims, flat."""
    labels = correct if isinstance(correct, Ragged) else Ragged.from_lists(correct, np.float64)
    if not np.array_equal(labels.offsets, rows.offsets):
        raise ValueError(
            "correct must have one label per claim, in rows as long as those of scores"
        )
    if not np.isin(labels.values, [0, 1]).all():
        raise ValueError("labels of claims must be true or false (1 or 0)")
    return labels.values.astype(bool)
