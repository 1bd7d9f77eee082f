"""Thresholds with a guarantee: keep answers so that few of them are wrong, or say none will do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.selective._coverage import Steps, checked
from statllm.estimators.selective.risk_bounds import betting_p_value, risk_p_value

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Correction = Literal["fixed-sequence", "fallback", "holm", "bonferroni"]
Tail = Literal["binomial", "hoeffding-bentkus", "hoeffding"]


@dataclass(frozen=True)
class SelectiveThreshold:
    """A threshold on a score, and the evidence for it.

    Attributes
    ----------
    threshold : float
        Keep answers that score at least this; infinity where no threshold is certified.
    kept, n : int
        Calibration answers at or above it, and all of them.
    risk : float
        Share of wrong answers among those kept (of all, if the guarantee is about all); NaN
        where none is kept.
    max_risk, delta : float
        The guarantee: risk at most `max_risk` with probability at least 1 - `delta`.
    method : str
    candidates, p_values : ndarray, shape (n_candidates,)
        Thresholds tested, from the highest down, and their p-values before correction.
    valid : ndarray of bool, shape (n_candidates,)
        Which of them are certified.
    """

    threshold: float
    kept: int
    n: int
    risk: float
    max_risk: float
    delta: float
    method: str
    candidates: FloatArray
    p_values: FloatArray
    valid: BoolArray

    @property
    def certified(self) -> bool:
        """Whether any threshold is."""
        return bool(self.valid.any())

    @property
    def coverage(self) -> float:
        """Share of the calibration answers kept."""
        return self.kept / self.n if self.n else math.nan

    def keep(self, score: ArrayLike) -> BoolArray:
        """Say which answers to keep; never one without a score, none if nothing is certified."""
        scores = np.asarray(score, dtype=np.float64)
        return np.asarray((scores >= self.threshold) & self.certified, dtype=np.bool_)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per candidate."""
        import pandas as pd

        columns = {"threshold": self.candidates, "p_value": self.p_values, "valid": self.valid}
        return pd.DataFrame(columns)

    def summary(self) -> str:
        """Return one line of text."""
        promise = f"risk <= {self.max_risk:g} with probability {1 - self.delta:g}"
        if not self.certified:
            return f"no threshold is certified for {promise}: abstain on all ({self.method})"
        return (
            f"keep scores >= {self.threshold:.6g}: {promise}; {self.kept} of {self.n} kept, "
            f"{self.risk:.4g} wrong ({self.method})"
        )


@dataclass(frozen=True)
class LearnThenTest:
    """Which of several configurations have a risk of at most `max_risk`.

    Attributes
    ----------
    risk, p_values : ndarray, shape (n_configurations,)
        Mean loss, and the p-value of a risk above `max_risk`.
    valid : ndarray of bool, shape (n_configurations,)
        All of these are certified together, with probability at least 1 - `delta`.
    max_risk, delta : float
    method : str
    """

    risk: FloatArray
    p_values: FloatArray
    valid: BoolArray
    max_risk: float
    delta: float
    method: str

    @property
    def last(self) -> int | None:
        """Place of the last certified configuration; None if there is none."""
        places = np.flatnonzero(self.valid)
        return int(places[-1]) if len(places) else None


