"""Tests and intervals from one error, against scipy, statsmodels and exact arithmetic."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW, ttest_ind, ttost_paired

from statllm.estimators.comparison import (
    equivalence,
    macro_mean,
    mean_estimate,
    non_inferiority,
    paired_difference,
    size_weighted_mean,
    t_estimate,
    t_test,
    two_way_mean,
    unpaired_difference,
)
from statllm.estimators.proportions import clopper_pearson, jeffreys, wilson


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_paired_and_welch_tests_equal_scipy(alternative: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=21), rng.normal(0.3, 2, size=21)
    ours = t_test(paired_difference(a, b), alternative=alternative)
    theirs = stats.ttest_rel(b, a, alternative=alternative)
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    ours = t_test(unpaired_difference(a, b[:9]), 0.1, alternative)
    theirs = stats.ttest_ind(b[:9] - 0.1, a, equal_var=False, alternative=alternative)
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_welch_interval_equals_statsmodels_and_the_normal_one_its_z() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.exponential(size=14), rng.exponential(size=30)
    found = unpaired_difference(a, b)
    df = ttest_ind(b, a, usevar="unequal")[2]
    assert found.df == pytest.approx(df)
    from statsmodels.stats.weightstats import CompareMeans

    compared = CompareMeans(DescrStatsW(b), DescrStatsW(a))
    low, high = compared.tconfint_diff(usevar="unequal")
    assert (found.interval().low, found.interval().high) == pytest.approx((low, high))
    plain = mean_estimate(a).with_normal_error().interval(0.9)
    expected = DescrStatsW(a).zconfint_mean(alpha=0.1)
    assert (plain.low, plain.high) == pytest.approx(expected)
    assert plain.method == "normal"


def test_a_share_stays_within_0_and_1() -> None:
    seen = mean_estimate([1.0] * 19 + [0.0])
    low, high = DescrStatsW([1.0] * 19 + [0.0]).tconfint_mean()
    assert high > 1
    found = seen.as_share(20).interval()
    assert (found.low, found.high) == (pytest.approx(low), 1.0)
    assert t_test(seen.as_share(20), 0.5).p_value == t_test(seen, 0.5).p_value
    exact = stats.binomtest(0, 20).proportion_ci(0.9, "exact")
    none = mean_estimate([0.0] * 20).as_share(20).interval(0.9)
    assert (none.low, none.high) == pytest.approx((exact.low, exact.high))
    with pytest.raises(ValueError, match=r"between 0 and 1, not at 1\.5"):
        mean_estimate([1.0, 2.0]).as_share(2)


@pytest.mark.parametrize(("t", "df"), [(3.0, 4), (60.0, 700), (45.0, 1e5), (-3.0, 9), (-50, 300)])
def test_log_p_keeps_its_digits(t: float, df: float) -> None:
    ours = t_test(t_estimate(t, 1.0, df, 10, "mean"), alternative="greater").log_p_value
    with mpmath.workdps(200):
        x = mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2)
        tail = mpmath.betainc(mpmath.mpf(df) / 2, 0.5, 0, x, regularized=True) / 2
        expected = mpmath.log(tail if t > 0 else 1 - tail)
    assert ours == pytest.approx(float(expected), rel=1e-9, abs=0)


def test_no_spread_and_no_error() -> None:
    flat = mean_estimate([1.0, 1.0, 1.0])
    assert t_test(flat, 1.0).p_value == 1
    assert t_test(flat, 0.5).p_value == 0
    assert t_test(flat, 0.5).log_p_value == -math.inf
    assert math.isnan(t_test(mean_estimate([2.0])).p_value)
    with pytest.raises(ValueError, match="alternative"):
        t_test(flat, alternative="larger")  # type: ignore[arg-type]


def test_equivalence_equals_statsmodels_and_the_interval() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=40)
    b = a + rng.normal(0.05, 0.4, size=40)
    difference = paired_difference(a, b)
    p, low, high = ttost_paired(b, a, -0.2, 0.2)
    assert equivalence(difference, 0.2).p_value == pytest.approx(p)
    assert equivalence(difference, 0.2).p_value == pytest.approx(max(low[1], high[1]))
    assert non_inferiority(difference, 0.2).p_value == pytest.approx(low[1])
    ends = difference.interval(0.9)
    edge = max(-ends.low, ends.high)  # the 1 - 2 alpha interval just fits
    assert equivalence(difference, edge).p_value == pytest.approx(0.05)
    with pytest.raises(ValueError, match="margin"):
        equivalence(difference, 0.0)


def test_equivalence_of_clusters_is_more_careful() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(15), 6)
    d = rng.normal(size=15)[group] + 0.1 * rng.normal(size=90)
    zero = np.zeros(90)
    alone, clustered = (paired_difference(zero, d, c) for c in (None, group))
    assert equivalence(clustered, 0.8).p_value > 2 * equivalence(alone, 0.8).p_value
    sums = d.reshape(15, 6).mean(1)
    expected = stats.ttest_1samp(sums, -0.8, alternative="greater").pvalue
    assert non_inferiority(clustered, 0.8).p_value == pytest.approx(expected)


# ---- groups and two ways ------------------------------------------------------------------------


def test_macro_mean_against_its_formula_and_the_pooled_one() -> None:
    # Two small groups of 50 with much spread, one of 1500 with none: the pooled formula
    # (size-weighted) gives the macro mean a third of its error.
    rng = np.random.default_rng(4)
    scores = [
        np.repeat([0, 1], 25),
        np.repeat([0, 1], [25, 25]),
        rng.permutation([1] * 1485 + [0] * 15),
    ]
    x = np.concatenate(scores).astype(float)
    groups = np.repeat(["a", "b", "c"], [50, 50, 1500])
    macro, micro = macro_mean(x, groups), size_weighted_mean(x, groups)
    se = np.array([stats.sem(each) for each in scores])
    assert macro.value == pytest.approx(np.mean([each.mean() for each in scores]))
    assert macro.se == pytest.approx(np.sqrt((se**2).sum()) / 3)
    assert micro.value == pytest.approx(x.mean())
    n = np.array([50, 50, 1500])
    assert micro.se == pytest.approx(np.sqrt(((n / 1600 * se) ** 2).sum()))
    assert macro.se > 8 * micro.se
    # By simulation with resampling within groups: which of the two is the macro mean's spread?
    drawn = sum(rng.choice(each, (4000, len(each))).mean(1) for each in scores) / 3
    assert drawn.std() == pytest.approx(macro.se, rel=0.05)


def test_macro_mean_with_clusters_and_bad_input() -> None:
    x = np.arange(12.0) % 5
    groups, clusters = np.repeat([0, 1], 6), np.repeat(np.arange(6), 2)
    parts = [mean_estimate(x[groups == g], clusters[groups == g]) for g in (0, 1)]
    macro = macro_mean(x, groups, clusters)
    assert macro.se == pytest.approx(math.hypot(*(part.se for part in parts)) / 2)
    assert macro.n == 6
    with pytest.raises(ValueError, match="more than one group"):
        macro_mean(x, groups, np.arange(12) % 3)
    assert math.isnan(macro_mean([1.0, 0.0, 1.0], ["a", "a", "b"]).se)


def test_two_way_error_equals_statsmodels() -> None:
    rng = np.random.default_rng(5)
    item, judge = np.repeat(np.arange(30), 6), np.tile(np.arange(6), 30)
    x = rng.normal(size=30)[item] + rng.normal(size=6)[judge] + rng.normal(size=180)
    found = two_way_mean(x, item, judge)
    fit = sm.OLS(x, np.ones(180)).fit()
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    both, first, second = cov_cluster_2groups(fit, item, judge, use_correction=True)
    # Its n_groups / (n_groups - 1) (n - 1) / (n - k), k = 1, is ours for equal clusters.
    assert found.se == pytest.approx(math.sqrt(both[0, 0]))
    assert found.n == 6
    assert found.df == pytest.approx(5)
    assert found.se > math.sqrt(max(first[0, 0], second[0, 0]))


def test_two_way_error_is_never_below_either_way() -> None:
    # Rows that alternate within items and judges: V is negative.
    item, judge = np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4)
    x = (-1.0) ** (item + judge)
    found = two_way_mean(x, item, judge)
    assert found.se == max(mean_estimate(x, item).se, mean_estimate(x, judge).se)
    assert "one-way" in found.method


def test_two_way_interval_covers() -> None:
    rng = np.random.default_rng(6)
    item, judge = np.repeat(np.arange(30), 12), np.tile(np.arange(12), 30)
    hits, one_way, rounds = 0, 0, 1000
    for _ in range(rounds):
        x = rng.normal(size=30)[item] + rng.normal(size=12)[judge] + rng.normal(size=360)
        hits += 0 in two_way_mean(x, item, judge).interval()
        one_way += 0 in mean_estimate(x, item).interval()
    assert hits / rounds == pytest.approx(0.95, abs=3 * 0.007)
    assert one_way / rounds < 0.9


# ---- exact coverage -----------------------------------------------------------------------------


def exact_coverage(n: int, p: float) -> dict[str, float]:
    """Coverage of nominal 95 % intervals, summed over the binomial law."""
    covers = dict.fromkeys(["clt", "t", "wilson", "clopper-pearson", "jeffreys"], 0.0)
    for k in range(n + 1):
        weight = stats.binom.pmf(k, n, p)
        estimate = mean_estimate(np.repeat([1, 0], [k, n - k]))
        # The usual CLT interval has variance p (1 - p) / n.
        half = 1.959964 * math.sqrt(k / n * (1 - k / n) / n)
        covers["clt"] += weight * (abs(k / n - p) <= half)
        covers["t"] += weight * (p in estimate.interval())
        for name, limits in (
            ("wilson", wilson),
            ("clopper-pearson", clopper_pearson),
            ("jeffreys", jeffreys),
        ):
            low, high = limits(k, n)
            covers[name] += weight * (low <= p <= high)
    return covers


def test_exact_coverage_of_accuracies() -> None:
    thirty, twenty = exact_coverage(30, 0.9), exact_coverage(20, 0.9)
    assert thirty["clt"] == pytest.approx(0.809, abs=5e-4)
    assert thirty["t"] == pytest.approx(0.956, abs=5e-4)
    assert thirty["wilson"] == pytest.approx(0.974, abs=5e-4)
    assert twenty["clt"] == pytest.approx(0.876, abs=5e-4)
    assert twenty["t"] == pytest.approx(0.876, abs=5e-4)
    assert twenty["wilson"] == pytest.approx(0.957, abs=5e-4)
    assert min(thirty["clopper-pearson"], twenty["clopper-pearson"]) >= 0.95


def test_unpaired_error_on_paired_data_is_too_large() -> None:
    # Simulated truth: the spread of the difference of two models on the same prompts.
    rng = np.random.default_rng(7)
    difficulty = rng.uniform(size=(4000, 300))
    a = (rng.uniform(size=(4000, 300)) < difficulty) * 1.0
    b = (rng.uniform(size=(4000, 300)) < difficulty**0.9) * 1.0
    spread = (b - a).mean(1).std()
    paired, unpaired = paired_difference(a[0], b[0]).se, unpaired_difference(a[0], b[0]).se
    assert paired == pytest.approx(spread, rel=0.1)
    assert unpaired > 1.15 * spread
