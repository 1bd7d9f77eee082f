"""Calibrators against scikit-learn, scipy's optimisers and real predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from statllm.estimators.calibrators._base import Calibrator, NotFittedError, smoothed_targets
from statllm.estimators.calibrators.nonparametric import Histogram, Isotonic
from statllm.estimators.calibrators.parametric import Beta, Platt, Temperature
from statllm.estimators.calibrators.venn_abers import VennAbers

ALL = [Temperature(), Platt(), Beta(), Isotonic(), Histogram(), VennAbers()]
by_name = pytest.mark.parametrize("model", ALL, ids=lambda m: type(m).__name__)


def labelled_scores(n: int, seed: int = 0, slope: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose log-odds are `slope` times the true ones."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 1.5, size=n)
    return special.expit(slope * special.logit(truth) - 0.3), rng.uniform(size=n) < truth


# ---- the parametric ones --------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.4, 1.0, 3.0, -1.0])
def test_platt_equals_sklearn_without_penalty(slope: float) -> None:
    score, y = labelled_scores(500, seed=1, slope=slope)
    z = special.logit(score)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(z[:, None], y)
    model = Platt().fit(score, y)
    assert model.slope_ == pytest.approx(reference.coef_[0, 0], abs=1e-6)
    assert model.intercept_ == pytest.approx(reference.intercept_[0], abs=1e-6)
    assert model.predict_proba(score) == pytest.approx(
        reference.predict_proba(z[:, None]), abs=1e-7
    )
    raw = Platt(scale="logit").fit(z, y)
    assert (raw.slope_, raw.intercept_) == pytest.approx((model.slope_, model.intercept_))


def test_platt_beats_a_penalised_fit_on_the_raw_score() -> None:
    # True log-odds are a third of the score's: what the fit on the raw score can't express.
    rng = np.random.default_rng(2)
    z = rng.normal(0, 3, size=20_000)
    truth = special.expit(z / 3)
    y = rng.uniform(size=len(z)) < truth
    score = special.expit(z)
    ours = Platt().fit(score, y).predict_proba(score)[:, 1]
    theirs = LogisticRegression().fit(score[:, None], y).predict_proba(score[:, None])[:, 1]
    assert np.sqrt(np.mean((ours - truth) ** 2)) < 0.008
    assert np.sqrt(np.mean((theirs - truth) ** 2)) > 0.03


def test_coefficients_stay_finite_under_separation() -> None:
    score = [0.1, 0.2, 0.3, 0.8, 0.9]
    model = Platt().fit(score, [0, 0, 0, 1, 1])
    assert model.separated_
    target = np.where([0, 0, 0, 1, 1], 3 / 4, 1 / 5)  # Platt 1999
    z = special.logit(score)

    def loss(x: np.ndarray) -> float:
        eta = x[0] * z + x[1]
        return float((np.logaddexp(0, eta) - target * eta).sum())

    best = optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9})
    assert (model.slope_, model.intercept_) == pytest.approx(tuple(best.x), abs=1e-5)
    # Turned round, with a shared score at the threshold, one kind of answer: no maximum either.
    assert Platt().fit(score, [1, 1, 0, 0, 0]).separated_
    assert Platt().fit([0.1, 0.5, 0.5, 0.9], [0, 0, 1, 1]).separated_
    one_kind = Platt().fit([0.2, 0.7, 0.9], [1, 1, 1])
    assert one_kind.separated_
    assert one_kind.slope_ == pytest.approx(0, abs=1e-9)
    assert one_kind.predict_proba([0.5])[0, 1] == pytest.approx(4 / 5)
    assert not Platt().fit([0.1, 0.5, 0.4, 0.9], [0, 0, 1, 1]).separated_


@by_name
def test_constant_scores_give_the_share_of_right_answers(model: Calibrator) -> None:
    if isinstance(model, VennAbers):
        pytest.skip("it gives an interval about it")
    p = clone(model).fit([0.7] * 4, [1, 0, 0, 0]).predict_proba([0.7])[0, 1]
    # A temperature can only shrink the log-odds to 0.
    assert p == pytest.approx(0.5 if isinstance(model, Temperature) else 0.25)


def random_beta_problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.beta(*rng.uniform(0.3, 3, size=2), size=80)
    a, b, c = rng.normal(0.3, 1.2, size=3)
    return score, rng.uniform(size=80) < special.expit(a * np.log(score) - b * np.log1p(-score) + c)


@pytest.mark.parametrize("seed", range(40))
def test_beta_equals_a_bounded_optimiser(seed: int) -> None:
    score, y = random_beta_problem(seed)
    design = np.column_stack([np.log(score), -np.log1p(-score), np.ones_like(score)])

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        eta = design @ x
        return (
            float((np.logaddexp(0, eta) - y * eta).sum()),
            design.T @ (special.expit(eta) - y),
        )

    bounds = [(0, None), (0, None), (None, None)]
    best = optimize.minimize(
        loss,
        np.zeros(3),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000},
    )
    model = Beta().fit(score, y)
    fitted = np.array([model.a_, model.b_, model.c_])
    assert not model.separated_
    assert loss(fitted)[0] <= best.fun + 1e-7
    assert (fitted[:2] >= 0).all()
    grid = np.linspace(0.01, 0.99, 50)
    p = model.predict_proba(grid)[:, 1]
    assert (np.diff(p) >= -1e-12).all()  # it never falls


@pytest.mark.parametrize("seed", range(12))
def test_beta_with_scores_within_1e_12_of_1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = 1 - 10 ** rng.uniform(-12, 0, size=25)
    y = rng.uniform(size=25) < 0.6
    design = np.column_stack([np.log(score), -np.log1p(-score), np.ones_like(score)])
    unit = np.abs(design).max(axis=0)

    def loss(x: np.ndarray) -> float:
        eta = design @ x
        return float((np.logaddexp(0, eta) - y * eta).sum())

    bounds = [(0, None), (0, None), (None, None)]
    best = optimize.minimize(
        lambda x: loss(x / unit), np.zeros(3), method="L-BFGS-B", bounds=bounds
    )
    model = Beta().fit(score, y)
    assert loss(np.array([model.a_, model.b_, model.c_])) <= best.fun + 1e-7


def test_beta_problems_touch_the_bounds() -> None:
    fits = [Beta().fit(*random_beta_problem(seed)) for seed in range(40)]
    assert sum(fit.a_ == 0 or fit.b_ == 0 for fit in fits) > 5
    assert sum(fit.a_ > 0 and fit.b_ > 0 for fit in fits) > 5


def test_beta_recovers_its_own_model() -> None:
    rng = np.random.default_rng(3)
    score = rng.uniform(size=200_000)
    p = special.expit(0.7 * np.log(score) - 1.6 * np.log1p(-score) + 0.4)
    model = Beta().fit(score, rng.uniform(size=len(score)) < p)
    assert (model.a_, model.b_, model.c_) == pytest.approx((0.7, 1.6, 0.4), abs=0.04)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_temperature_equals_a_scalar_optimiser(n_classes: int) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(400, n_classes)) * 2
    y = (special.softmax(logits / 2.5, axis=1).cumsum(1) > rng.uniform(size=(400, 1))).argmax(1)

    def loss(inverse: float) -> float:
        return float(-special.log_softmax(inverse * logits, axis=1)[np.arange(400), y].sum())

    best = optimize.minimize_scalar(loss, bounds=(0, 5), method="bounded", options={"xatol": 1e-10})
    model = Temperature(scale="logit").fit(logits, y)
    assert model.temperature_ == pytest.approx(1 / best.x, rel=1e-6)
    assert model.classes_.tolist() == list(range(n_classes))
    assert model.predict(logits).tolist() == logits.argmax(axis=1).tolist()
    from_probabilities = Temperature().fit(special.softmax(logits, axis=1), y)
    assert from_probabilities.temperature_ == pytest.approx(model.temperature_, rel=1e-9)
    if n_classes == 2:  # a vector of log-odds is the same model
        vector = Temperature(scale="logit").fit(logits[:, 1] - logits[:, 0], y)
        assert vector.temperature_ == pytest.approx(model.temperature_, rel=1e-9)


def test_temperature_at_its_ends() -> None:
    worse_than_nothing = Temperature().fit([0.9, 0.8, 0.2, 0.3], [0, 0, 1, 1])
    assert worse_than_nothing.temperature_ == np.inf
    assert worse_than_nothing.predict_proba([0.9])[0, 1] == 0.5
    all_right = Temperature().fit([0.9, 0.6, 0.2, 0.3], [1, 1, 0, 0])
    assert all_right.separated_
    assert 0 < all_right.temperature_ < np.inf
    assert smoothed_targets(np.array([0, 0, 1]), 2) == pytest.approx(
        np.array([[3 / 4, 1 / 4], [3 / 4, 1 / 4], [1 / 3, 2 / 3]])
    )


@pytest.mark.parametrize("name", ["wideresnet-16-4-cifar-10", "lenet-5-cifar-10"])
def test_temperature_on_real_predictions(shared_data: Path, name: str) -> None:
    folder = shared_data / "calib_netcal_cifar"
    reference = json.loads((folder / "ref.json").read_text())[name]
    with np.load(folder / f"{name}.npz") as data:
        p, y = data["predictions"].astype(float), data["ground_truth"]
    model = Temperature().fit(p[:5000], y[:5000])
    after = model.predict_proba(p[5000:])
    rows = np.arange(5000)
    assert model.temperature_ == pytest.approx(reference["T"], abs=1e-4)
    assert -np.log(after[rows, y[5000:]]).mean() == pytest.approx(
        reference["test_nll_after"], abs=1e-6
    )
    confidence, right = after.max(axis=1), after.argmax(axis=1) == y[5000:]
    place = np.minimum((confidence * 15).astype(int), 14)
    gaps = np.bincount(place, weights=right - confidence, minlength=15)
    assert np.abs(gaps).sum() / 5000 == pytest.approx(reference["test_after"]["ece15"], abs=1e-4)


# ---- the nonparametric ones -----------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_isotonic_equals_sklearn(pairs: list[tuple[int, bool]]) -> None:
    score = np.array([s / 8 for s, _ in pairs])
    y = np.array([right for _, right in pairs])
    grid = np.linspace(-0.5, 1.5, 41)
    reference = IsotonicRegression(out_of_bounds="clip").fit(score, y.astype(float))
    ours = Isotonic().fit(score, y)
    assert ours.predict_proba(grid)[:, 1] == pytest.approx(reference.predict(grid))
    order = np.random.default_rng(0).permutation(len(score))
    again = Isotonic().fit(score[order], y[order])
    assert np.allclose(again.y_, ours.y_, atol=1e-12)


def test_histogram_counts_equal_a_loop() -> None:
    score, y = labelled_scores(1000, seed=5)
    model = Histogram(n_bins=10).fit(score, y)
    assert model.count_.tolist() == [100] * 10
    p = model.predict_proba(score)[:, 1]
    ranks = score.argsort().argsort() // 100
    for k in range(10):
        assert p[ranks == k] == pytest.approx(np.full(100, y[ranks == k].mean()))
    width = Histogram(n_bins=4, strategy="width").fit([0.1, 0.25, 0.3, 0.9], [0, 1, 1, 0])
    assert width.share_.tolist() == [0.5, 1.0, 0.625, 0.0]  # no score in the third
    assert width.count_.tolist() == [2, 1, 0, 1]


def test_histogram_never_divides_equal_scores() -> None:
    rng = np.random.default_rng(6)
    score = rng.choice([0.2, 0.9, 1.0], p=[0.1, 0.2, 0.7], size=300)
    y = rng.uniform(size=300) < 0.6
    model = Histogram(n_bins=15).fit(score, y)
    assert (model.count_ > 0).all()
    for value in (0.2, 0.9, 1.0):
        assert model.predict_proba([value])[0, 1] == pytest.approx(y[score == value].mean())
    with pytest.raises(ValueError, match="n_bins"):
        Histogram(n_bins=0).fit(score, y)
    with pytest.raises(ValueError, match="strategy"):
        Histogram(strategy="even").fit(score, y)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probabilities in"):
        Histogram(strategy="width").fit([2.0], [1])


# ---- all of them ----------------------------------------------------------------------------


@by_name
def test_calibration_improves_and_ignores_the_order_of_rows(model: Calibrator) -> None:
    score, y = labelled_scores(4000, seed=7)
    test, answers = labelled_scores(4000, seed=8)
    fitted = clone(model).fit(score, y)
    p = fitted.predict_proba(test)[:, 1]
    assert np.mean((p - answers) ** 2) < np.mean((test - answers) ** 2)
    assert fitted.predict_proba(test).sum(axis=1) == pytest.approx(np.ones(4000))
    order = np.random.default_rng(0).permutation(4000)
    again = clone(model).fit(score[order], y[order])
    assert again.predict_proba(test)[:, 1] == pytest.approx(p, abs=1e-9)


@by_name
def test_wrong_input_is_refused(model: Calibrator) -> None:
    fresh = clone(model)
    with pytest.raises(NotFittedError, match="isn't fitted"):
        fresh.predict_proba([0.5])
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        fresh.fit([0.5, np.nan], [0, 1])
    with pytest.raises(ValueError, match="labels must be true or false"):
        fresh.fit([0.5, 0.6], [1, 2])
    with pytest.raises(ValueError, match="labels must be true or false"):
        fresh.fit([0.5, 0.6], [0.0, np.nan])
    with pytest.raises(ValueError, match="one label for each of 2 scores"):
        fresh.fit([0.5, 0.6], [1])
    with pytest.raises(ValueError, match="empty"):
        fresh.fit([], [])
    fresh.fit([0.5, 0.6, 0.2, 0.3], [1, 0, 0, 1])
    with pytest.raises(ValueError, match="NaN"):
        fresh.predict_proba([np.nan])


@pytest.mark.parametrize("model", [Temperature(), Platt(), Beta()], ids=repr)
def test_the_logit_scale_is_asked_for(model: Calibrator) -> None:
    with pytest.raises(ValueError, match="probabilities in"):
        clone(model).fit([-1.3, 2.0], [0, 1])
    with pytest.raises(ValueError, match="clip must lie"):
        clone(model).set_params(clip=0.7).fit([0.3, 0.5], [0, 1])
    if not isinstance(model, Beta):
        with pytest.raises(ValueError, match="scale must be"):
            clone(model).set_params(scale="odds").fit([0.3, 0.5], [0, 1])
        with pytest.raises(ValueError, match="finite"):
            clone(model).set_params(scale="logit").fit([0.3, np.inf], [0, 1])


def test_temperature_checks_its_classes() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Temperature().fit([[0.5, 0.2], [0.9, 0.1]], [0, 1])
    with pytest.raises(ValueError, match="whole, 0 to 2"):
        Temperature().fit(np.full((2, 3), 1 / 3), [0, 3])
    model = Temperature().fit([[0.5, 0.2, 0.3], [0.6, 0.2, 0.2]], [0, 1])
    with pytest.raises(ValueError, match="2 classes, not 3"):
        model.predict_proba([[0.5, 0.5]])


@by_name
def test_scores_of_exactly_0_and_1(model: Calibrator) -> None:
    p = clone(model).fit([0, 0, 0.5, 1, 1, 1], [0, 1, 1, 1, 0, 1]).predict_proba([0, 0.3, 1])
    assert np.isfinite(p).all()
    assert p[0, 1] < p[2, 1]


# ---- the protocol of scikit-learn -----------------------------------------------------------


@by_name
def test_clone_forgets_what_was_learned(model: Calibrator) -> None:
    fitted = clone(model).fit([0.1, 0.4, 0.5, 0.9], [0, 1, 0, 1])
    check_is_fitted(fitted)
    copy = clone(fitted)
    assert type(copy) is type(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "classes_")
    with pytest.raises(ValueError, match="has no parameter 'penalty'"):
        copy.set_params(penalty=1)
    assert repr(eval(repr(copy))) == repr(copy)


@by_name
def test_cross_val_predict(model: Calibrator) -> None:
    score, y = labelled_scores(300, seed=9)
    p = cross_val_predict(clone(model), score[:, None], y, method="predict_proba", cv=3)
    part = clone(model).fit(score[100:], y[100:])  # folds are stratified, so compare loosely
    assert p.shape == (300, 2)
    assert np.abs(p[:100] - part.predict_proba(score[:100])).mean() < 0.15


CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_pipeline_consistency",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("check", CHECKS)
@by_name
def test_sklearn_estimator_checks(model: Calibrator, check: str) -> None:
    """Those that can run on one column of scores; several index a second dimension."""
    name = type(model).__name__
    if isinstance(model, Beta) and check not in (
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ):
        pytest.skip("the check's data aren't probabilities")
    fresh = clone(model)
    if "scale" in fresh.get_params():
        fresh.set_params(scale="logit")
    getattr(estimator_checks, check)(name, fresh)
