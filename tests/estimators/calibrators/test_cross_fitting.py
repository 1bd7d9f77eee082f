"""Cross-fitting and the report of proper scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import GroupKFold, cross_val_predict

from statllm.estimators.calibrators.cross_fitting import calibration_report, cross_fit
from statllm.estimators.calibrators.nonparametric import Isotonic
from statllm.estimators.calibrators.parametric import Beta, Platt, Temperature
from statllm.estimators.calibrators.venn_abers import VennAbers


def labelled_scores(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 1.5, size=n)
    return special.expit(2 * special.logit(truth)), rng.uniform(size=n) < truth


def test_figures_equal_sklearn() -> None:
    before, y = labelled_scores(300)
    after = np.sqrt(before)
    report = calibration_report(before, after, y)
    assert report.log_loss_before.value == pytest.approx(log_loss(y, before))
    assert report.log_loss_after.value == pytest.approx(log_loss(y, after))
    assert report.brier_before.value == pytest.approx(brier_score_loss(y, before))
    assert report.brier_after.value == pytest.approx(brier_score_loss(y, after))
    gaps = (after - y) ** 2 - (before - y) ** 2
    assert report.brier_change.value == pytest.approx(gaps.mean())
    assert report.brier_change.se == pytest.approx(gaps.std(ddof=1) / np.sqrt(300))
    assert report.log_loss_change.value == pytest.approx(
        report.log_loss_after.value - report.log_loss_before.value
    )
    assert len(report.to_frame()) == 6
    assert "Brier score, after - before" in report.summary()


def test_several_classes() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.dirichlet(np.ones(4), size=50), rng.dirichlet(np.ones(4), size=50)
    y = rng.integers(0, 4, size=50)
    report = calibration_report(before, after, y)
    assert report.log_loss_before.value == pytest.approx(log_loss(y, before, labels=range(4)))
    assert report.brier_after.value == pytest.approx(((after - np.eye(4)[y]) ** 2).sum(1).mean())
    two = np.column_stack([1 - before[:, 0], before[:, 0]])
    assert calibration_report(two, two, y > 1).brier_before == (
        calibration_report(before[:, 0], before[:, 0], y > 1).brier_before
    )


def test_impossible_truths_cost_infinitely_much() -> None:
    report = calibration_report([0.4, 0.5, 0.9], [0.0, 0.5, 0.9], [1, 0, 1])
    assert report.log_loss_after.value == np.inf
    assert report.log_loss_change.value == np.inf
    assert np.isnan(report.log_loss_change.se)
    assert report.brier_change.value == pytest.approx((1 - 0.36) / 3)
    assert calibration_report([0.0], [0.5], [1]).log_loss_change.value == -np.inf
    assert np.isnan(calibration_report([0.0], [0.0], [1]).log_loss_change.value)


def test_each_fold_is_predicted_from_the_others() -> None:
    score, y = labelled_scores(200, seed=2)
    result = cross_fit(Platt(), score, y, n_folds=4, rng=3)
    assert np.bincount(result.fold).tolist() == [50] * 4
    for k in range(4):
        model = Platt().fit(score[result.fold != k], y[result.fold != k])
        assert result.probability[result.fold == k] == pytest.approx(
            model.predict_proba(score[result.fold == k])
        )
    again = cross_fit(Platt(), score, y, n_folds=4, rng=3)
    assert np.array_equal(again.probability, result.probability)
    other = cross_fit(Platt(), score, y, n_folds=4, rng=4)
    assert not np.array_equal(other.fold, result.fold)


def test_clusters_stay_together() -> None:
    score, y = labelled_scores(240, seed=4)
    clusters = np.random.default_rng(0).permutation(np.repeat(np.arange(30), 8))
    result = cross_fit(Temperature(), score, y, clusters=clusters, n_folds=5)
    for c in range(30):
        assert len(np.unique(result.fold[clusters == c])) == 1
    assert np.bincount(result.fold).tolist() == [48] * 5
    # With the same clusters, the order of rows changes nothing.
    order = np.random.default_rng(1).permutation(240)
    turned = cross_fit(Temperature(), score[order], y[order], clusters[order], n_folds=5)
    assert turned.probability == pytest.approx(result.probability[order])
    assert result.report(score).log_loss_change.n == 30
    # The same as scikit-learn does on these folds.
    expected = cross_val_predict(
        Temperature(),
        score[:, None],
        y,
        cv=GroupKFold(5),
        groups=result.fold,
        method="predict_proba",
    )
    assert result.probability == pytest.approx(expected)


def test_models_of_sklearn_and_several_classes() -> None:
    score, y = labelled_scores(120, seed=5)
    theirs = cross_fit(LogisticRegression(C=np.inf), special.logit(score)[:, None], y)
    ours = cross_fit(Platt(), score, y)
    assert theirs.probability == pytest.approx(ours.probability, abs=1e-3)
    rng = np.random.default_rng(6)
    p = rng.dirichlet(np.ones(3), size=90)
    result = cross_fit(Temperature(), p, rng.integers(0, 3, size=90))
    assert result.probability.shape == (90, 3)
    assert result.report(p).brier_before.n == 90


def test_useless_scores_gain_nothing_out_of_sample() -> None:
    # In sample, isotonic regression of noise looks better than the base rate; out of fold not.
    rng = np.random.default_rng(7)
    score, y = rng.uniform(size=400), rng.uniform(size=400) < 0.5
    half = np.full(400, 0.5)
    in_sample = Isotonic().fit(score, y).predict_proba(score)[:, 1]
    cheating = calibration_report(half, in_sample, y)
    assert cheating.brier_change.value < 0
    assert cross_fit(Isotonic(), score, y).report(half).brier_change.value > 0
    assert np.isfinite(cross_fit(VennAbers(), score, y).report(half).log_loss_change.value)


def test_wrong_input_is_refused() -> None:
    score, y = labelled_scores(10)
    with pytest.raises(ValueError, match="n_folds must lie between 2 and the 3 clusters"):
        cross_fit(Beta(), score, y, clusters=[0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    with pytest.raises(ValueError, match="one length"):
        cross_fit(Beta(), score, y[:5])
    with pytest.raises(ValueError, match="3 cluster labels for 10 rows"):
        cross_fit(Beta(), score, y, clusters=[0, 1, 2])
    with pytest.raises(ValueError, match="without NaN"):
        calibration_report([0.5, np.nan], [0.5, 0.5], [0, 1])
    with pytest.raises(ValueError, match="belong together"):
        calibration_report([0.5], [0.5, 0.5], [0, 1])
    with pytest.raises(ValueError, match="y must hold classes"):
        calibration_report([0.5], [0.5], [2])
    with pytest.raises(ValueError, match="sum to 1"):
        calibration_report([[0.5, 0.1]], [[0.5, 0.5]], [1])


def expected_change(model: Platt, n: int = 400_000) -> float:
    """Change of the Brier score that a fitted model brings on new data."""
    score, y = labelled_scores(n, seed=99)
    p = model.predict_proba(score)[:, 1]
    return float(np.mean((p - y) ** 2 - (score - y) ** 2))


def test_interval_of_the_change_covers() -> None:
    score, y = labelled_scores(150, seed=8)
    model = Platt().fit(score, y)
    truth, hits = expected_change(model), 0
    for run in range(2000):
        test, answers = labelled_scores(200, seed=1000 + run)
        report = calibration_report(test, model.predict_proba(test)[:, 1], answers)
        hits += truth in report.brier_change.interval()
    assert 0.93 < hits / 2000 < 0.97
