"""The small-sample mean against brute-force jackknives, classical results and the limits."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.ppi import (
    cross_predictions,
    ppi_mean,
    ppi_mean_by_betting,
    published_mean,
    stratified_ppi_mean,
)


def draw(n: int, n_unlabelled: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.exponential(size=n + n_unlabelled)
    f = 0.5 + 0.7 * y + 0.4 * rng.normal(size=n + n_unlabelled)
    return y[:n], f[:n], f[n:]


def plug_in(y: np.ndarray, f: np.ndarray, u: np.ndarray, variance_u: float) -> float:
    """PPI++ written out, with the variance of the mean of u given."""
    n = len(y)
    covariance = np.mean((y - y.mean()) * (f - f.mean())) / (n - 1)
    lam = covariance / (f.var() / (n - 1) + variance_u)
    return float(y.mean() - lam * (f.mean() - u.mean()))


def test_labels_alone_are_the_classical_mean() -> None:
    y, f, u = draw(15, 100)
    expected = mean_estimate(y)
    for found in (ppi_mean(y, f, u, tuning=0.0).estimate, ppi_mean(y, f, u).classical):
        assert found.value == pytest.approx(expected.value)
        assert found.se == pytest.approx(expected.se)
        assert found.interval(0.9).high == pytest.approx(expected.interval(0.9).high)


def test_plain_ppi_is_welchs_interval() -> None:
    # lambda = 1: the sum of two independent means, mean(f_U) and mean(Y - f)
    y, f, u = draw(12, 30)
    welch = stats.ttest_ind(u, f - y, equal_var=False)
    found = ppi_mean(y, f, u, tuning=1.0).estimate
    ends = welch.confidence_interval(0.95)
    interval = found.interval(0.95)
    assert found.value == pytest.approx(u.mean() - (f - y).mean())
    assert (interval.low, interval.high) == pytest.approx((ends.low, ends.high))


def test_the_error_is_the_jackknife_of_the_whole_procedure() -> None:
    y, f, u = draw(9, 40)
    n, big = len(y), len(u)
    variance_u = u.var(ddof=1) / big
    value = plug_in(y, f, u, variance_u)
    found = ppi_mean(y, f, u, clip=False)
    assert found.estimate.value == pytest.approx(value)
    # Without row i: n - 1 rows left, and lambda is n's: Cov and Var keep their ratio to V(u).
    squares = 0.0
    for i in range(n):
        kept = np.arange(n) != i
        shrunk = variance_u * n / (n - 1) * (n - 1) / (n - 2)
        lam_free = plug_in(y[kept], f[kept], u, shrunk * (n - 2) / (n - 1))
        squares += (lam_free - value) ** 2
    labelled = (n - 1) / n * squares
    expected = np.sqrt(labelled + found.tuning**2 * variance_u)
    assert found.estimate.se == pytest.approx(expected, rel=0.02)


def test_with_all_the_unlabelled_rows_it_is_the_regression_estimator() -> None:
    # N large: y regressed on f, at the population mean of f, with the jackknife's HC3 error.
    y, f, _ = draw(25, 10)
    u = np.tile([0.2, 2.2], 50_000) + 0.3
    fit = sm.OLS(y, np.stack([np.ones(25), f - u.mean()], axis=1)).fit(cov_type="HC3")
    found = ppi_mean(y, f, u, clip=False).estimate
    assert found.value == pytest.approx(fit.params[0], abs=1e-3)
    assert found.se == pytest.approx(fit.bse[0], rel=0.05)


def test_many_labels_give_the_published_interval() -> None:
    y, f, u = draw(4000, 40_000)
    ours, theirs = ppi_mean(y, f, u).estimate, published_mean(y, f, u)
    assert ours.value == pytest.approx(theirs.value, abs=0.02 * theirs.se)
    assert ours.se == pytest.approx(theirs.se, rel=0.005)


def test_clusters_of_copies_are_single_rows() -> None:
    y, f, u = draw(10, 50)
    once = ppi_mean(y, f, u)
    thrice = ppi_mean(
        np.repeat(y, 3), np.repeat(f, 3), np.repeat(u, 3),
        clusters=np.repeat(np.arange(10), 3), unlabelled_clusters=100 + np.repeat(np.arange(50), 3),
    )  # fmt: skip
    assert thrice.estimate.value == pytest.approx(once.estimate.value)
    assert thrice.estimate.se == pytest.approx(once.estimate.se)
    assert thrice.estimate.n == 10


def test_a_cluster_in_both_samples_is_one() -> None:
    # lambda = 1 and f the cluster's own effect: it cancels from mean(f_U) - mean(f_L).
    rng = np.random.default_rng(3)
    effect = rng.normal(size=30)
    y = effect + 0.1 * rng.normal(size=30)
    shared = ppi_mean(
        y, effect, effect, tuning=1.0, clusters=np.arange(30), unlabelled_clusters=np.arange(30)
    )
    assert shared.estimate.value == pytest.approx(y.mean())
    assert shared.estimate.se == pytest.approx(stats.sem(y))
    apart = ppi_mean(y, effect, effect, tuning=1.0)
    assert apart.estimate.se == pytest.approx(
        np.sqrt(stats.sem(y - effect) ** 2 + stats.sem(effect) ** 2)
    )


def test_labels_of_a_cluster_may_be_renamed_and_rows_shuffled() -> None:
    y, f, u = draw(30, 80)
    c, d = np.arange(30) % 7, np.arange(80) % 9 + 4
    found = ppi_mean(y, f, u, clusters=c, unlabelled_clusters=d, tuning="cross-fitted").estimate
    order, more = np.random.default_rng(0).permutation(30), np.random.default_rng(1).permutation(80)
    names = np.array([f"prompt {i}" for i in range(20)])
    again = ppi_mean(
        y[order], f[order], u[more], clusters=names[c[order]], unlabelled_clusters=names[d[more]],
        tuning="cross-fitted",
    ).estimate  # fmt: skip
    assert (again.value, again.se) == pytest.approx((found.value, found.se))


def test_cross_fitting_takes_away_the_bias_of_lambda() -> None:
    # Y depends on f in a curve, so the plug-in lambda goes with the rows' mean of f.
    rng = np.random.default_rng(0)
    errors = {"plug-in": [], "cross-fitted": []}
    for _ in range(3000):
        f = rng.exponential(size=40)
        y = f**2
        for tuning, found in errors.items():
            estimate = ppi_mean(y[:8], f[:8], f[8:], tuning=tuning, clip=False).estimate
            found.append(estimate.value - 2)
    for tuning, bound in (("plug-in", None), ("cross-fitted", 4.0)):
        z = np.mean(errors[tuning]) / stats.sem(errors[tuning])
        assert (abs(z) > 6) if bound is None else (abs(z) < bound)


def test_labels_that_all_agree_leave_doubt_when_bounds_are_known() -> None:
    y = np.array([1.0, 0.0] * 10)
    u = np.array([1.0, 0.0] * 2000)
    bare = ppi_mean(y, y, u).estimate.interval()
    known = ppi_mean(y, y, u, bounds=(0, 1)).estimate.interval()
    assert bare.high - bare.low < 0.05  # only what f_U leaves
    # One label in ten may be wrong either way: 0.9^20 = 0.12.
    assert known.low < 0.45
    assert known.high > 0.55


def test_betting_is_wider_than_t_and_inside_the_bounds() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(500) < 0.8).astype(float)
    f = np.where(rng.random(500) < 0.9, y, 1 - y)
    t, betting = ppi_mean(y[:60], f[:60], f[60:], tuning=1.0).estimate, ppi_mean_by_betting(
        y[:60], f[:60], f[60:]
    )  # fmt: skip
    assert betting.value == pytest.approx(t.value)
    inner, outer = t.interval(), betting.interval()
    assert outer.low < inner.low
    assert inner.high < outer.high <= 1


def test_cross_predictions_are_held_out() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 1)), rng.normal(size=24)
    seen: list[np.ndarray] = []

    def remember(a: np.ndarray, b: np.ndarray):  # type: ignore[no-untyped-def]
        seen.append(a[:, 0])
        return lambda new: np.isin(new[:, 0], a[:, 0]).astype(float)

    clusters = np.arange(24) // 3
    held_out, more = cross_predictions(remember, x, y, x, folds=4, clusters=clusters)
    assert not held_out.any()  # no row was in the training set of its own prediction
    assert more == pytest.approx(np.full(24, 0.75))
    for part in seen:  # clusters stay together
        kept = np.isin(x[:, 0], part)
        assert all(kept[clusters == c].all() or not kept[clusters == c].any() for c in range(8))


def test_strata_are_means_of_their_own() -> None:
    y, f, u = draw(40, 300)
    one = stratified_ppi_mean(y, f, u, np.zeros(40), np.zeros(300))
    whole = ppi_mean(y, f, u)
    assert one.estimate.value == pytest.approx(whole.estimate.value)
    assert one.estimate.interval().high == pytest.approx(whole.estimate.interval().high)
    kind, more = np.repeat(["a", "b"], [10, 30]), np.repeat(["a", "b"], [200, 100])
    found = stratified_ppi_mean(y, f, u, kind, more, tuning="cross-fitted")
    parts = [
        ppi_mean(y[kind == s], f[kind == s], u[more == s], tuning="cross-fitted") for s in "ab"
    ]
    share = np.array([210, 130]) / 340
    values, errors = (
        np.array([getattr(each.estimate, name) for each in parts]) for name in ("value", "se")
    )
    assert found.estimate.value == pytest.approx(share @ values)
    assert found.estimate.se == pytest.approx(np.sqrt(np.sum((share * errors) ** 2)))
    given = stratified_ppi_mean(y, f, u, kind, more, shares={"a": 1.0, "b": 0.0})
    assert given.classical.interval().low == pytest.approx(mean_estimate(y[:10]).interval().low)
    with pytest.raises(ValueError, match="must be the same"):
        stratified_ppi_mean(y, f, u, kind, np.full(300, "a"))
    with pytest.raises(ValueError, match="exactly the strata a, b"):
        stratified_ppi_mean(y, f, u, kind, more, shares={"a": 1.0})
    with pytest.raises(ValueError, match="clusters: a cluster lies in two strata"):
        stratified_ppi_mean(
            y, f, u, kind, more, clusters=np.zeros(40), unlabelled_clusters=np.arange(300)
        )
    with pytest.raises(ValueError, match="stratum a: at least 3 labelled"):
        stratified_ppi_mean(y[8:], f[8:], u, kind[8:], more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1.0, np.nan, 0.0, 1.0]}, "labels must be finite; nan in row 1"),
        ({"labels": [1.0, 0.0]}, "2 labels and 4 predictions"),
        ({"bounds": (0, 0.5)}, "labels must lie within the bounds 0, 0.5"),
        ({"clusters": [1, 1, 2, 2]}, "must be given together"),
        ({"clusters": [1, 2], "unlabelled_clusters": [1, 2, 3]}, "one label per row, 4"),
        ({"clusters": [1, 1, 2, 2], "unlabelled_clusters": [1, 2, 3]}, "at least 3 labelled"),
        ({"tuning": "best"}, "tuning must be"),
        ({"unlabelled_predictions": []}, "not empty"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], message: str) -> None:
    given = {
        "labels": [1.0, 0.0, 0.0, 1.0],
        "predictions": [1.0, 0.0, 0.5, 1.0],
        "unlabelled_predictions": [0.0, 1.0, 1.0],
    }
    with pytest.raises(ValueError, match=message):
        ppi_mean(**{**given, **change})  # type: ignore[arg-type]
