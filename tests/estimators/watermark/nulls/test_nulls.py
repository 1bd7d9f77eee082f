"""Tails against enumeration, mpmath and simulation."""

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


@pytest.mark.parametrize("shape", [1, 3.5, 200, 5000])
def test_gamma_against_mpmath(shape: float) -> None:
    values = shape * np.array([0.01, 0.3, 0.9, 1.0, 1.3, 3.0, 8.0])
    upper, lower = nulls.gamma_log_tail(values, shape), nulls.gamma_log_cdf(values, shape)
    with mpmath.workdps(50):
        for value, high, low in zip(values, upper, lower, strict=True):
            q = mpmath.gammainc(shape, value, mpmath.inf, regularized=True)
            p = mpmath.gammainc(shape, 0, value, regularized=True)
            assert high == pytest.approx(float(mpmath.log(q)), rel=1e-10, abs=1e-15)
            assert low == pytest.approx(float(mpmath.log(p)), rel=1e-10, abs=1e-15)


def test_published_gamma_thresholds() -> None:
    assert np.exp(nulls.gamma_log_tail([223.816, 234.362], 200)) == pytest.approx(
        [0.05, 0.01], abs=1e-5
    )
    assert np.exp(nulls.gamma_log_cdf([177.320, 168.578], 200)) == pytest.approx(
        [0.05, 0.01], abs=1e-5
    )


@pytest.mark.parametrize("n", [1, 5, 50, 200])
def test_two_gammas_against_mpmath(n: int) -> None:
    a, b = 0.9, 0.1
    values = n * np.array([0.3, 1.0, 1.5, 3.0, 6.0])
    found = nulls.two_gamma_log_tail(values, n, (a, b))
    with mpmath.workdps(40):
        # residues of exp(-x t) / ((1 - a t)^n (1 - b t)^n t): a finite sum (Amari, Misra 1997)
        for value, log_p in zip(values, found, strict=True):
            tail = mpmath.mpf(0)
            for scale, other in ((mpmath.mpf(a), mpmath.mpf(b)), (mpmath.mpf(b), mpmath.mpf(a))):
                ratio = scale / (scale - other)
                for k in range(n):
                    weight = ratio**n * (-other / (scale - other)) ** k
                    weight *= mpmath.binomial(n + k - 1, k)
                    tail += weight * mpmath.gammainc(
                        n - k, mpmath.mpf(float(value)) / scale, mpmath.inf, regularized=True
                    )
            assert log_p == pytest.approx(float(mpmath.log(tail)), rel=1e-8, abs=1e-9)


def test_hypoexponential_against_partial_fractions() -> None:
    rates = [mpmath.mpf(r) for r in ("0.7", "1", "1.9", "4.2")]
    for value in (0.5, 3.0, 40.0, 900.0):
        with mpmath.workdps(60):
            tail = mpmath.fsum(
                mpmath.fprod(r / (r - rate) for r in rates if r != rate) * mpmath.exp(-rate * value)
                for rate in rates
            )
            expected = float(mpmath.log(tail))
        found = nulls.hypoexponential_log_tail(value, [float(r) for r in rates])
        assert found == pytest.approx(expected, rel=1e-9)
    equal = nulls.hypoexponential_log_tail(90.0, np.ones(30))
    assert equal == pytest.approx(float(nulls.gamma_log_tail(90.0, 30)), rel=1e-9)


@pytest.mark.parametrize(
    ("delta", "golden"),
    [
        (0.1, [-0.255843, -0.074909, 0.319022, 0.648360, 0.693147]),
        (0.2, [-0.575468, -0.101594, 0.488644, 0.671968, 0.693147]),
        (0.7, [-4.274086, -0.515455, 1.005605, 1.346509, 1.386294]),
    ],
)
def test_optimal_score(delta: float, golden: list[float]) -> None:
    found = nulls.optimal_score([0.1, 0.5, 0.9, 0.99, 1.0], delta)
    assert found == pytest.approx(golden, abs=1e-6)
    mass = mpmath.quad(
        lambda y: mpmath.exp(float(nulls.optimal_score(float(y), delta))), [0, 0.5, 1]
    )
    assert float(mass) == pytest.approx(1, abs=1e-6)  # exp(h) is a density


@pytest.mark.parametrize("delta", [0.001, 0.05, 0.3, 0.5])
@pytest.mark.parametrize("n", [5, 50, 400])
def test_optimal_tail_against_simulation(n: int, delta: float) -> None:
    """Plain down to 1 %; far out by importance sampling from the tilted law, built here."""
    rng = np.random.default_rng(n)
    sums = nulls.optimal_score(rng.uniform(size=(30_000, n)), delta).sum(axis=1)
    for p in (0.5, 0.1, 0.01):
        s = float(np.quantile(sums, 1 - p))
        share = float(np.mean(sums >= s))
        error = math.sqrt(share / len(sums))
        found = math.exp(float(nulls.optimal_log_tail(s, n, delta)))
        assert abs(found - share) < 4 * error + 0.01 * share
    # exp(h) is itself a density, so with theta = 1 the weights are exp(-S)
    grid = np.linspace(0, 1, 200_001)[1:-1]
    law = np.exp(nulls.optimal_score(grid, delta))
    draws = rng.choice(grid, size=(5_000, n), p=law / law.sum())
    tilted = nulls.optimal_score(draws, delta).sum(axis=1)
    s = float(np.quantile(tilted, 0.5))
    weights = np.where(tilted >= s, np.exp(-(tilted - s)), 0.0)
    expected = math.log(weights.mean()) - s
    error = float(weights.std() / weights.mean() / math.sqrt(len(weights)))
    assert abs(float(nulls.optimal_log_tail(s, n, delta)) - expected) < 5 * error + 0.01


def test_p_values_are_uniform() -> None:
    rng = np.random.default_rng(1)
    y = rng.uniform(size=(20_000, 60))
    p = np.exp(nulls.gamma_log_tail(-np.log1p(-y).sum(axis=1), 60))
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    p = np.exp(nulls.optimal_log_tail(nulls.optimal_score(y, 0.1).sum(axis=1), 60, 0.1))
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    a, b = -np.log1p(-y[:, :30]).sum(axis=1), -np.log1p(-y[:, 30:]).sum(axis=1)
    p = np.exp(nulls.two_gamma_log_tail(0.9 * a[:4000] + 0.1 * b[:4000], 30, (0.9, 0.1)))
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="p must lie"):
        nulls.binomial_log_tail(1, 2, 1.0)
    with pytest.raises(ValueError, match="population"):
        nulls.hypergeometric_log_tail(1, 5, 6, 2)
    with pytest.raises(ValueError, match="pmf"):
        nulls.lattice_log_tail(1, [0.5, 0.6], 2)
    with pytest.raises(ValueError, match="delta"):
        nulls.optimal_score(0.5, 1.0)
    with pytest.raises(ValueError, match="rates"):
        nulls.hypoexponential_log_tail(1.0, [1.0, 0.0])
    with pytest.raises(ValueError, match="weights"):
        nulls.weighted_bernoulli_log_tail(1.0, [-1.0], 0.5)
