"""The scores of a table's answers, each turned so that larger means surer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError
from statllm.scoring.metrics import METRICS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Column -> (unit, what it is); larger is surer.
CONFIDENCES: Mapping[str, tuple[str, str]] = {
    "vote_share": ("share of votes", "of the majority answer"),
    "vote_margin": ("share of votes", "lead of the majority answer over the next"),
    "mode_probability": ("probability", "that the majority answer is the model's most frequent"),
    "confidence": ("probability", "stated or computed confidence"),
    "p_true": ("probability", "that the model calls its answer true"),
    "vote_share_calibrated": ("probability", "vote share, calibrated out of fold"),
    "confidence_calibrated": ("probability", "confidence, calibrated out of fold"),
}

#: Column -> (unit, what it is); larger is less sure.
UNCERTAINTIES: Mapping[str, tuple[str, str]] = {
    "vote_entropy": ("nats", "entropy of the answers' votes"),
    **{name: (metric.unit, metric.about) for name, metric in METRICS.items()},
}

#: Confidences in [0, 1] that don't claim to be the probability of being right.
_NO_PROBABILITIES = ("vote_margin", "mode_probability")


@dataclass(frozen=True, eq=False)
class Score:
    """One column.

    Attributes
    ----------
    name : str
        Of the column.
    values : ndarray, shape (n,)
        As in the table; NaN where there's none.
    rises : bool
        Whether larger means surer.
    """

    name: str
    values: FloatArray
    rises: bool

    @property
    def confidence(self) -> FloatArray:
        """The values, turned where larger means less sure."""
        return self.values if self.rises else -self.values

    @property
    def unit(self) -> str:
        """Empty where it isn't known."""
        return self._known[0]

    @property
    def about(self) -> str:
        """What the score is, its unit, and whether its sign was turned."""
        unit, said = self._known
        marks = ", ".join(part for part in (unit, "" if self.rises else "turned") if part)
        return f"{said} ({marks})".strip() if marks else said

    @property
    def is_probability(self) -> bool:
        """Whether it may be read as the probability that the answer is right."""
        if not self.rises or self.name in _NO_PROBABILITIES:
            return False
        known = self.values[~np.isnan(self.values)]
        return bool(len(known) and known.min() >= 0 and known.max() <= 1)

    @property
    def _known(self) -> tuple[str, str]:
        return (CONFIDENCES if self.rises else UNCERTAINTIES).get(self.name, ("", ""))


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers that are known to be right or wrong, with their scores.

    Attributes
    ----------
    scores : list of Score
        Those with more than one value.
    right : ndarray of bool, shape (n,)
    clusters : ndarray of int64, shape (n,), or None
    n_rows : int
        Of the table, with those whose verdict is unknown.
    left_out : list of (str, str)
        Score -> why it isn't ranked.
    """

    scores: list[Score]
    right: NDArray[np.bool_]
    clusters: IntArray | None
    n_rows: int
    left_out: list[tuple[str, str]]

    @property
    def n(self) -> int:
        """Answers with a verdict."""
        return len(self.right)

    @property
    def n_clusters(self) -> int | None:
        """Clusters, if there are any."""
        return None if self.clusters is None else int(self.clusters.max()) + 1

    def usable(self, score: Score) -> NDArray[np.bool_]:
        """Which answers have the score."""
        return ~np.isnan(score.values)

    def groups(self, rows: NDArray[np.bool_]) -> IntArray | None:
        """Clusters of some rows."""
        return None if self.clusters is None else self.clusters[rows]


def score_columns(names: Iterable[str]) -> list[str]:
    """Return the known scores among a table's columns, uncertainties with a '-' before.

    Examples
    --------
    >>> score_columns(["prompt_id", "vote_entropy", "vote_share"])
    ['vote_share', '-vote_entropy']
    """
    there = set(names)
    found = [name for name in CONFIDENCES if name in there]
    return found + [f"-{name}" for name in UNCERTAINTIES if name in there]


def read_answers(
    scores: Mapping[str, ArrayLike], correct: ArrayLike, clusters: ArrayLike | None = None
) -> Answers:
    """Check scores and verdicts, and leave out what can't be ranked, saying why.

    Parameters
    ----------
    scores : mapping of str to array_like of float, shape (n,)
        Larger means surer, except where the name begins with '-' (which isn't part of it) or is
        one of `UNCERTAINTIES`. NaN and infinite values count as missing.
    correct : array_like, shape (n,)
        1, 0, or NaN where unknown: such rows are left out.
    clusters : array_like, shape (n,), optional
        Rows of one cluster may depend on each other.

    Raises
    ------
    InputError
        If lengths differ, a verdict is neither 0 nor 1, not both occur, all rows are in one
        cluster, or no score has two values.

    Examples
    --------
    >>> answers = read_answers({"p": [0.9, 0.2, 0.5], "-entropy": [0, 0, 0]}, [1, 0, np.nan])
    >>> answers.n, answers.left_out
    (2, [('entropy', 'has one value only')])
    """
    verdict = np.asarray(correct, dtype=np.float64)
    if verdict.ndim != 1:
        raise InputError(f"verdicts must be one per row, not of shape {verdict.shape}")
    judged = ~np.isnan(verdict)
    if not np.isin(verdict[judged], [0, 1]).all():
        raise InputError("verdicts must be 1 or 0, or NaN where unknown")
    right = verdict[judged] == 1
    if not 0 < right.sum() < len(right):
        what = "no answer has a verdict" if not len(right) else "all answers are right"
        what = "all answers are wrong" if len(right) and not right.any() else what
        raise InputError(f"{what} ({len(right)} with a verdict): there is nothing to tell apart")
    groups = None
    if clusters is not None:
        labels = np.asarray(clusters)
        if labels.shape != verdict.shape:
            raise InputError(f"{len(labels)} cluster labels for {len(verdict)} rows")
        groups = np.unique(labels[judged], return_inverse=True)[1].astype(np.int64)
        if not groups.any():
            raise InputError("all rows are in one cluster: nothing says how sure the figures are")
    kept, left_out = [], []
    for given, column in scores.items():
        values = np.asarray(column, dtype=np.float64)
        if values.shape != verdict.shape:
            raise InputError(f"{given}: {values.shape} values for {len(verdict)} rows")
        name = given.removeprefix("-")
        known = np.where(np.isfinite(values), values, np.nan)[judged]
        reason = _unfit(known, right)
        if reason:
            left_out.append((name, reason))
        else:
            kept.append(Score(name, known, given == name and name not in UNCERTAINTIES))
    if not kept:
        said = "; ".join(f"'{name}' {reason}" for name, reason in left_out)
        raise InputError(f"no score can be ranked: {said or 'none was given'}")
    return Answers(kept, right, groups, len(verdict), left_out)


def _unfit(values: FloatArray, right: NDArray[np.bool_]) -> str:
    """Why a score can't be ranked; empty where it can."""
    known = ~np.isnan(values)
    if not known.any():
        return "has no value"
    if np.ptp(values[known]) == 0:
        return "has one value only"
    if not 0 < right[known].sum() < known.sum():
        return "has values for right answers only, or for wrong ones only"
    return ""
