"""Can a confidence be read as a probability: the diagram, the errors, the tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from statllm.estimators.calibration import (
    IsotonicCurve,
    ReliabilityCurve,
    brier_score,
    calibration_error,
    cox,
    debiased_squared_calibration_error,
    hosmer_lemeshow,
    isotonic_reliability,
    kuiper_calibration,
    log_score,
    reliability_curve,
    smooth_calibration_error,
    spiegelhalter,
    t_cal,
)
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.multiplicity import holm
from statllm.estimators.proportions import proportion
from statllm.report.prepare import prepare_histogram
from statllm.report.uncertainty.scores import Answers, FloatArray, Score
from statllm.results import Estimate, TestResult

#: Up to so many distinct confidences each have a bin of their own.
_OWN_BINS, _BINS = 16, 10
#: Bins of the errors, as in `statllm calibrate`.
_ERROR_BINS = 15


@dataclass(frozen=True, eq=False)
class Calibration:
    """One confidence.

    Attributes
    ----------
    score : Score
    bins : ReliabilityCurve
    isotonic : IsotonicCurve
        With the band in which it would lie under calibration.
    independent : bool
        Whether rows are: the band holds only then.
    bars : tuple of ndarray
        Of the histogram: left edges, widths, shares of the answers.
    figures : list of Estimate
    tests : list of TestResult
    log_p : list of float
        Of the tests, adjusted.
    n : int
    """

    score: Score
    bins: ReliabilityCurve
    isotonic: IsotonicCurve
    independent: bool
    bars: tuple[FloatArray, FloatArray, FloatArray]
    figures: list[Estimate]
    tests: list[TestResult]
    log_p: list[float]
    n: int


def prepare_calibration(answers: Answers, score: Score, level: float = 0.95) -> Calibration:
    """Compare a confidence in [0, 1] with how often it came true.

    Raises
    ------
    ValueError
        If the score isn't a probability.
    """
    rows = answers.usable(score)
    p, y, groups = score.values[rows], answers.right[rows], answers.groups(rows)
    edges = diagram_edges(p)
    tests = calibration_tests(p, y, groups)
    return Calibration(
        score,
        reliability_curve(p, y, bins=edges, level=level, clusters=groups),
        isotonic_reliability(p, y, level),
        groups is None,
        _bars(p, edges),
        calibration_figures(p, y, groups),
        tests,
        holm([test.log_p_value for test in tests]).tolist(),
        len(p),
    )


def diagram_edges(p: FloatArray) -> FloatArray:
    """Return ten bins from 0 to 1, or a bin for each confidence where there are up to 16.

    Examples
    --------
    >>> diagram_edges(np.array([0.5, 0.5, 1.0]))
    array([0.25, 0.75, 1.25])
    """
    values = np.unique(p)
    if not 1 < len(values) <= _OWN_BINS:
        return np.linspace(0.0, 1.0, _BINS + 1)
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate(([2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]))


def _bars(p: FloatArray, edges: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A bar for each bin; of one width about the confidences where each has its own bin."""
    share, values = prepare_histogram(p, edges).share, np.unique(p)
    if len(values) != len(share):
        return edges[:-1], np.diff(edges), share
    width = min(float(np.diff(values).min()), 1 / _BINS)
    return values - width / 2, np.full(len(values), width), share


def accuracy(y: Any, clusters: Any) -> Estimate:
    """Share of right answers: Wilson's interval, or t over clusters."""
    if clusters is None:
        share = proportion(int(np.sum(y)), len(y), "wilson")
        return share.named("accuracy", "share of answers")
    return mean_estimate(y, clusters, "accuracy", "share of answers")


def calibration_figures(
    p: FloatArray, y: Any, clusters: Any, bins: int = _ERROR_BINS
) -> list[Estimate]:
    """Errors and scores, with intervals; the log score only where it's finite."""
    figures = [
        accuracy(y, clusters),
        mean_estimate(p, clusters, "mean confidence", "probability"),
        calibration_error(p, y, bins, clusters=clusters),
        debiased_squared_calibration_error(p, y, bins, clusters=clusters),
        smooth_calibration_error(p, y, clusters=clusters),
        brier_score(p, y, clusters=clusters),
    ]
    if not ((p == 0) & y | (p == 1) & ~y).any():
        figures.append(log_score(p, y, clusters=clusters))
    return figures


def calibration_tests(p: FloatArray, y: Any, clusters: Any) -> list[TestResult]:
    """Tests of perfect calibration; with clusters, in the form that allows for them."""
    tests = [spiegelhalter(p, y, clusters=clusters)]
    if p.min() > 0 and p.max() < 1:  # its logits are finite
        tests.append(cox(p, y, clusters=clusters).test)
    for test in (hosmer_lemeshow, kuiper_calibration, t_cal):
        tests.append(test(p, y, clusters=clusters))
    return [test for test in tests if not math.isnan(test.log_p_value)]
