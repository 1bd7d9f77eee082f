"""The risk-coverage curve, with bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.proportions import clopper_pearson, proportion
from statllm.estimators.selective._coverage import Steps, checked
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Band = Literal["pointwise", "bonferroni", "dkw"]


@dataclass(frozen=True)
class CoverageCurve:
    """Share of wrong answers among those that score at least a threshold, for every threshold.

    Attributes
    ----------
    threshold : ndarray, shape (n_steps,)
        The distinct scores, from the highest down: tied answers are one step.
    kept, wrong : ndarray of int64, shape (n_steps,)
        Answers that score at least the threshold, and the wrong ones among them.
    n : int
        All answers.
    """

    threshold: FloatArray
    kept: IntArray
    wrong: IntArray
    n: int

    @property
    def coverage(self) -> FloatArray:
        """Share of answers kept, shape (n_steps,)."""
        return self.kept / self.n

    @property
    def risk(self) -> FloatArray:
        """Share of wrong answers among the kept, shape (n_steps,)."""
        return self.wrong / self.kept

    def band(self, level: float = 0.95, kind: Band = "pointwise") -> tuple[FloatArray, FloatArray]:
        """Limits of the probability that an answer at or above each threshold is wrong.

        Parameters
        ----------
        level : float
        kind : {"pointwise", "bonferroni", "dkw"}
            ``"pointwise"``: Clopper and Pearson (1934) at each step by itself.

            ``"bonferroni"``: the same at 1 - (1 - level) / n_steps: all steps hold together with
            probability at least `level`. Given the scores, the wrong ones among k kept are a sum
            of k independent trials, for which the binomial limits of the mean probability are
            conservative (Hoeffding 1956).

            ``"dkw"``: P(score >= t and wrong) and P(score >= t and right), each within
            sqrt(ln(4 / (1 - level)) / (2 n)) of its estimate for all t at once (Massart 1990);
            their ratio. Holds between the steps too; wider at low coverage.

        Returns
        -------
        low, high : ndarray of float64, shape (n_steps,)

        Examples
        --------
        >>> curve = coverage_curve([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
        >>> low, high = curve.band()
        >>> low.round(3), high.round(3)
        (array([0.   , 0.   , 0.008, 0.006]), array([0.975, 0.842, 0.906, 0.806]))
        """
        if kind == "dkw":
            if not 0 < level < 1:
                raise ValueError(f"level must lie between 0 and 1, not {level}")
            margin = np.sqrt(np.log(4 / (1 - level)) / (2 * self.n)) * self.n if self.n else 0.0
            right = self.kept - self.wrong
            low = np.maximum(self.wrong - margin, 0)
            high = self.wrong + margin
            with np.errstate(invalid="ignore"):
                return low / (low + right + margin), high / (high + np.maximum(right - margin, 0))
        if kind not in ("pointwise", "bonferroni"):
            raise ValueError(f"kind must be pointwise, bonferroni or dkw, not {kind!r}")
        steps = len(self.kept) if kind == "bonferroni" else 1
        return clopper_pearson(self.wrong, self.kept, 1 - (1 - level) / max(steps, 1))

    def accuracy_at_coverage(self, coverage: float) -> Estimate:
        """Accuracy of the smallest set of whole steps that keeps a share `coverage` or more.

        The interval is that of Clopper and Pearson: given the next lower score, the kept answers
        are a sample from above it. It's about that set's accuracy, and wouldn't hold for the
        best of several coverages.

        Examples
        --------
        >>> curve = coverage_curve([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
        >>> half = curve.accuracy_at_coverage(0.5)
        >>> half.value, f"{half.interval():.3f}"
        (1.0, '[0.158, 1.000]')
        """
        if not 0 < coverage <= 1:
            raise ValueError(f"coverage must lie in (0, 1], not {coverage}")
        if not self.n:
            return proportion(0, 0, "clopper-pearson")
        place = int(np.searchsorted(self.kept, coverage * self.n - 1e-9))
        kept, wrong = int(self.kept[place]), int(self.wrong[place])
        return proportion(kept - wrong, kept, "clopper-pearson", f"accuracy at {coverage:g}")

    def coverage_at_risk(self, max_risk: float) -> float:
        """Return the largest coverage at which the observed risk is at most `max_risk`, or 0.

        Optimistic, as the threshold is picked by the errors it's judged by;
        `selective_threshold` gives one with a guarantee.

        Examples
        --------
        >>> coverage_curve([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1]).coverage_at_risk(0.1)
        0.5
        """
        if not 0 <= max_risk <= 1:
            raise ValueError(f"max_risk must lie between 0 and 1, not {max_risk}")
        good = self.coverage[self.risk <= max_risk]
        return float(good.max()) if len(good) else 0.0

    def to_frame(self, level: float = 0.95, kind: Band = "pointwise") -> pd.DataFrame:
        """Return one row per step."""
        import pandas as pd

        low, high = self.band(level, kind)
        columns = {
            "threshold": self.threshold,
            "kept": self.kept,
            "coverage": self.coverage,
            "risk": self.risk,
            "low": low,
            "high": high,
        }
        return pd.DataFrame(columns)


def coverage_curve(
    score: ArrayLike, correct: ArrayLike, missing: Literal["raise", "drop"] = "raise"
) -> CoverageCurve:
    """Risk and coverage at every threshold.

    Parameters
    ----------
    score : array_like of float, shape (n,)
        Larger means more confident.
    correct : array_like of bool, shape (n,)
    missing : {"raise", "drop"}
        What to do about NaN scores.

    Returns
    -------
    CoverageCurve

    Raises
    ------
    ValueError
        If lengths differ, `correct` isn't 0 or 1, or a score is NaN and `missing` is
        ``"raise"``.

    Examples
    --------
    >>> curve = coverage_curve([0.9, 0.8, 0.8, 0.6], [1, 1, 0, 1])
    >>> curve.coverage, curve.risk.round(3)
    (array([0.25, 0.75, 1.  ]), array([0.   , 0.333, 0.25 ]))
    """
    scores, quality, _ = checked(score, correct, missing)
    if not np.isin(quality, [0, 1]).all():
        raise ValueError("correct must be true or false (1 or 0)")
    steps = Steps.of_scores(scores, 1 - quality)
    wrong = np.rint(steps.kept_total).astype(np.int64)
    return CoverageCurve(steps.score, steps.kept, wrong, steps.n)
