"""Tuned ensembles against scikit-learn, and their honesty."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from statllm.estimators.score_ensemble import ScoreEnsemble, tune_ensemble
from statllm.estimators.selective.auroc import auroc


def data(n: int, k: int, signal: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    scores = signal * truth[:, None] + rng.normal(size=(n, k))
    return scores, truth + rng.normal(size=n) > 0


def test_weights_equal_logistic_regression() -> None:
    scores, right = data(3000, 3, 1.0, 0)
    ours = ScoreEnsemble("logistic").fit(scores, right)
    z = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(z, right)
    np.testing.assert_allclose(ours.coef_, theirs.coef_[0], rtol=0.01)  # labels are smoothed
    np.testing.assert_allclose(ours.predict_proba(scores).sum(axis=1), 1)
    moved = ScoreEnsemble("logistic").fit(5 * scores - 2, right)
    np.testing.assert_allclose(moved.predict_proba(5 * scores - 2), ours.predict_proba(scores))


def test_convex_weights_are_not_below_0() -> None:
    scores, right = data(500, 3, 1.0, 1)
    scores[:, 2] *= -1  # points the wrong way
    convex = ScoreEnsemble().fit(scores, right)
    assert (convex.weights_ >= 0).all()
    assert convex.weights_[2] == 0
    assert convex.weights_.sum() == pytest.approx(1)
    assert ScoreEnsemble("logistic").fit(scores, right).weights_[2] < 0


def test_separated_classes_have_finite_weights() -> None:
    model = ScoreEnsemble().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    assert np.isfinite(model.coef_).all()
    same = ScoreEnsemble().fit([[1.0, 1.0]] * 4, [0, 1, 0, 1])  # nothing to learn from
    np.testing.assert_allclose(same.predict_proba([[1.0, 1.0]])[0], 0.5)


def test_noise_tuned_on_itself_looks_good_and_out_of_sample_does_not() -> None:
    inside, outside = [], []
    for seed in range(25):
        scores, right = data(80, 12, 0.0, seed)
        tuned = tune_ensemble(scores, right, weights="logistic", rng=seed)
        inside.append(auroc(tuned.model.decision_function(scores), right).value)
        outside.append(tuned.auroc.value)
    assert np.mean(inside) > 0.68
    assert np.mean(outside) == pytest.approx(0.5, abs=0.03)


def test_interval_covers_the_auroc_of_the_weights() -> None:
    fresh, fresh_right = data(30_000, 3, 1.0, 999)
    hits = 0
    for seed in range(100):
        scores, right = data(200, 3, 1.0, seed)
        tuned = tune_ensemble(scores, right, rng=seed)
        truth = auroc(tuned.model.decision_function(fresh), fresh_right).value
        hits += truth in tuned.auroc.interval()
        assert tuned.gain.value == pytest.approx(tuned.auroc.value - tuned.best_single.value)
    assert 88 <= hits <= 100


def test_clusters_stay_together_and_count() -> None:
    scores, right = data(300, 2, 1.0, 3)
    prompt = np.repeat(np.arange(100), 3)
    tuned = tune_ensemble(scores, right, clusters=prompt)
    for each in range(100):
        assert len(set(tuned.fold[prompt == each])) == 1
    assert tuned.auroc.n == 100
    assert tuned.weights()["score"].tolist() == ["score 0", "score 1"]
    assert tuned.summary().count("\n") == 2


def test_wrong_input_is_refused() -> None:
    scores, right = data(40, 2, 1.0, 4)
    for call, match in [
        (lambda: tune_ensemble(scores * np.nan, right), "without NaN"),
        (lambda: tune_ensemble(scores[:, 0], right), "shape"),
        (lambda: tune_ensemble(scores, np.ones(40)), "right and wrong"),
        (lambda: tune_ensemble(scores, right, names=("a",)), "names"),
        (lambda: tune_ensemble(scores, right, n_folds=40), "lacks right"),
        (lambda: ScoreEnsemble().predict_proba(scores), "isn't fitted"),
        (lambda: ScoreEnsemble("equal").fit(scores, right), "weights must be"),  # type: ignore[arg-type]
        (lambda: ScoreEnsemble().fit(scores, right).predict_proba(scores[:, :1]), "columns"),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
