"""Tails of counts and weighted counts against enumeration, mpmath and scipy."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark import nulls


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("n", [1, 7, 200, 3000])
def test_binomial_against_mpmath(n: int, p: float) -> None:
    counts = sorted({0, 1, n // 4, n // 2, int(n * p) + 1, (9 * n) // 10, n})
    found = nulls.binomial_log_tail(counts, n, p)
    with mpmath.workdps(60):
        q = mpmath.mpf(p)
        for count, value in zip(counts, found, strict=True):
            tail = mpmath.fsum(
                mpmath.binomial(n, k) * q**k * (1 - q) ** (n - k) for k in range(count, n + 1)
            )
            assert value == pytest.approx(float(mpmath.log(tail)), rel=1e-10, abs=1e-14)


def test_binomial_far_below_the_smallest_double() -> None:
    assert nulls.binomial_log_tail(5000, 5000, 0.25) == pytest.approx(5000 * math.log(0.25))
    assert nulls.binomial_log_tail(10**6, 10**6, 0.5) == pytest.approx(-(10**6) * math.log(2))
    assert nulls.binomial_log_tail(6, 5, 0.5) == -math.inf


def test_dossier_greens() -> None:
    # 36 green of 100 at 1/4: exact .009407, where the normal law says .005538
    assert math.exp(float(nulls.binomial_log_tail(36, 100, 0.25))) == pytest.approx(
        0.009407, abs=5e-7
    )


@pytest.mark.parametrize(("size", "greens", "draws"), [(10, 4, 3), (50, 12, 30), (1000, 250, 200)])
def test_hypergeometric_against_scipy_and_mpmath(size: int, greens: int, draws: int) -> None:
    counts = np.arange(draws + 1)
    found = nulls.hypergeometric_log_tail(counts, size, greens, draws)
    law = stats.hypergeom(size, greens, draws)
    expected = law.sf(counts - 1)
    sure = expected > 1e-200
    np.testing.assert_allclose(np.exp(found[sure]), expected[sure], rtol=1e-9)
    with mpmath.workdps(50):
        most = min(draws, greens)
        exact = mpmath.binomial(greens, most) * mpmath.binomial(size - greens, draws - most)
        exact /= mpmath.binomial(size, draws)
        assert found[most] == pytest.approx(float(mpmath.log(exact)), rel=1e-10)


def test_sums_of_hypergeometrics_against_enumeration() -> None:
    laws = [stats.hypergeom(20, 5, m).pmf(np.arange(m + 1)) for m in (1, 3, 4)]
    whole = np.convolve(np.convolve(laws[0], laws[1]), laws[2])
    for count in range(9):
        found = nulls.hypergeometric_sum_log_tail(count, 20, 5, [4, 1, 3])
        assert math.exp(found) == pytest.approx(whole[count:].sum(), rel=1e-10)


def test_poisson_binomial_against_enumeration() -> None:
    p = np.array([0.1, 0.35, 0.5, 0.77, 0.9, 0.05])
    chances: dict[int, float] = {}
    for coins in itertools.product([0, 1], repeat=6):
        chance = float(np.prod(np.where(coins, p, 1 - p)))
        chances[sum(coins)] = chances.get(sum(coins), 0.0) + chance
    for count in range(7):
        expected = sum(chance for heads, chance in chances.items() if heads >= count)
        assert math.exp(nulls.poisson_binomial_log_tail(count, p)) == pytest.approx(expected)
    equal = nulls.poisson_binomial_log_tail(480, np.full(500, 0.25))
    assert equal == pytest.approx(float(nulls.binomial_log_tail(480, 500, 0.25)), rel=1e-11)


def test_weighted_coins_against_enumeration() -> None:
    weights = np.array([1, 4, 4, 9, 2, 7, 3])
    sums = np.array([np.dot(c, weights) for c in itertools.product([0, 1], repeat=7)])
    chance = np.array(
        [0.25 ** sum(c) * 0.75 ** (7 - sum(c)) for c in itertools.product([0, 1], repeat=7)]
    )
    for value in range(31):
        found = nulls.weighted_bernoulli_log_tail(value, weights, 0.25)
        assert math.exp(found) == pytest.approx(chance[sums >= value].sum(), rel=1e-10)


def test_rounded_weights_never_make_p_smaller() -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.1, 1, 14)
    coins = np.array(list(itertools.product([0, 1], repeat=14)))
    chance = 0.25 ** coins.sum(1) * 0.75 ** (14 - coins.sum(1))
    sums = coins @ weights
    for value in np.quantile(sums, [0.1, 0.5, 0.9, 0.99, 1.0]):
        exact = chance[sums >= value - 1e-12].sum()
        found = math.exp(nulls.weighted_bernoulli_log_tail(float(value), weights, 0.25))
        assert exact * (1 - 1e-9) <= found <= 1.15 * exact


def test_lattice_against_plain_convolution() -> None:
    pmf = np.array([0.2, 0.0, 0.5, 0.3])
    whole = np.ones(1)
    for _ in range(40):
        whole = np.convolve(whole, pmf)
    counts = np.arange(0, 121, 4)
    found = nulls.lattice_log_tail(counts, pmf, 40)
    expected = whole[::-1].cumsum()[::-1][counts]
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-9, atol=1e-12)
    assert nulls.lattice_log_tail(3 * 600, pmf, 600) == pytest.approx(600 * math.log(0.3))


def test_synthid_weights_are_exact_on_their_lattice() -> None:
    layers = np.array([29, 20, 11, 2])  # 290 - 9k in small: unequal, no common divisor
    coins = np.array(list(itertools.product([0, 1], repeat=8)))
    sums = coins @ np.tile(layers, 2)
    for value in (1, 30, 62, 95, 124):
        expected = np.mean(sums >= value)
        found = nulls.weighted_bits_log_tail(value, layers, 2)
        assert math.exp(float(found)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("count", [249_000, 252_000, 270_000, 300_000])
def test_binomial_of_a_million_against_mpmath(count: int) -> None:
    n, p = 10**6, mpmath.mpf(1) / 4
    found = nulls.binomial_log_tail(count, n, 0.25)
    with mpmath.workdps(50):
        k = count if count > n / 4 else count - 1  # the law at k, times a falling series
        log_law = mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)
        log_law += k * mpmath.log(p) + (n - k) * mpmath.log(1 - p)
        term, total = mpmath.mpf(1), mpmath.mpf(0)
        while term > mpmath.mpf(10) ** -30 * total:
            total += term
            if count > n / 4:
                term *= mpmath.mpf(n - k) / (k + 1) / 3
                k += 1
            else:
                term *= mpmath.mpf(k) / (n - k + 1) * 3
                k -= 1
        log_tail = log_law + mpmath.log(total)
        expected = log_tail if count > n / 4 else mpmath.log1p(-mpmath.exp(log_tail))
    assert found == pytest.approx(float(expected), rel=1e-11)


def test_lattice_of_a_million_against_the_binomial() -> None:
    counts = np.array([240_000, 251_000, 253_000, 260_000, 700_000])
    found = nulls.lattice_log_tail(counts, [0.75, 0.25], 10**6)
    np.testing.assert_allclose(found, nulls.binomial_log_tail(counts, 10**6, 0.25), rtol=1e-9)


def test_rare_large_steps_do_not_wrap_around() -> None:
    pmf = np.zeros(1000)
    pmf[[0, 1, 999]] = 0.999, 0.0003, 0.0007
    statistics = [1, 999, 2 * 999 + 1, 8 * 999, 20 * 999]
    found = nulls.lattice_log_tail(statistics, pmf, 400)
    for statistic, value in zip(statistics, found, strict=True):
        with mpmath.workdps(40):
            tail = mpmath.fsum(
                mpmath.binomial(400, large)
                * mpmath.binomial(400 - large, small)
                * mpmath.mpf(0.0007) ** large
                * mpmath.mpf(0.0003) ** small
                * mpmath.mpf(0.999) ** (400 - large - small)
                for large in range(50)
                for small in range(20)
                if 999 * large + small >= statistic
            )
            assert value == pytest.approx(float(mpmath.log(tail)), rel=1e-10)


def test_synthid_layers_against_bit_by_bit_convolution() -> None:
    layers, n = 290 - 9 * np.arange(30), 12
    law = np.zeros(n * 4785 + 1)
    law[0] = 1
    for weight in np.tile(layers, n):
        law[weight:] = (law[weight:] + law[:-weight]) / 2
        law[:weight] /= 2
    statistics = np.array([20_000, 28_709, 28_710, 28_711, 31_000, 36_000, 50_000, 57_000])
    found = nulls.weighted_bits_log_tail(statistics, layers, n)
    expected = [
        math.log(law[s:].sum()) if 2 * s > len(law) else math.log1p(-law[:s].sum())
        for s in statistics
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_many_weighted_coins_against_plain_convolution() -> None:
    rng = np.random.default_rng(3)
    weights, shares = rng.integers(1, 40, 300), rng.uniform(0.05, 0.6, 300)
    law = np.ones(1)
    for weight, share in zip(weights, shares, strict=True):
        coin = np.zeros(weight + 1)
        coin[[0, -1]] = 1 - share, share
        law = np.convolve(law, coin)
    for statistic in (1500, 1900, 2300, 3500, 5000, int(weights.sum()) - 20):
        found = nulls.weighted_bernoulli_log_tail(statistic, weights, shares)
        assert found == pytest.approx(math.log(law[statistic:].sum()), rel=1e-10)
