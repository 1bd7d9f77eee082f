"""Means, paired differences and McNemar's test against peers and exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from pathlib import Path

import mpmath
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar

from statllm.estimators.comparison import (
    mcnemar,
    mean_estimate,
    paired_difference,
    ratio_estimate,
)


def outcomes(n01: int, n10: int, both: int = 3) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([0, 1, 1], [n01, n10, both])
    b = np.repeat([1, 0, 1], [n01, n10, both])
    return a, b


# ---- means ------------------------------------------------------------------------------------


def test_mean_and_interval_equal_scipy() -> None:
    x = np.random.default_rng(0).exponential(size=23)
    estimate = mean_estimate(x)
    assert estimate.value == pytest.approx(x.mean())
    assert estimate.se == pytest.approx(stats.sem(x))
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    interval = estimate.interval(0.9)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))


def test_clustered_error_equals_statsmodels() -> None:
    rng = np.random.default_rng(1)
    groups = np.arange(60) % 12
    x = rng.normal(size=60) + rng.normal(size=12)[groups]
    estimate = mean_estimate(x, clusters=groups)
    fit = sm.OLS(x, np.ones(60)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}
    )
    assert estimate.se == pytest.approx(fit.bse[0])  # equal clusters: G / (G - 1) here as well
    assert estimate.n == 12
    # Unequal ones: HC2 of the regression of cluster sums on sizes, variance growing with size.
    groups = rng.integers(0, 9, size=60)
    sums, sizes = np.bincount(groups, x), np.bincount(groups).astype(float)
    regression = sm.WLS(sums, sizes, weights=1 / sizes).fit(cov_type="HC2")
    assert mean_estimate(x, clusters=groups).se == pytest.approx(regression.bse[0])
    assert ratio_estimate(sums, sizes).se == pytest.approx(regression.bse[0])


@pytest.mark.parametrize("sizes", [[4, 4, 4], [1, 2, 3, 9, 9], [1, 1, 1, 40], [7, 1]])
def test_degrees_of_freedom_equal_those_of_the_quadratic_form(sizes: list[int]) -> None:
    # Bell and McCaffrey: se^2 = e' Q e for rows e, Q from the root of I - H, clusters apart.
    group = np.repeat(np.arange(len(sizes)), sizes)
    n = len(group)
    residual_maker = np.eye(n) - np.full((n, n), 1 / n)
    rows = []
    for c, size in enumerate(sizes):
        own = np.eye(size) - np.full((size, size), 1 / n)
        values, vectors = np.linalg.eigh(own)
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        rows.append(root.sum(axis=0) @ residual_maker[group == c] / n)
    law = np.linalg.eigvalsh(np.array(rows) @ np.array(rows).T)
    df = law.sum() ** 2 / (law**2).sum()
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    estimate = mean_estimate(x, clusters=group)
    assert estimate.se == pytest.approx(np.sqrt(((np.array(rows) @ x) ** 2).sum()))
    half = estimate.interval().high - estimate.value
    assert half / estimate.se == pytest.approx(stats.t.ppf(0.975, df))
    assert law.sum() == pytest.approx(1 / n)  # unbiased where rows are independent


def test_a_unit_with_everything_leaves_no_error() -> None:
    assert np.isnan(ratio_estimate([1.0, 0.0], [1.0, 0.0]).se)
    nearly = ratio_estimate([1.0, 1e-9, 3e-9], [1.0, 1e-9, 1e-9])
    half = nearly.interval().high - nearly.value
    assert half / nearly.se == pytest.approx(stats.t.ppf(0.975, 1), rel=1e-6)
    # Negative denominators (variance components, say) have no shares.
    mixed = ratio_estimate([1.0, 2.0, 4.0], [1.0, -1.0, 3.0])
    residuals = np.array([1.0, 2.0, 4.0]) - 7 / 3 * np.array([1.0, -1.0, 3.0])
    assert mixed.se == pytest.approx(np.sqrt(1.5 * (residuals**2).sum()) / 3)
    assert mixed.interval().method == "t(2)"


@settings(deadline=None)  # other work may share the machine
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12))
def test_clusters_of_one_change_nothing(x: list[float]) -> None:
    labels = [f"prompt {i}" for i in range(len(x))]
    plain, clustered = mean_estimate(x), mean_estimate(x, clusters=labels)
    assert clustered.se == pytest.approx(plain.se, abs=1e-12)


def test_duplicating_every_prompt_in_its_cluster_adds_no_information() -> None:
    x = [0.0, 1.0, 1.0, 0.0, 1.0]
    plain = mean_estimate(x)
    doubled = mean_estimate(np.repeat(x, 4), clusters=np.repeat(np.arange(5), 4))
    assert doubled.se == pytest.approx(plain.se)
    assert doubled.n == 5


def test_small_and_missing() -> None:
    assert np.isnan(mean_estimate([]).value)
    one = mean_estimate([2.0])
    assert one.value == 2.0
    assert np.isnan([one.se, one.interval().low]).all()
    assert np.isnan(mean_estimate([1.0, float("nan"), 2.0]).value)


def test_ratio_error_against_the_jackknife() -> None:
    rng = np.random.default_rng(2)
    w = rng.integers(1, 20, size=400).astype(float)
    y = 0.3 * w + rng.normal(size=400)
    estimate = ratio_estimate(y, w)
    left_out = (y.sum() - y) / (w.sum() - w)
    jackknife = np.sqrt(399 / 400 * ((left_out - left_out.mean()) ** 2).sum())
    assert estimate.value == pytest.approx(y.sum() / w.sum())
    assert estimate.se == pytest.approx(jackknife, rel=0.01)


def test_clustered_interval_covers() -> None:
    rng = np.random.default_rng(3)
    hits, naive = 0, 0
    for _ in range(2000):
        shared = rng.normal(size=30)
        x = np.repeat(shared, 5) + rng.normal(size=150)
        hits += 0.0 in mean_estimate(x, clusters=np.repeat(np.arange(30), 5)).interval()
        naive += 0.0 in mean_estimate(x).interval()
    assert 0.935 < hits / 2000 < 0.965
    assert naive / 2000 < 0.8  # what ignoring the clusters costs


@pytest.mark.parametrize("sizes", [range(1, 11), [1] * 9 + [9]])
def test_interval_of_few_unequal_clusters_covers(sizes: list[int]) -> None:
    rng = np.random.default_rng(8)
    group = np.repeat(np.arange(10), sizes)
    hits = old = 0
    for _ in range(2000):
        x = rng.normal(size=10)[group] + rng.normal(size=len(group))
        estimate = mean_estimate(x, clusters=group)
        hits += 0.0 in estimate.interval()
        sums = np.bincount(group, x - x.mean())
        half = stats.t.ppf(0.975, 9) * np.sqrt(10 / 9 * sums @ sums) / len(group)
        old += abs(x.mean()) <= half
    assert 0.93 < hits / 2000 < 0.975
    assert old < hits


# ---- paired differences -----------------------------------------------------------------------


def test_paired_difference_equals_scipy() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 40))
    estimate = paired_difference(a, b)
    test = stats.ttest_rel(b, a)
    expected = test.confidence_interval(0.95)
    interval = estimate.interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert estimate.value == pytest.approx((b - a).mean())


def test_missing_pairs_are_refused_or_dropped() -> None:
    nan = float("nan")
    a, b = [1.0, nan, 3.0, 0.0], [2.0, 5.0, nan, 4.0]
    with pytest.raises(ValueError, match="2 of 4 pairs have a NaN"):
        paired_difference(a, b)
    assert paired_difference(a, b, missing="drop").value == 2.5
    assert paired_difference(a, b, ["x", "y", "y", "x"], missing="drop").n == 1
    assert mcnemar([0, 1, nan], [1, 1, 0], missing="drop").n_effective == 1


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="have 1 and 2 rows"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="clusters must have one label per row, 2"):
        paired_difference([1.0, 2.0], [1.0, 2.0], clusters=["a"])
    with pytest.raises(ValueError, match="clusters must have one label per row, 2"):
        mean_estimate([1.0, 2.0], clusters=["a"])
    with pytest.raises(ValueError, match="one-dimensional"):
        mean_estimate([[1.0, 2.0]])
    with pytest.raises(ValueError, match="2 numerators and 1 denominators"):
        ratio_estimate([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="true or false"):
        mcnemar([0.5], [1])
    with pytest.raises(ValueError, match="mid_p belongs"):
        mcnemar([0], [1], exact=False, mid_p=True)
    with pytest.raises(ValueError, match="missing must be"):
        paired_difference([1.0], [1.0], missing="zero")  # type: ignore[arg-type]


# ---- McNemar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n01", "n10"), [(0, 0), (1, 0), (3, 3), (8, 1), (40, 71), (300, 150)])
def test_mcnemar_equals_statsmodels(n01: int, n10: int) -> None:
    a, b = outcomes(n01, n10)
    table = [[0, n01], [n10, 3]]
    exact = mcnemar(a, b)
    if n01 + n10:
        assert exact.p_value == pytest.approx(their_mcnemar(table, exact=True).pvalue, rel=1e-9)
        theirs = their_mcnemar(table, exact=False, correction=False)
        ours = mcnemar(a, b, exact=False)
        assert ours.statistic == pytest.approx(theirs.statistic)
        assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    else:
        assert exact.p_value == mcnemar(a, b, exact=False).p_value == 1.0
    assert exact.n_effective == n01 + n10


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_exact_and_mid_p_by_fractions(n01: int, n10: int) -> None:
    n, x = n01 + n10, min(n01, n10)
    weights = [Fraction(math.comb(n, k), 2**n) for k in range(n + 1)]
    exact = min(2 * sum(weights[: x + 1]), Fraction(1))
    # Half of every table that is as likely as the observed one.
    alike = weights[x] if n01 == n10 else 2 * weights[x]
    mid = exact - alike / 2 if n01 != n10 else 1
    a, b = outcomes(n01, n10)
    assert mcnemar(a, b).p_value == pytest.approx(float(exact), rel=1e-11)
    assert mcnemar(a, b, mid_p=True).p_value == pytest.approx(float(mid), rel=1e-11)
    assert mcnemar(b, a).p_value == mcnemar(a, b).p_value  # two-sided


def test_mid_p_of_equal_discordants_is_defined() -> None:
    # 2 P(X < x) + P(X = x) = 1 when x = n / 2: nothing speaks against the null hypothesis.
    a, b = outcomes(5, 5)
    assert mcnemar(a, b, mid_p=True).p_value == pytest.approx(1.0)


@pytest.mark.parametrize(("n01", "n10"), [(1100, 0), (5000, 900), (20_000, 19_000), (100_000, 5)])
def test_log_p_stays_exact_below_the_smallest_double(n01: int, n10: int) -> None:
    with mpmath.workdps(50):
        n, x = n01 + n10, min(n01, n10)
        term = total = mpmath.binomial(n, x)
        for k in range(x, 0, -1):
            term = term * k / (n - k + 1)
            total += term
            if term < total * mpmath.mpf(10) ** -40:
                break
        expected = float(mpmath.log(2 * total) - n * mpmath.log(2))
    result = mcnemar(*outcomes(n01, n10))
    assert result.log_p_value == pytest.approx(expected, rel=1e-12, abs=1e-8)
    assert result.p_value == pytest.approx(math.exp(expected), rel=1e-7)


def test_chi_squared_log_p_stays_finite() -> None:
    a, b = outcomes(10_000, 0)
    result = mcnemar(a, b, exact=False)
    with mpmath.workdps(50):
        expected = float(mpmath.log(mpmath.erfc(mpmath.sqrt(result.statistic / 2))))
    assert result.log_p_value == pytest.approx(expected, rel=1e-12)
    assert result.p_value == 0.0


def test_sizes_by_enumeration() -> None:
    """Chance of p <= .05 under the null hypothesis: exact stays below, mid-p comes closer."""
    n = 25
    chance = stats.binom.pmf(np.arange(n + 1), n, 0.5)
    sizes = [
        sum(
            chance[k]
            for k in range(n + 1)
            if mcnemar(*outcomes(k, n - k), mid_p=mid).p_value <= 0.05
        )
        for mid in (False, True)
    ]
    assert sizes[0] <= sizes[1]
    assert sizes[0] <= 0.05
    assert sizes[1] < 0.06


def test_order_of_prompts_changes_nothing() -> None:
    a, b = outcomes(9, 4)
    order = np.random.default_rng(0).permutation(len(a))
    assert mcnemar(a[order], b[order]) == mcnemar(a, b)


def test_released_gsm8k_solutions(shared_data: Path) -> None:
    # openai/grade-school-math: discordant pairs counted independently from the released flags.
    discordant = {
        ("175b_finetuning", "175b_verification"): (76, 360),
        ("175b_finetuning", "6b_finetuning"): (260, 88),
        ("175b_finetuning", "6b_verification"): (152, 209),
        ("175b_verification", "6b_finetuning"): (499, 43),
        ("175b_verification", "6b_verification"): (306, 79),
        ("6b_finetuning", "6b_verification"): (64, 293),
    }
    long = pd.read_parquet(shared_data / "gsm8k_openai" / "model_solutions.parquet")
    wide = long.pivot(index="qid", columns="method", values="correct").astype(float)
    for (first, second), (only_first, only_second) in discordant.items():
        test = mcnemar(wide[first], wide[second])
        assert (test.statistic, test.n_effective) == (only_second, only_first + only_second)
        expected = stats.binomtest(only_second, only_first + only_second).pvalue
        assert test.p_value == pytest.approx(expected, rel=1e-8)
        gain = paired_difference(wide[first], wide[second])
        assert gain.value == pytest.approx((only_second - only_first) / 1319)
    assert mean_estimate(wide["6b_finetuning"]).value == pytest.approx(0.2168309325246399)


def test_brute_force_null_distribution() -> None:
    """With five discordant pairs, p is the share of sign patterns at least as uneven."""
    for k in range(6):
        uneven = sum(
            max(sum(signs), 5 - sum(signs)) >= max(k, 5 - k) for signs in product([0, 1], repeat=5)
        )
        assert mcnemar(*outcomes(k, 5 - k)).p_value == pytest.approx(uneven / 32)