def selective_threshold(
    score: ArrayLike,
    correct: ArrayLike,
    max_risk: float = 0.1,
    delta: float = 0.05,
    correction: Correction = "fixed-sequence",
    tail: Tail = "binomial",
    candidates: int | ArrayLike = 20,
    missing: Literal["raise", "drop"] = "raise",
) -> SelectiveThreshold:
    """Find the lowest threshold above which at most a share `max_risk` of answers is wrong.

    Learn then test (Angelopoulos et al. 2021): each candidate is tested against the hypothesis
    that its selective risk, P(wrong | score >= threshold), exceeds `max_risk`. Of the answers
    kept k, E are wrong, and E is binomial given k; the correction makes the chance of
    certifying any threshold of larger risk at most `delta`. With one candidate, or along a
    fixed sequence, a threshold is certified when the one-sided Clopper-Pearson limit of the
    risk at level 1 - delta is at most `max_risk`.

    Parameters
    ----------
    score : array_like of float, shape (n,)
        Larger means more confident. Independent answers: one per prompt.
    correct : array_like of bool, shape (n,)
        Right or wrong; a quality between 0 and 1 needs a `tail` other than ``"binomial"``.
    max_risk, delta : float
        In (0, 1): at least a share 1 - max_risk of the kept is right, with probability at least
        1 - delta over the calibration answers.
    correction : {"fixed-sequence", "fallback", "holm", "bonferroni"}
        See `reject_familywise`; the sequence runs from the highest threshold down.
    tail : {"binomial", "hoeffding-bentkus", "hoeffding"}
        See `risk_p_value`.
    candidates : int or array_like
        An array: thresholds chosen before the answers were seen. An integer: that many equal
        steps of coverage, down from the highest score; tied answers stay together. The
        guarantee holds for these too with ``"bonferroni"``, and with ``"fixed-sequence"`` where
        scores aren't tied or the selective risk rises as the threshold falls: given the next
        score below it, the kept answers are a sample from above it. Sets too small to be
        certified even without an error are left out.
    missing : {"raise", "drop"}
        What to do about NaN scores.

    Returns
    -------
    SelectiveThreshold
        `threshold` is infinite where none is certified: abstain on all.

    Raises
    ------
    ValueError
        If lengths differ, `correct` leaves [0, 1], or a score is NaN and `missing` is
        ``"raise"``.

    Examples
    --------
    >>> score = [k / 100 for k in range(100)]
    >>> rule = selective_threshold(score, [s >= 0.3 for s in score], max_risk=0.1)
    >>> rule.threshold, rule.kept, round(rule.risk, 4)
    (0.3, 70, 0.0)
    >>> selective_threshold(score[:20], [True] * 20).certified  # 20 right ones prove too little
    False
    """
    _check_levels(max_risk, delta)
    scores, quality, _ = checked(score, correct, missing)
    steps = Steps.of_scores(scores, 1 - quality)
    thresholds, kept, lost = _candidates(steps, candidates)
    testable = risk_p_value(0.0, kept, max_risk, tail) <= delta
    thresholds, kept, lost = thresholds[testable], kept[testable], lost[testable]
    p_values = risk_p_value(lost / np.maximum(kept, 1), kept, max_risk, tail)
    valid = reject_familywise(p_values, delta, correction)
    return _chosen(
        steps.n, thresholds, kept, lost, p_values, valid, max_risk, delta, f"{tail}, {correction}"
    )


def rcps_threshold(
    score: ArrayLike,
    correct: ArrayLike,
    max_risk: float = 0.1,
    delta: float = 0.05,
    tail: Tail = "binomial",
    missing: Literal["raise", "drop"] = "raise",
) -> SelectiveThreshold:
    """Find the lowest threshold at which at most a share `max_risk` of all is kept and wrong.

    Risk-controlling prediction sets (Bates et al. 2021): P(score >= threshold and wrong) rises
    as the threshold falls, so the lowest threshold down to which its upper confidence bound
    stays at most `max_risk` is right with probability at least 1 - delta, without correction
    for looking at all of them. A weaker promise than that of `selective_threshold`: an answer
    that isn't kept counts as no error.

    Parameters
    ----------
    score, correct, max_risk, delta, tail, missing
        As for `selective_threshold`.

    Returns
    -------
    SelectiveThreshold
        Its candidates are the distinct scores, its `risk` a share of all answers.

    Examples
    --------
    >>> score = [k / 100 for k in range(100)]
    >>> rule = rcps_threshold(score, [s >= 0.3 for s in score], max_risk=0.1)
    >>> rule.threshold, rule.kept, rule.risk
    (0.26, 74, 0.04)
    """
    _check_levels(max_risk, delta)
    scores, quality, _ = checked(score, correct, missing)
    steps = Steps.of_scores(scores, 1 - quality)
    p_values = risk_p_value(steps.kept_total / max(steps.n, 1), steps.n, max_risk, tail)
    p_values = np.broadcast_to(p_values, steps.score.shape)
    valid = reject_familywise(p_values, delta, "fixed-sequence")
    method = f"{tail}, RCPS"
    rule = _chosen(
        steps.n, steps.score, steps.kept, steps.kept_total, p_values, valid, max_risk, delta, method
    )
    return replace(rule, risk=rule.risk * rule.coverage)


def learn_then_test(
    losses: ArrayLike,
    max_risk: float,
    delta: float = 0.05,
    correction: Correction = "fixed-sequence",
    tail: Literal["binomial", "hoeffding-bentkus", "hoeffding", "betting"] = "hoeffding-bentkus",
    rng: np.random.Generator | int = 0,
) -> LearnThenTest:
    """Certify configurations whose expected loss is at most `max_risk`.

    Learn then test (Angelopoulos et al. 2021). Along a ``"fixed-sequence"`` of configurations
    whose risk never falls it is RCPS (Bates et al. 2021): the last one certified is the last
    down to which the upper confidence bound of the risk stays at most `max_risk`.

    Parameters
    ----------
    losses : array_like of float, shape (n, n_configurations)
        Losses in [0, 1] of independent prompts, the configurations in the order in which they
        are to be tested, fixed beforehand: the safest first.
    max_risk, delta : float
        In (0, 1).
    correction : {"fixed-sequence", "fallback", "holm", "bonferroni"}
    tail : {"binomial", "hoeffding-bentkus", "hoeffding", "betting"}
        See `risk_p_value` and `betting_p_value`.
    rng : Generator or int
        For ``"betting"``.

    Returns
    -------
    LearnThenTest

    Examples
    --------
    >>> losses = [[0, 0, 1]] * 5 + [[0, 0, 0]] * 45
    >>> control = learn_then_test(losses, max_risk=0.1)
    >>> control.valid, control.last
    (array([ True,  True, False]), 1)
    """
    _check_levels(max_risk, delta)
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or not np.all((table >= 0) & (table <= 1)):
        raise ValueError("losses must be two-dimensional and lie between 0 and 1")
    n = len(table)
    risk = table.mean(axis=0) if n else np.full(table.shape[1], np.nan)
    if tail == "betting":
        generator = np.random.default_rng(rng)
        p_values = np.array(
            [betting_p_value(column, max_risk, delta, generator) for column in table.T]
        )
    else:
        p_values = risk_p_value(risk, n, max_risk, tail)
    valid = reject_familywise(p_values, delta, correction)
    return LearnThenTest(risk, p_values, valid, max_risk, delta, f"{tail}, {correction}")


