"""The risk-coverage curve of a score, thin enough to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.calibration import reliability_curve
from statllm.estimators.selective import (
    CoverageCurve,
    SelectiveThreshold,
    coverage_curve,
    selective_threshold,
)
from statllm.report.uncertainty.scores import Answers, FloatArray, Score

_POINTS, _CLUSTERED_POINTS, _BETWEEN = 120, 40, 8


@dataclass(frozen=True, eq=False)
class Coverage:
    """Risk among the answers kept.

    Attributes
    ----------
    coverage, risk, low, high : ndarray, shape (n_points,)
        At steps, that is thresholds between unequal scores, with pointwise limits.
    line_coverage, line_risk : ndarray
        The curve between the steps too, where tied answers are kept in random order: the curve
        whose area AURC is.
    best : ndarray, shape (n_line,)
        Risk of the best order at `line_coverage`.
    error : float
        Share of wrong answers among all: the risk of a random order.
    n, n_steps : int
        Answers, and distinct scores among them.
    threshold : SelectiveThreshold or None
        With a guarantee; None where rows are clustered, for which it isn't known.
    """

    coverage: FloatArray
    risk: FloatArray
    low: FloatArray
    high: FloatArray
    line_coverage: FloatArray
    line_risk: FloatArray
    best: FloatArray
    error: float
    n: int
    n_steps: int
    threshold: SelectiveThreshold | None


def prepare_coverage(
    answers: Answers, score: Score, max_risk: float = 0.1, delta: float = 0.05, level: float = 0.95
) -> Coverage:
    """Return the curve at up to 120 steps; limits allow for clusters.

    Limits are those of Clopper and Pearson; with clusters, at the number of independent rows
    that the kept ones are worth (see `reliability_curve`).

    Examples
    --------
    >>> from statllm.report.uncertainty.scores import read_answers
    >>> answers = read_answers({"p": [0.9, 0.8, 0.8, 0.6]}, [1, 1, 0, 1])
    >>> curve = prepare_coverage(answers, answers.scores[0])
    >>> curve.coverage, curve.risk.round(3), curve.error
    (array([0.25, 0.75, 1.  ]), array([0.   , 0.333, 0.25 ]), 0.25)
    """
    rows = answers.usable(score)
    confidence, right, groups = score.confidence[rows], answers.right[rows], answers.groups(rows)
    curve = coverage_curve(confidence, right)
    points = _POINTS if groups is None else _CLUSTERED_POINTS
    place = _thinned(curve.kept, points)
    kept, wrong = curve.kept[place], curve.wrong[place]
    threshold = None
    if groups is None:
        low, high = CoverageCurve(curve.threshold[place], kept, wrong, curve.n).band(level)
        threshold = selective_threshold(confidence, right, max_risk, delta)
    else:
        limits = [
            _clustered_limits(~right[chosen], groups[chosen], level)
            for chosen in (confidence >= curve.threshold[i] for i in place)
        ]
        low, high = np.array(limits).T
    line = _between(kept)
    # Tied answers in random order: their wrong ones come at an even rate.
    line_risk = np.interp(line, np.append(0, kept), np.append(0, wrong)) / line
    n, good = curve.n, float(right.sum())
    return Coverage(
        kept / n,
        wrong / kept,
        low,
        high,
        line / n,
        line_risk,
        np.maximum(line - good, 0) / line,
        1 - good / n,
        n,
        len(curve.kept),
        threshold,
    )


def _thinned(kept: NDArray[np.int64], points: int) -> NDArray[np.int64]:
    """Places of up to `points` steps, even in coverage; the last is among them."""
    if len(kept) <= points:
        return np.arange(len(kept))
    wanted = np.linspace(kept[0], kept[-1], points)
    return np.unique(np.searchsorted(kept, wanted)).astype(np.int64)


def _between(kept: NDArray[np.int64]) -> FloatArray:
    """Numbers of answers from a first one to all, with some between far steps."""
    ends = np.append(min(1, kept[0]), kept).astype(np.float64)
    share = np.linspace(0, 1, _BETWEEN, endpoint=False)
    inner = ends[:-1, None] + share * np.diff(ends)[:, None]
    return np.append(np.unique(inner), ends[-1])


def _clustered_limits(
    wrong: NDArray[np.bool_], groups: NDArray[np.int64], level: float
) -> tuple[float, float]:
    one = reliability_curve(np.full(len(wrong), 0.5), wrong, 1, level=level, clusters=groups)
    return float(one.low[0]), float(one.high[0])
