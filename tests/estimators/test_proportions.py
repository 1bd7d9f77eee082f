"""Intervals for proportions against statsmodels, and their coverage by enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import multinomial_proportions_confint, proportion_confint

from statllm.estimators.proportions import (
    clopper_pearson,
    goodman,
    interval_function,
    jeffreys,
    proportion,
    wilson,
)

X, N = (a.ravel() for a in np.meshgrid(np.arange(0, 41), np.arange(1, 41)))
X, N = X[X <= N], N[X <= N]


@pytest.mark.parametrize(
    ("method", "theirs"),
    [("wilson", "wilson"), ("clopper-pearson", "beta"), ("jeffreys", "jeffreys")],
)
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_limits_equal_statsmodels(method: str, theirs: str, level: float) -> None:
    low, high = interval_function(method)(X, N, level)
    expected_low, expected_high = proportion_confint(X, N, 1 - level, theirs)
    inner = (X > 0) & (X < N)  # statsmodels leaves Jeffreys' ends inside (0, 1) at x = 0 and n
    np.testing.assert_allclose(low[inner], expected_low[inner], rtol=1e-9)
    np.testing.assert_allclose(high[inner], expected_high[inner], rtol=1e-9)
    assert (low[X == 0] == 0).all()
    assert (high[X == N] == 1).all()
    np.testing.assert_allclose(high[X == 0], expected_high[X == 0], rtol=1e-9)
    np.testing.assert_allclose(low[X == N], expected_low[X == N], rtol=1e-9)


@pytest.mark.parametrize("counts", [[6, 2, 1], [10, 0, 0, 3], [1, 1], [100, 80, 3, 9, 40]])
def test_goodman_equals_statsmodels(counts: list[int]) -> None:
    limits = np.array(goodman(counts, sum(counts), len(counts), 0.9)).T
    expected = multinomial_proportions_confint(counts, 0.1, "goodman")
    np.testing.assert_allclose(limits, expected, rtol=1e-9, atol=1e-15)


def coverage(method: str, n: int, p: np.ndarray, level: float) -> np.ndarray:
    """Exact coverage at each p: sum of the binomial probabilities of intervals that hold p."""
    x = np.arange(n + 1)
    low, high = interval_function(method)(x, n, level)
    holds = (low[:, None] <= p) & (p <= high[:, None])
    return (stats.binom.pmf(x[:, None], n, p) * holds).sum(0)


@pytest.mark.parametrize("n", [1, 5, 10, 37, 100])
def test_coverage_by_enumeration(n: int) -> None:
    p = np.linspace(0.001, 0.999, 999)
    assert coverage("clopper-pearson", n, p, 0.95).min() >= 0.95
    # Wilson and Jeffreys hold the level on average over p, not at each p.
    for method in ("wilson", "jeffreys"):
        assert coverage(method, n, p, 0.95).mean() == pytest.approx(0.95, abs=0.03)
    # Wilson's known dips near 0 and 1 stay shallow (Brown, Cai and DasGupta 2001).
    assert coverage("wilson", n, p, 0.95).min() > (0.82 if n > 1 else 0.79)


def test_goodman_joint_coverage_by_enumeration() -> None:
    n, p = 12, np.array([0.5, 0.3, 0.2])
    tables = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)])
    low, high = goodman(tables, n, 3, 0.95)
    joint = ((low <= p) & (p <= high)).all(1)
    assert (stats.multinomial.pmf(tables, n, p) * joint).sum() > 0.93
    one, other = wilson(tables, n, 0.95)
    single = ((one <= p) & (p <= other)).all(1)
    assert (stats.multinomial.pmf(tables, n, p) * single).sum() < 0.92  # not simultaneous


def test_coverage_by_simulation() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200_000)
    n = rng.integers(1, 60, size=p.size)
    x = rng.binomial(n, p)
    for method in ("wilson", "jeffreys", "clopper-pearson"):
        low, high = interval_function(method)(x, n, 0.95)
        rate = np.mean((low <= p) & (p <= high))
        assert 0.945 < rate < (0.99 if method == "clopper-pearson" else 0.96)


@settings(deadline=None)  # other work may share the machine
@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.01, 0.999))
def test_limits_are_ordered_nested_and_symmetric(x: int, more: int, level: float) -> None:
    n = x + more
    for limits in (wilson, clopper_pearson, jeffreys):
        low, high = limits(x, n, level)
        assert 0 <= low <= high <= 1
        if n and limits is not jeffreys:  # a narrow posterior interval may leave x / n out
            assert low - 1e-12 <= x / n <= high + 1e-12
        wider_low, wider_high = limits(x, n, (1 + level) / 2)
        assert wider_low <= low + 1e-12
        assert wider_high >= high - 1e-12
        mirror_low, mirror_high = limits(more, n, level)
        np.testing.assert_allclose([1 - mirror_high, 1 - mirror_low], [low, high], atol=1e-9)


def test_no_trials_say_nothing() -> None:
    for limits in (wilson, clopper_pearson, jeffreys):
        assert tuple(map(float, limits(0, 0))) == (0, 1)
    assert tuple(map(float, goodman(0, 0, 4))) == (0, 1)
    nothing = proportion(0, 0)
    assert np.isnan(nothing.value)
    assert (nothing.interval().low, nothing.interval().high) == (0, 1)


def test_proportion_carries_its_interval() -> None:
    estimate = proportion(18, 20, "clopper-pearson", name="accuracy")
    assert (estimate.value, estimate.n) == (0.9, 20)
    assert estimate.se == pytest.approx(np.sqrt(0.9 * 0.1 / 20))
    expected = stats.binomtest(18, 20).proportion_ci(0.99, "exact")
    interval = estimate.interval(0.99)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert interval.method == "clopper-pearson"


def test_wrong_input_is_refused() -> None:
    for limits in (wilson, clopper_pearson, jeffreys):
        with pytest.raises(ValueError, match="between 0 and n"):
            limits(3, 2)
        with pytest.raises(ValueError, match="between 0 and n"):
            limits(float("nan"), 2)
        with pytest.raises(ValueError, match="level must lie"):
            limits(1, 2, 95)
    with pytest.raises(ValueError, match="n_categories"):
        goodman(1, 2, 0)
    with pytest.raises(ValueError, match="method must be one of"):
        proportion(1, 2, "wald")  # type: ignore[arg-type]
