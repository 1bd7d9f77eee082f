"""Calibration tests against statsmodels, scipy and loops; their size and power."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.calibration._tails import log_chi2
from statllm.estimators.calibration.adaptive import _levels, t_cal
from statllm.estimators.calibration.classical import hosmer_lemeshow, spiegelhalter
from statllm.estimators.calibration.cumulative import (
    _log_tail_maximum,
    _log_tail_range,
    cumulative_differences,
    kolmogorov_smirnov_calibration,
    kuiper_calibration,
)
from statllm.estimators.calibration.kernel import kernel_calibration_test
from statllm.estimators.calibration.monitor import safe_hosmer_lemeshow
from statllm.estimators.calibration.recalibration import cox
from statllm.results import TestResult

Test = Callable[..., TestResult]


def cox_test(p: np.ndarray, y: np.ndarray, **options: Any) -> TestResult:
    return cox(p, y, **options).test


TESTS: dict[str, Test] = {
    "Spiegelhalter": spiegelhalter,
    "Hosmer-Lemeshow": partial(hosmer_lemeshow, n_resamples=199),
    "Cox": cox_test,
    "Kolmogorov-Smirnov": partial(kolmogorov_smirnov_calibration, n_resamples=199),
    "Kuiper": partial(kuiper_calibration, n_resamples=199),
    "T-Cal": partial(t_cal, n_resamples=199),
    "T-Cal, Bonferroni": partial(t_cal, n_resamples=199, combine="bonferroni"),
    "T-Cal, 8 bins": partial(t_cal, n_resamples=199, n_bins=8),
    "SKCE": partial(kernel_calibration_test, n_resamples=99),
    "safe Hosmer-Lemeshow": safe_hosmer_lemeshow,
}
# Share of calibrated samples of 200 that may be rejected at 5 %: those that count outcomes anew,
# and the safe one, guarantee at most 5 %.
LARGEST = {"Cox": 0.08, "Spiegelhalter": 0.075}
SMALLEST = {"T-Cal, Bonferroni": 0.0, "safe Hosmer-Lemeshow": 0.0}


def rejections(
    test: Test, reps: int, n: int, seed: int, claim: Callable[[np.ndarray], np.ndarray]
) -> float:
    rng = np.random.default_rng(seed)
    draws = "rng" in inspect.signature(test).parameters
    count = 0
    for i in range(reps):
        truth = rng.beta(3, 2, n)
        y = rng.random(n) < truth
        # The same few draws for all samples would reject too many of them, or too few.
        count += test(claim(truth), y, **({"rng": i} if draws else {})).p_value <= 0.05
    return count / reps


@pytest.mark.parametrize("name", TESTS)
def test_size_at_two_hundred(name: str) -> None:
    size = rejections(TESTS[name], 200, 200, 10, lambda p: p)
    assert SMALLEST.get(name, 0.015) <= size <= LARGEST.get(name, 0.075) + 0.01


@pytest.mark.parametrize("name", TESTS)
def test_power_against_overconfidence(name: str) -> None:
    # The log odds claimed are twice the true ones.
    def twice(p: np.ndarray) -> np.ndarray:
        return p**2 / (p**2 + (1 - p) ** 2)

    assert rejections(TESTS[name], 40, 400, 11, twice) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_size_in_many_draws(name: str) -> None:
    size = rejections(TESTS[name], 3000, 200, 12, lambda p: p)
    assert SMALLEST.get(name, 0.03) <= size <= LARGEST.get(name, 0.058)


@pytest.mark.parametrize("name", TESTS)
def test_order_and_missing_rows(name: str) -> None:
    test, rng = TESTS[name], np.random.default_rng(0)
    p = np.repeat([0.2, 0.5, 0.7, 0.9], 15)  # ties everywhere
    y = rng.random(60) < p
    known = test(p, y)
    assert known.n_effective == 60
    assert 0 < known.p_value <= 1
    assert np.log(known.p_value) == pytest.approx(known.log_p_value)
    if name != "safe Hosmer-Lemeshow":  # for which order is time
        order = rng.permutation(60)
        again = test(p[order], y[order])
        assert again.statistic == pytest.approx(known.statistic)
        assert again.p_value == pytest.approx(known.p_value)
    with pytest.raises(ValueError, match="1 of 61 rows have a NaN"):
        test(np.append(p, np.nan), np.append(y, True))
    dropped = test(np.append(p, np.nan), np.append(y, True), missing="drop")
    assert dropped.p_value == pytest.approx(known.p_value)
    with pytest.raises(ValueError, match="correct must be true or false"):
        test(p, np.full(60, 0.5))
    with pytest.raises(ValueError, match="between 0 and 1"):
        test(p + 0.5, y)
    empty = test([], [])
    assert empty.n_effective == 0
    assert np.isnan(empty.p_value) or empty.p_value == 1


# ---- Spiegelhalter ----------------------------------------------------------------------------


def test_spiegelhalter_sees_both_directions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.beta(0.5, 0.5, 2000)
    y = rng.random(2000) < truth
    timid, bold = 0.5 + 0.5 * (truth - 0.5), np.where(truth > 0.5, 0.99, 0.01)
    # One-sided, the timid model had a p-value of 1 in one library.
    assert spiegelhalter(timid, y).statistic < -5
    assert spiegelhalter(timid, y).p_value < 1e-6
    assert spiegelhalter(bold, y).statistic > 5
    far = spiegelhalter(np.full(10**6, 0.9), np.zeros(10**6))
    assert far.p_value == 0
    assert np.isfinite(far.log_p_value)
    assert np.isnan(spiegelhalter([0.5, 0.5], [1, 0]).p_value)
    assert spiegelhalter([0.5, 1.0], [1, 0]).p_value == 0


def test_spiegelhalter_with_clusters_keeps_its_size() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(80), 5)
    clustered = plain = 0
    for _ in range(300):
        p = np.repeat(rng.random(80), 5)
        y = np.repeat(rng.random(80), 5) < p
        clustered += spiegelhalter(p, y, clusters=group).p_value <= 0.05
        plain += spiegelhalter(p, y).p_value <= 0.05
    assert clustered / 300 < 0.085
    assert plain / 300 > 0.25
    # A weight of one changes nothing; of two, all alike, nothing either.
    assert spiegelhalter(p, y, weights=np.full(400, 2.0)).statistic == pytest.approx(
        spiegelhalter(p, y).statistic
    )


# ---- Hosmer and Lemeshow ----------------------------------------------------------------------


def test_hosmer_lemeshow_equals_the_table_of_counts() -> None:
    rng = np.random.default_rng(0)
    p = np.round(rng.random(300), 1).clip(0.1, 0.9)
    y = rng.random(300) < p
    test = hosmer_lemeshow(p, y, n_groups=20, groups="equal-width", law="asymptotic")
    values = np.unique(p)
    # Every confidence is a group here: the ordinary chi-squared of right and wrong answers.
    expected = 0.0
    for v in values:
        n, right = (p == v).sum(), y[p == v].sum()
        expected += stats.chisquare([right, n - right], [n * v, n * (1 - v)]).statistic
    assert test.statistic == pytest.approx(expected)
    assert test.p_value == pytest.approx(stats.chi2.sf(expected, len(values)))
    assert "9 equal-width groups, 9 degrees of freedom" in test.method


def test_hosmer_lemeshow_at_its_limits() -> None:
    assert hosmer_lemeshow([0.0, 0.5], [1, 1], n_groups=2).log_p_value == -np.inf
    assert hosmer_lemeshow([0.0, 0.5], [0, 1], n_groups=2).statistic == pytest.approx(1)
    with pytest.raises(ValueError, match="leave no degree of freedom"):
        hosmer_lemeshow([0.5, 0.5], [0, 1], fitted=True)


@pytest.mark.parametrize("df", [1, 2, 5, 10])
def test_log_tail_of_chi_squared_far_out(df: int) -> None:
    import mpmath

    for x in (0.5, 20.0, 1300.0, 5000.0):
        exact = mpmath.log(mpmath.gammainc(df / 2, x / 2, regularized=True))
        assert log_chi2(x, df) == pytest.approx(float(exact), rel=1e-9)


# ---- Cox --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:cov_type not fully supported")
@pytest.mark.parametrize("how", ["plain", "weights", "clusters"])
def test_cox_equals_statsmodels(how: str) -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    p = rng.beta(3, 2, 300)
    y = (rng.random(300) < p**1.3).astype(float)
    group, w = np.repeat(np.arange(60), 5), rng.integers(1, 4, 300).astype(float)
    options: dict[str, Any] = {}
    fit_options: dict[str, Any] = {}
    model_options: dict[str, Any] = {}
    if how == "weights":
        options = {"weights": w}
        model_options = {"var_weights": w}
        # Each row a cluster, with the factor n / (n - 1).
        groups = np.arange(300)
    elif how == "clusters":
        options, groups = {"clusters": group}, group
    if how != "plain":
        fit_options = {
            "cov_type": "cluster",
            "cov_kwds": {"groups": groups, "use_correction": False},
        }
    logit = np.log(p / (1 - p))
    model = sm.GLM(y, sm.add_constant(logit), sm.families.Binomial(), **model_options)
    known = model.fit(tol=1e-12, **fit_options)
    n = 60 if how == "clusters" else 300
    factor = 1 if how == "plain" else np.sqrt(n / (n - 1))
    fit = cox(p, y, **options)
    found = [fit.intercept.value, fit.slope.value, fit.intercept.se, fit.slope.se]
    assert found == pytest.approx([*known.params, *(known.bse * factor)], rel=1e-6)
    # The slope is held at 1, so that its error is the sandwich's in any case.
    alone = sm.GLM(y, np.ones(300), sm.families.Binomial(), offset=logit, **model_options).fit(
        **(fit_options or {"cov_type": "HC0"})
    )
    assert fit.in_the_large.value == pytest.approx(alone.params[0], rel=1e-6)
    assert fit.in_the_large.se == pytest.approx(alone.bse[0] * factor, rel=1e-6)
    if how == "plain":
        null = float(np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)))
        assert fit.test.statistic == pytest.approx(2 * (known.llf - null))
        assert fit.test.p_value == pytest.approx(stats.chi2.sf(2 * (known.llf - null), 2))
    else:
        assert "Wald" in fit.test.method
        off = known.params - [0, 1]
        wald = off @ np.linalg.solve(known.cov_params() * factor**2, off)
        assert fit.test.statistic == pytest.approx(wald, rel=1e-6)
    assert list(fit.to_frame()["name"])[1] == "calibration slope"


def test_cox_where_there_is_no_maximum() -> None:
    # All right: the likelihood rises to 1 for an infinite intercept; the ratio stays finite.
    p = np.full(10, 0.9)
    alike = cox(p, np.ones(10))
    assert np.isnan(alike.slope.value)
    assert alike.test.statistic == pytest.approx(-20 * np.log(0.9), rel=1e-3)
    separated = cox([0.6, 0.7, 0.3, 0.4], [1, 1, 0, 0])
    assert np.isnan(separated.slope.se)
    assert separated.test.statistic == pytest.approx(-2 * np.log(0.6 * 0.7 * 0.7 * 0.6), rel=1e-3)
    with pytest.raises(ValueError, match="has no logit"):
        cox([0.0, 0.5, 0.7], [0, 1, 1])
    with pytest.raises(ValueError, match="clip must lie"):
        cox([0.2], [1], clip=0.7)
    assert np.isfinite(cox([0.0, 0.5, 0.7, 1.0], [0, 1, 0, 1], clip=0.01).test.statistic)


# ---- Kolmogorov and Smirnov, Kuiper -----------------------------------------------------------


def test_laws_of_brownian_motion() -> None:
    # MAPIE's tests: distribution functions at 1, 2, 3.
    for x, known in ((1, 0.370777), (2, 0.908999), (3, 0.9946)):
        assert 1 - np.exp(_log_tail_maximum(x)) == pytest.approx(known, abs=1e-6)
    for x, known in ((1, 0.063365), (2, 0.818506), (3, 0.989201)):
        assert 1 - np.exp(_log_tail_range(x)) == pytest.approx(known, abs=1e-6)
    # Both series agree where one takes over, and tails don't underflow.
    for tail, switch in ((_log_tail_maximum, 1.0), (_log_tail_range, 2.0)):
        assert tail(switch - 1e-9) == pytest.approx(tail(switch + 1e-9), abs=1e-7)
        assert tail(1e-3) == 0
        assert np.isfinite(tail(100.0))
        assert np.all(np.diff([tail(x) for x in np.linspace(0.01, 20, 400)]) <= 0)
    assert _log_tail_maximum(40.0) == pytest.approx(np.log(4) + stats.norm.logsf(40), rel=1e-12)


def test_cumulative_differences_equal_a_loop() -> None:
    rng = np.random.default_rng(0)
    p = rng.choice([0.1, 0.4, 0.4, 0.8], 50)
    y, w = rng.random(50) < p, rng.integers(1, 4, 50)
    values, path, scale = cumulative_differences(p, y, w)
    for v, c in zip(values, path, strict=True):
        assert c == pytest.approx((w * (y - p))[p <= v].sum() / w.sum())
    assert scale == pytest.approx(np.sqrt((w**2 * p * (1 - p)).sum()) / w.sum())
    twice = np.repeat(np.arange(50), 2)
    assert cumulative_differences(p[twice], y[twice])[1] == pytest.approx(
        cumulative_differences(p, y)[1]
    )
    assert kolmogorov_smirnov_calibration([1.0, 1.0], [1, 0]).p_value == 0
    assert np.isnan(kuiper_calibration([1.0, 1.0], [1, 1]).p_value)


# ---- T-Cal ------------------------------------------------------------------------------------


def test_t_cal_statistic_is_the_debiased_error() -> None:
    from statllm.estimators.calibration.binned import debiased_squared_calibration_error

    rng = np.random.default_rng(0)
    for n in (150, 9000):  # more distinct confidences than cells in the second
        p = rng.random(n)
        y = rng.random(n) < p
        found = t_cal(p, y, n_bins=16, n_resamples=9).statistic
        known = debiased_squared_calibration_error(p, y, 16, convention="t-cal").value
        assert found == pytest.approx(known, abs=2e-6 if n > 4096 else 1e-12)


def test_t_cal_finds_what_one_bin_width_misses() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(3000)
    y = rng.random(3000) < np.clip(p + 0.15 * np.sin(40 * np.pi * p), 0, 1)
    assert t_cal(p, y, n_bins=4).p_value > 0.05
    assert t_cal(p, y).p_value < 0.01
    assert t_cal(p, y, combine="bonferroni").p_value < 0.05
    assert kuiper_calibration(p, y).p_value > 0.05  # the waves cancel in the running sum


def test_t_cal_levels_and_seeds() -> None:
    assert _levels(2) == [2]
    assert _levels(200) == [2, 4, 8, 16, 32, 64]
    assert _levels(10**9)[-1] == 4096
    p, y = np.linspace(0.1, 0.9, 50), np.arange(50) % 2
    assert t_cal(p, y, rng=3) == t_cal(p, y, rng=np.random.default_rng(3))
    for seed in range(5):  # the union bound holds draw by draw
        assert t_cal(p, y, rng=seed).p_value <= t_cal(p, y, combine="bonferroni", rng=seed).p_value
    for wrong, words in (
        ({"combine": "fisher"}, "combine must be"),
        ({"n_resamples": 0}, "n_resamples must be"),
        ({"n_bins": 0}, "n_bins must be"),
    ):
        with pytest.raises(ValueError, match=words):
            t_cal(p, y, **wrong)  # type: ignore[arg-type]