def reject_familywise(
    p_values: ArrayLike, delta: float = 0.05, method: Correction = "holm"
) -> BoolArray:
    """Reject hypotheses so that any false rejection has probability at most `delta`.

    Whatever the dependence between the p-values.

    Parameters
    ----------
    p_values : array_like, shape (m,)
        NaN is not rejected.
    delta : float
    method : {"fixed-sequence", "fallback", "holm", "bonferroni"}
        ``"bonferroni"``: p <= delta / m. ``"holm"``: step-down (Holm 1979). In the given order:
        ``"fixed-sequence"``: each at delta, up to the first that isn't rejected.
        ``"fallback"``: each at delta / m plus the level of the one before, if that was rejected
        (Wiens 2003); it survives a failure early on.

    Returns
    -------
    ndarray of bool, shape (m,)

    Examples
    --------
    >>> p = [0.02, 0.04, 0.2, 0.01]
    >>> reject_familywise(p, 0.05, "fixed-sequence")
    array([ True,  True, False, False])
    >>> reject_familywise(p, 0.05, "fallback"), reject_familywise(p, 0.05, "holm")
    (array([False, False, False,  True]), array([False, False, False,  True]))
    """
    p = np.asarray(p_values, dtype=np.float64)
    m = len(p)
    if method == "fixed-sequence":
        return np.logical_and.accumulate(p <= delta)
    if method == "bonferroni":
        return np.asarray(p <= delta / max(m, 1))
    if method == "holm":
        order = np.argsort(p, kind="stable")
        rejected = np.zeros(m, dtype=np.bool_)
        rejected[order] = np.logical_and.accumulate(p[order] <= delta / np.arange(m, 0, -1))
        return rejected
    if method == "fallback":
        rejected, level = np.zeros(m, dtype=np.bool_), 0.0
        for i, value in enumerate(p.tolist()):  # each level depends on the last decision
            level += delta / m
            rejected[i] = value <= level
            if not rejected[i]:
                level = 0.0
        return rejected
    names = "fixed-sequence, fallback, holm, bonferroni"
    raise ValueError(f"method must be one of {names}, not {method!r}")


def _candidates(
    steps: Steps, wanted: int | ArrayLike
) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Thresholds from the highest down, and how many answers, and losses, each keeps."""
    if isinstance(wanted, (int, np.integer)):
        if wanted < 1:
            raise ValueError(f"candidates must be at least 1, not {wanted}")
        ranks = np.ceil(np.arange(1, int(wanted) + 1) * steps.n / int(wanted))
        place = np.unique(np.searchsorted(steps.kept, ranks)) if steps.n else np.empty(0, np.int64)
        return steps.score[place], steps.kept[place], steps.kept_total[place]
    thresholds = np.unique(np.asarray(wanted, dtype=np.float64))[::-1]
    if thresholds.ndim != 1 or np.isnan(thresholds).any():
        raise ValueError("candidates must be a number of steps, or thresholds that aren't NaN")
    place = np.searchsorted(-steps.score, -thresholds, side="right")
    return thresholds, np.append(0, steps.kept)[place], np.append(0.0, steps.kept_total)[place]


def _chosen(
    n: int,
    thresholds: FloatArray,
    kept: NDArray[np.int64],
    lost: FloatArray,
    p_values: FloatArray,
    valid: BoolArray,
    max_risk: float,
    delta: float,
    method: str,
) -> SelectiveThreshold:
    """The lowest certified threshold."""
    places = np.flatnonzero(valid)
    threshold, count, risk = math.inf, 0, math.nan
    if len(places):
        last = places[-1]
        threshold, count = float(thresholds[last]), int(kept[last])
        risk = float(lost[last]) / count if count else math.nan
    return SelectiveThreshold(
        threshold, count, n, risk, max_risk, delta, method, thresholds, p_values, valid
    )


def _check_levels(max_risk: float, delta: float) -> None:
    if not 0 < max_risk < 1:
        raise ValueError(f"max_risk must lie between 0 and 1, not {max_risk}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, not {delta}")
