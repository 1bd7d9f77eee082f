"""Weights of calibrators: two is two rows, zero is none."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytest
from scipy import special
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.utils import estimator_checks

from statllm.estimators.calibrators import (
    BayesianBinning,
    Beta,
    Histogram,
    Isotonic,
    Platt,
    Temperature,
    VennAbers,
    calibration_report,
    cross_fit,
)
from statllm.estimators.calibrators._base import Calibrator

ALL = [
    Temperature(),
    Platt(),
    Beta(),
    Isotonic(),
    Histogram(n_bins=4),
    BayesianBinning(),
    VennAbers(),
]
by_name = pytest.mark.parametrize("model", ALL, ids=lambda m: type(m).__name__)


def weighted_scores(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = np.round(rng.beta(2, 1.5, n), 2).clip(0.01, 0.99)
    return score, rng.random(n) < score**1.5, rng.integers(0, 4, n)


@by_name
@pytest.mark.parametrize("seed", range(5))
def test_whole_weights_are_copies(model: Calibrator, seed: int) -> None:
    score, y, w = weighted_scores(60, seed)
    grid = np.linspace(0.01, 0.99, 33)
    weighted = clone(model).fit(score, y, sample_weight=w).predict_proba(grid)
    copied = clone(model).fit(np.repeat(score, w), np.repeat(y, w)).predict_proba(grid)
    assert weighted == pytest.approx(copied, abs=1e-9)
    ones = clone(model).fit(score, y, sample_weight=np.ones(60)).predict_proba(grid)
    assert np.array_equal(ones, clone(model).fit(score, y).predict_proba(grid))
    if not isinstance(model, BayesianBinning | VennAbers):  # which count in rows
        tiny = clone(model).fit(score, y, sample_weight=w * 1e-5).predict_proba(grid)
        assert tiny == pytest.approx(weighted, abs=1e-6)
    order = np.random.default_rng(0).permutation(60)
    again = clone(model).fit(score[order], y[order], w[order]).predict_proba(grid)
    assert again == pytest.approx(weighted, abs=1e-9)


@by_name
def test_separated_labels_are_smoothed_by_weight(model: Calibrator) -> None:
    score, y, w = [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], [1, 2, 3, 1]
    weighted = clone(model).fit(score, y, w).predict_proba([0.5])
    copied = clone(model).fit(np.repeat(score, w), np.repeat(y, w)).predict_proba([0.5])
    assert weighted == pytest.approx(copied, abs=1e-9)


def test_fractional_weights_equal_sklearn() -> None:
    score, y, _ = weighted_scores(400, 1)
    w = np.random.default_rng(2).gamma(2, size=400)
    z = special.logit(score)
    known = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(z[:, None], y, w)
    ours = Platt().fit(score, y, w)
    assert (ours.slope_, ours.intercept_) == pytest.approx(
        (known.coef_[0, 0], known.intercept_[0]), abs=1e-6
    )
    grid = np.linspace(0, 1, 21)
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(score, y.astype(float), w)
    assert Isotonic().fit(score, y, w).predict_proba(grid)[:, 1] == pytest.approx(
        isotonic.predict(grid)
    )


def test_fractional_weights_of_venn_abers_equal_refitting() -> None:
    score, y, _ = weighted_scores(60, 3)
    w = np.random.default_rng(4).gamma(2, size=60)
    test = np.append(np.unique(score), [0.0, 1.0, 0.505])
    p0, p1 = VennAbers().fit(score, y, w).interval(test)
    for found, label in ((p0, 0), (p1, 1)):
        known = [
            IsotonicRegression()
            .fit(np.append(score, x), np.append(y, label), np.append(w, 1))
            .predict([x])[0]
            for x in test
        ]
        assert found == pytest.approx(known, abs=1e-12)


@by_name
def test_wrong_weights_are_refused(model: Calibrator) -> None:
    for weights, words in (
        ([1, -1], "sample_weight must be finite and not negative"),
        ([np.nan, 1], "sample_weight must be finite"),
        ([0, 0], "sample_weight must not all be zero"),
        ([1], "sample_weight must be of shape"),
    ):
        with pytest.raises(ValueError, match=words):
            clone(model).fit([0.2, 0.6], [0, 1], weights)


def test_report_is_weighted() -> None:
    score, y, w = weighted_scores(200, 5)
    after = np.sqrt(score)
    report = calibration_report(score, after, y, weights=w)
    assert report.log_loss_before.value == pytest.approx(log_loss(y, score, sample_weight=w))
    assert report.brier_after.value == pytest.approx(brier_score_loss(y, after, sample_weight=w))
    change = report.brier_after.value - report.brier_before.value
    assert report.brier_change.value == pytest.approx(change)
    copies = np.repeat(np.arange(200), w)
    copied = calibration_report(score[copies], after[copies], y[copies], clusters=copies)
    assert copied.brier_change.value == pytest.approx(change)
    # Copies are no new rows: as clusters they have the weighted error, but for G / (G - 1).
    assert copied.brier_change.se == pytest.approx(report.brier_change.se, rel=2e-3)
    # An impossible truth without weight costs nothing.
    free = calibration_report([0.0, 0.5], [0.0, 0.5], [1, 1], weights=[0, 1])
    assert free.log_loss_after.value == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match="weights must be of shape"):
        calibration_report(score, after, y, weights=[1])


def test_cross_fit_passes_weights_on() -> None:
    score, y, w = weighted_scores(120, 6)
    clusters = np.repeat(np.arange(30), 4)
    result = cross_fit(Platt(), score, y, clusters, weights=w)
    for k in range(5):
        others = result.fold != k
        model = Platt().fit(score[others], y[others], w[others])
        assert result.probability[~others] == pytest.approx(model.predict_proba(score[~others]))
    report = result.report(score)
    assert report.log_loss_before.value == pytest.approx(log_loss(y, score, sample_weight=w))
    assert report.log_loss_before.n == 30
    plain = cross_fit(Platt(), score, y, clusters)
    ones = cross_fit(Platt(), score, y, clusters, weights=np.ones(120))
    assert np.array_equal(plain.probability, ones.probability)
    assert plain.report(score).brier_change.se == pytest.approx(ones.report(score).brier_change.se)


class FirstColumn(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What scikit-learn's checks need around a calibrator: many columns, any two labels."""

    def __init__(self, model: Any = None) -> None:
        self.model = model

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        self.classes_, code = np.unique(y, return_inverse=True)
        self.fitted_ = clone(self.model).fit(self._score(X), np.minimum(code, 1), sample_weight)
        return self

    def predict_proba(self, X: Any) -> Any:
        return self.fitted_.predict_proba(self._score(X))

    def predict(self, X: Any) -> Any:
        return self.classes_[self.fitted_.predict(self._score(X))]

    @staticmethod
    def _score(X: Any) -> Any:
        return special.expit(np.asarray(X, dtype=float)[:, 0])


@by_name
@pytest.mark.parametrize(
    "check",
    [
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weights_list",
        "check_sample_weights_not_overwritten",
        "check_sample_weights_pandas_series",
        "check_sample_weights_shape",
        "check_all_zero_sample_weights_error",
    ],
)
def test_sklearn_weight_checks(model: Calibrator, check: str) -> None:
    run = getattr(estimator_checks, check, None)
    if run is None:
        pytest.skip(f"this scikit-learn has no {check}")
    if check == "check_all_zero_sample_weights_error":
        with pytest.raises(ValueError, match="must not all be zero"):
            FirstColumn(model).fit(np.eye(3), [0, 1, 1], np.zeros(3))
        return
    run("FirstColumn", FirstColumn(model))
