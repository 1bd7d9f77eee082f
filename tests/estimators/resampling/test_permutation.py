"""Sign flips and permutations against enumeration, McNemar, Fisher and scipy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.comparison import mcnemar
from statllm.estimators.resampling import permutation_test, sign_flip_test

ALTERNATIVES = ["two-sided", "greater", "less"]


def enumerated(d: np.ndarray, alternative: str) -> float:
    signs = np.array(list(itertools.product([-1, 1], repeat=len(d))))
    sums, observed = signs @ d, d.sum()
    upper, lower = (sums >= observed - 1e-9).mean(), (sums <= observed + 1e-9).mean()
    both = min(1.0, 2 * min(upper, lower))
    return {"greater": upper, "less": lower, "two-sided": both}[alternative]


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_sign_flips_equal_enumeration(alternative: Any) -> None:
    rng = np.random.default_rng(0)
    for scores in (
        rng.normal(0.3, 1, 11),
        rng.integers(-3, 5, 12) / 1.0,
        rng.integers(-5, 8, 12) / 5,  # shares of five samples
        rng.integers(-4, 7, 12) / 3 + rng.integers(0, 2, 12) / 4,  # sixths and quarters: twelfths
        np.array([0.0, 0.5, 0.5, -0.5, 0.0]),
    ):
        test = sign_flip_test(scores, alternative=alternative)
        assert "exact" in test.method
        assert test.p_value == pytest.approx(enumerated(scores, alternative), rel=1e-10)
        assert test.statistic == pytest.approx(scores.mean())


def test_sign_flips_of_right_and_wrong_are_mcnemar() -> None:
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.05, 0.6):
        a = rng.random(3000) < 0.2
        b = a ^ (rng.random(3000) < np.where(a, 0.1, 0.1 + shift))
        exact, theirs = sign_flip_test(b * 1.0 - a), mcnemar(a, b)
        assert exact.log_p_value == pytest.approx(theirs.log_p_value, rel=1e-9)
        assert exact.n_effective == theirs.n_effective
    assert theirs.log_p_value < -900  # far below what a p-value can hold


def test_random_sign_flips_come_near_the_exact_ones_and_scipy() -> None:
    rng = np.random.default_rng(2)
    for d in (rng.integers(-3, 4, 60) + 0.0, rng.normal(0.2, 1, 60)):
        ours = sign_flip_test(d, method="random", resamples=20_000).p_value
        theirs = stats.permutation_test(
            (d,), np.mean, permutation_type="samples", n_resamples=20_000, rng=3
        ).pvalue
        assert ours == pytest.approx(theirs, abs=4 * math.sqrt(2 * ours / 20_000) + 1e-4)
    exact = sign_flip_test(np.arange(-8, 14) * 1.0).p_value
    ours = sign_flip_test(np.arange(-8, 14) * 1.0, method="random", resamples=50_000).p_value
    assert ours == pytest.approx(exact, abs=4 * math.sqrt(2 * exact / 50_000))


def test_random_p_values_are_ranks_that_are_never_zero() -> None:
    x = np.random.default_rng(4).normal(8, 1, 30)
    # (1 + 0) / (R + 1) in each tail
    assert sign_flip_test(x, method="random", resamples=99).p_value == pytest.approx(0.02)
    one_sided = sign_flip_test(x, alternative="greater", method="random", resamples=99)
    assert one_sided.p_value == pytest.approx(0.01)
    assert "99 at random" in one_sided.method


def test_clusters_flip_together() -> None:
    rng = np.random.default_rng(5)
    group = rng.integers(0, 10, 60)
    d = rng.normal(size=10)[group] + rng.normal(size=60)
    sums = np.bincount(group, d)
    test = sign_flip_test(d, group)
    assert test.p_value == pytest.approx(enumerated(sums, "two-sided"), rel=1e-10)
    assert test.n_effective == 10
    assert test.statistic == pytest.approx(d.mean())


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_permutations_equal_scipy_and_fisher(alternative: Any) -> None:
    rng = np.random.default_rng(6)

    def difference(x: Any, y: Any, axis: int = -1) -> Any:
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    for a, b in (
        (rng.normal(size=6), rng.normal(0.5, 1, 7)),
        (rng.integers(0, 4, 7) * 1.0, rng.integers(0, 5, 5) * 1.0),
    ):
        test = permutation_test(a, b, alternative)
        theirs = stats.permutation_test(
            (a, b), difference, n_resamples=np.inf, alternative=alternative
        )
        assert test.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    a, b = (rng.random(400) < 0.3) * 1.0, (rng.random(250) < 0.4) * 1.0
    table = [[b.sum(), (1 - b).sum()], [a.sum(), (1 - a).sum()]]
    upper, lower = (stats.fisher_exact(table, s).pvalue for s in ("greater", "less"))
    expected = {"greater": upper, "less": lower, "two-sided": min(1, 2 * min(upper, lower))}
    exact = permutation_test(a, b, alternative).p_value
    assert exact == pytest.approx(expected[alternative], rel=1e-9)
    drawn = permutation_test(a, b, alternative, "random", 40_000).p_value
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(2 * exact / 40_000))


def test_random_permutations_of_continuous_scores() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.exponential(size=60), rng.exponential(1.3, size=45)
    ours = permutation_test(a, b, resamples=20_000)
    assert "random" in ours.method
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: y.mean(axis) - x.mean(axis), n_resamples=20_000, rng=8
    ).pvalue
    assert ours.p_value == pytest.approx(theirs, abs=4 * math.sqrt(4 * theirs / 20_000))


def test_nothing_to_permute_and_bad_input() -> None:
    assert sign_flip_test([0.0, 0.0]).p_value == 1
    assert permutation_test([1.0, 1.0], [1.0]).p_value == 1
    with pytest.raises(ValueError, match="takes too long"):
        sign_flip_test(np.random.default_rng(9).normal(size=40), method="exact")
    with pytest.raises(ValueError, match="differences is nan at place 1"):
        sign_flip_test([1.0, math.nan])
    with pytest.raises(ValueError, match="method must"):
        permutation_test([1.0], [2.0], method="fast")  # type: ignore[arg-type]


def test_rounding_breaks_no_ties() -> None:
    rng = np.random.default_rng(11)
    a, b = rng.integers(0, 11, (2, 200))
    exact = sign_flip_test(b / 10 - a / 10)
    assert exact.log_p_value == pytest.approx(sign_flip_test(b - a).log_p_value, rel=1e-9)
    assert "exact" in exact.method


def test_size() -> None:
    rng = np.random.default_rng(10)
    flips, labels, rounds = 0, 0, 2000
    for seed in range(rounds):
        x = rng.laplace(size=24)
        flips += sign_flip_test(x, method="random", resamples=199, rng=seed).p_value <= 0.05
        both = rng.exponential(size=30)
        labels += permutation_test(both[:12], both[12:], resamples=199, rng=seed).p_value <= 0.05
    # Monte Carlo error .005
    assert 0.03 < flips / rounds <= 0.065
    assert 0.03 < labels / rounds <= 0.065
