"""Errors by brute force, edges, invariances and coverage of agreement intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.agreement import (
    CategoryCounts,
    category_counts,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac,
    icc,
    krippendorff_alpha,
    percent_agreement,
)
from statllm.results import Estimate

NAN = float("nan")
Coefficient = Callable[..., Estimate]


def _alpha(metric: str) -> Coefficient:
    return lambda x, **more: krippendorff_alpha(x, metric=metric, **more)  # type: ignore[arg-type]


COEFFICIENTS: dict[str, Coefficient] = {
    "nominal": _alpha("nominal"),
    "ordinal": _alpha("ordinal"),
    "interval": _alpha("interval"),
    "ratio": _alpha("ratio"),
    "fleiss": fleiss_kappa,
    "fleiss weighted": lambda x, **more: fleiss_kappa(x, weights="linear", **more),
    "gwet": gwet_ac,
    "percent": percent_agreement,
    "cohen": lambda x, **more: cohen_kappa(x[:, 0], x[:, 1], missing="drop", **more),
}


def ratings(units: int = 24, raters: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 5, size=units)
    near = truth[:, None] + rng.integers(-1, 2, size=(units, raters))
    return np.clip(near, 1, 4).astype(float)


@pytest.mark.parametrize("name", COEFFICIENTS)
@pytest.mark.parametrize("clustered", [False, True])
def test_error_and_interval_are_the_jackknifes(name: str, clustered: bool) -> None:
    x, measure = ratings(96), COEFFICIENTS[name]
    if name != "cohen":
        x[[0, 5, 9], [1, 2, 0]] = NAN
    groups = np.arange(96) // 2 if clustered else np.arange(96)
    found = measure(x, clusters=groups) if clustered else measure(x)
    names = np.unique(groups)
    without = np.array([measure(x[groups != c]).value for c in names])
    n = len(names)
    expected = math.sqrt((n - 1) / n * np.sum((without - found.value) ** 2))
    assert found.n == n
    assert found.se == pytest.approx(expected)
    interval = found.interval(0.9)
    # symmetric on the log scale
    product = (1 - interval.low) * (1 - interval.high)
    assert product == pytest.approx((1 - found.value) ** 2)


@pytest.mark.parametrize("form", ["1", "2", "3"])
def test_jackknife_of_icc(form: str) -> None:
    x = ratings(seed=2) + np.random.default_rng(0).normal(size=(24, 3))
    found = icc(x, form, interval="jackknife")  # type: ignore[arg-type]
    without = [icc(np.delete(x, i, axis=0), form).value for i in range(24)]  # type: ignore[arg-type]
    expected = math.sqrt(23 / 24 * np.sum((np.array(without) - found.value) ** 2))
    assert found.se == pytest.approx(expected)
    assert found.value in found.interval()


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_order_and_names_do_not_matter(name: str) -> None:
    x, measure = ratings(), COEFFICIENTS[name]
    order = np.random.default_rng(1).permutation(24)
    found, again = measure(x), measure(x[order][:, ::-1] if name != "cohen" else x[order])
    assert (again.value, again.se) == pytest.approx((found.value, found.se))
    if name in ("nominal", "fleiss", "gwet", "percent", "cohen"):
        text = measure(np.array(["?", "d", "b", "a", "c"])[x.astype(int)])
        assert (text.value, text.se) == pytest.approx((found.value, found.se))


def test_units_with_one_rating_do_not_enter_alpha() -> None:
    x = ratings()
    lonely = np.array([[4, NAN, NAN], [NAN, NAN, NAN]])
    for metric in ("nominal", "ordinal", "interval", "ratio"):
        measure = COEFFICIENTS[metric]
        found, more = measure(x), measure(np.concatenate([x, lonely]))
        assert (more.value, more.se, more.n) == pytest.approx((found.value, found.se, 24))


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_two_raters_without_gaps_tie_the_coefficients(seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 3, size=(12, 2)).astype(float)
    alpha, fleiss = krippendorff_alpha(x).value, fleiss_kappa(x).value
    if not math.isnan(fleiss):  # 1 - alpha = (1 - kappa) (n - 1) / n with n = 24 ratings
        assert 1 - alpha == pytest.approx((1 - fleiss) * 23 / 24)


def test_full_agreement_is_not_certainty() -> None:
    x = np.repeat([[1, 1], [2, 2]], 10, axis=0)
    for measure in (krippendorff_alpha, fleiss_kappa, percent_agreement):
        interval = measure(x).interval()  # type: ignore[operator]
        assert interval.high == 1
        assert interval.low < 0.84  # no disagreement in 20: their share is 0 to 0.168
    assert percent_agreement(x).interval().low == pytest.approx(0.025 ** (1 / 20))


def test_no_agreement_is_not_certainty_either() -> None:
    x = np.repeat([[1, 2], [2, 1]], 10, axis=0)
    interval = percent_agreement(x).interval()
    assert interval.low == 0
    assert interval.high == pytest.approx(1 - 0.025 ** (1 / 20))  # Clopper and Pearson, 0 of 20
    one = percent_agreement(np.ones((12, 2))).interval()  # one category seen, others possible
    assert one.low == pytest.approx(0.025 ** (1 / 12))


def test_few_unequal_disagreements_have_gamma_limits() -> None:
    # Fay and Feuer (1997), eqs. 9 and 10, of 20 pairs with disagreements 1/4, 1/4 and 1 of 1.
    from scipy import stats

    x = np.array([[1, 1]] * 9 + [[3, 3]] * 8 + [[1, 2], [2, 3], [1, 3]])
    interval = percent_agreement(x, weights="quadratic").interval()
    w = np.array([0.25, 0.25, 1.0]) / 20
    y, v, m = w.sum(), np.sum(w**2), w.max()
    low = v / (2 * y) * stats.chi2.ppf(0.025, 2 * y**2 / v)
    high = (v + m**2) / (2 * (y + m)) * stats.chi2.ppf(0.975, 2 * (y + m) ** 2 / (v + m**2))
    assert (interval.low, interval.high) == pytest.approx((1 - high, 1 - low))


def test_nothing_rated_is_nan() -> None:
    for x in ([[1, None]], np.zeros((0, 2))):
        for name, measure in COEFFICIENTS.items():
            if name != "cohen":
                assert math.isnan(measure(x).value)
    assert math.isnan(cohen_kappa([], []).value)


def test_a_single_category_has_no_kappa() -> None:
    x = np.ones((8, 2))
    for measure in (krippendorff_alpha, fleiss_kappa):
        found = measure(x)  # type: ignore[operator]
        assert math.isnan(found.value)
        assert math.isnan(found.interval().low)
    assert math.isnan(cohen_kappa(x[:, 0], x[:, 1]).value)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="units by raters"):
        krippendorff_alpha([1, 2, 3])
    with pytest.raises(ValueError, match="all text or all numbers"):
        fleiss_kappa([["a", 1], ["b", 2]])
    with pytest.raises(ValueError, match="rating 3.0 isn't among the categories"):
        category_counts([[1, 3]], categories=[1.0, 2.0])
    with pytest.raises(ValueError, match="1 units lack a rating, the first in row 1"):
        cohen_kappa(["x", NAN, "y"], ["x", "y", "y"])
    with pytest.raises(ValueError, match="needs numbers, not text"):
        krippendorff_alpha([["a", "b"]], metric="interval")
    with pytest.raises(ValueError, match="one label per row"):
        gwet_ac([[1, 1], [2, 2]], clusters=[1])
    with pytest.raises(ValueError, match="weights must be"):
        fleiss_kappa([[1, 1], [2, 2]], weights="steep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="complete; unit 1 has a gap"):
        icc([[1, 2], [NAN, 3], [2, 2]])
    with pytest.raises(ValueError, match="finite and not negative"):
        CategoryCounts(np.array([[-1.0, 2.0]]), np.array([1, 2]))


# ---- coverage -----------------------------------------------------------------------------------


def copies(rng: np.random.Generator, units: int, raters: int, k: int, keep: float) -> np.ndarray:
    """Raters who copy the truth with probability `keep`, else guess: kappa is keep squared."""
    truth = rng.integers(k, size=units)
    kept = rng.random((units, raters)) < keep
    return np.where(kept, truth[:, None], rng.integers(k, size=(units, raters)))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0.6, 0.9])
@pytest.mark.parametrize("name", ["nominal", "ordinal", "interval", "fleiss", "gwet", "cohen"])
def test_fifty_units_cover(name: str, keep: float) -> None:
    # 2,000 runs: MC error 0.005. evalica 0.4.2's alpha_bootstrap has held 0.73 at 50 units.
    rng, hits = np.random.default_rng(0), []
    for _ in range(2000):
        interval = COEFFICIENTS[name](copies(rng, 50, 3, 3, keep)).interval()
        hits.append(keep**2 in interval)
    slack = 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert 0.935 - slack <= np.mean(hits) <= 0.965 + slack


@pytest.mark.slow
def test_clusters_cover_where_units_alone_do_not() -> None:
    rng, hits, naive = np.random.default_rng(0), [], []
    groups = np.repeat(np.arange(25), 6)
    for _ in range(1500):
        truth = rng.integers(2, size=150)
        # raters are good or bad at a whole cluster: 0.95 or 0.45
        keep = np.where(rng.random(25) < 0.5, 0.95, 0.45)[groups][:, None]
        x = np.where(rng.random((150, 2)) < keep, truth[:, None], rng.integers(2, size=(150, 2)))
        kappa = (0.95**2 + 0.45**2) / 2
        hits.append(kappa in fleiss_kappa(x, clusters=groups).interval())
        naive.append(kappa in fleiss_kappa(x).interval())
    assert 0.93 <= np.mean(hits) <= 0.97
    assert np.mean(naive) < np.mean(hits) - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("form", ["1", "2", "3"])
def test_f_intervals_of_icc_cover(form: str) -> None:
    rng, hits = np.random.default_rng(0), []
    for _ in range(2000):
        raters = 0.0 if form == "1" else 0.5 * rng.normal(size=4)
        x = rng.normal(size=(30, 1)) + raters + rng.normal(size=(30, 4))
        truth = 1 / 2.25 if form == "2" else 0.5
        hits.append(truth in icc(x, form, interval="F").interval())  # type: ignore[arg-type]
    assert 0.935 <= np.mean(hits) <= 0.965


def test_generalised_interval_is_f_s_where_raters_are_many() -> None:
    """F's approximation is good with 60 raters of equal means; both see the same thing there."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 1)) + 0.1 * rng.normal(size=60) + rng.normal(size=(40, 60))
    one, other = icc(x, "2").interval(), icc(x, "2", interval="F").interval()
    assert one.method == "generalised"
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.006)


def test_generalised_interval_covers_with_three_raters_and_many_units() -> None:
    """400 samples of 200 units; three errors of 95 % are .033, and F's covers .87."""
    rng = np.random.default_rng(6)
    truth, inside = 1 / 1.89, np.zeros(2)
    for _ in range(400):
        noise = 0.8 * rng.normal(size=(200, 3))
        x = rng.normal(size=(200, 1)) + 0.5 * rng.normal(size=3) + noise
        for k, kind in enumerate(("generalised", "F")):
            inside[k] += truth in icc(x, "2", interval=kind).interval()  # type: ignore[arg-type]
    assert inside[0] / 400 > 0.95 - 0.033
    assert inside[1] / 400 < 0.95 - 0.033


def test_wrong_intervals_of_icc() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(ValueError, match="form 2's"):
        icc(x, "3", interval="generalised")
    with pytest.raises(ValueError, match="interval must be"):
        icc(x, "2", interval="bca")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="interval='jackknife'"):
        icc(x, "2", clusters=[1, 1, 2, 2, 3, 3])
