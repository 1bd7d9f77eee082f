"""Rates against published figures, closed forms and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.efficiency import (
    green_rate,
    green_share,
    information,
    rate,
    stein_tokens,
)
from statllm.estimators.watermark.nulls import binomial_log_tail

# Li, Ruan, Wang, Long and Su (2024): exponents of -log(1 - y), log y and the optimal score
RATES = {
    0.05: (0.01052, 0.00472, 0.01160),
    0.1: (0.02650, 0.01808, 0.02879),
    0.2: (0.06256, 0.06821, 0.08069),
    0.3: (0.09712, 0.14722, 0.15638),
    0.5: (0.13245, 0.30685, 0.30685),
    0.7: (0.572, 1.193, 1.195),
}


@pytest.mark.parametrize("delta", RATES)
def test_rates_of_the_paper(delta: float) -> None:
    law = ChosenLaw.least_favourable(delta)
    found = [rate(law, test, delta) for test in ("sum", "log", "optimal")]  # type: ignore[arg-type]
    np.testing.assert_allclose(found, RATES[delta], rtol=1e-3, atol=6e-6)


def test_the_optimal_rate_is_the_divergence_of_chance() -> None:
    for delta in (0.1, 0.4, 0.8):
        law = ChosenLaw.least_favourable(delta)
        kl = -integrate.quad(lambda y, law=law: float(law.log_density(y)), 0, 1)[0]
        assert rate(law, "optimal", delta) == pytest.approx(kl, rel=1e-4)


def test_stein_guide_of_the_prototype() -> None:
    """log(1e6) / KL at Delta = .02 to .5, from an implementation apart from ours."""
    found = [
        stein_tokens(ChosenLaw.least_favourable(delta), 1e-6)
        for delta in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
    ]
    np.testing.assert_allclose(found, [2998, 1057, 447, 179, 106, 72], atol=0.6)


def test_information_against_closed_form() -> None:
    # one p: density y^(1/p - 1) / p, so E log f = -log p - (1 - p)
    for p in (0.2, 0.5, 0.9, 0.999):
        law = ChosenLaw(np.array([p]), np.array([1.0]))
        assert information(law) == pytest.approx(-math.log(p) - (1 - p), rel=2e-3, abs=1e-9)
    assert information(ChosenLaw(np.ones(1), np.ones(1))) == pytest.approx(0, abs=1e-12)
    assert stein_tokens(ChosenLaw(np.ones(1), np.ones(1)), 0.01) == math.inf


def test_green_rate_is_that_of_misses() -> None:
    """log P(miss) / n of the exact test goes to the rate, soonest at alpha .5."""
    n = np.array([4000, 16_000])
    most = stats.binom.isf(0.5, n, 0.25)
    log_miss = binomial_log_tail(n - most, n, 0.5)
    slope = -np.diff(log_miss)[0] / 12_000
    assert slope == pytest.approx(green_rate(0.25, 0.5), rel=0.03)


@pytest.mark.parametrize("bias", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_green_share_by_enumeration(bias: float, share: float) -> None:
    p = np.random.default_rng(1).dirichlet(np.full(9, 0.3))
    a, expected = math.exp(bias), 0.0
    for colours in itertools.product([0, 1], repeat=9):
        mass = float(np.dot(colours, p))
        k = sum(colours)
        expected += share**k * (1 - share) ** (9 - k) * a * mass / (1 - mass + a * mass)
    assert green_share(p[None], share, bias)[0] == pytest.approx(expected, rel=1e-9)


def test_green_share_of_many_small_tokens() -> None:
    """Flat over 1,000 tokens: G is near 1/4. And the top 10 alone give less, not more."""
    flat = np.full((1, 1000), 1e-3)
    a = math.exp(2.0)
    assert green_share(flat)[0] == pytest.approx(a / (3 + a), abs=2e-3)
    p = np.sort(np.random.default_rng(2).dirichlet(np.full(200, 0.1)))[::-1]
    assert green_share(p[None, :10])[0] <= green_share(p[None])[0]
    assert green_share(p[None, :40])[0] == pytest.approx(green_share(p[None])[0], abs=0.01)


# ---- the law of the chosen token's probability -------------------------------------------------


def test_least_favourable_law_written_out() -> None:
    law = ChosenLaw.least_favourable(0.7)  # (.3, .3, .3, .1)
    np.testing.assert_allclose(law.probabilities, [0.1, 0.3])
    np.testing.assert_allclose(law.masses, [0.1, 0.9])
    assert float(law.cdf(0.8)) == pytest.approx(3 * 0.3 * 0.8 ** (1 / 0.3) + 0.1 * 0.8**10)
    half = ChosenLaw.least_favourable(0.5)
    np.testing.assert_allclose((half.probabilities, half.masses), ([0.5], [1.0]))


def test_pivots_are_those_of_gumbel_sampling() -> None:
    """argmax of U^(1/p) over a vocabulary, against the law."""
    rng = np.random.default_rng(3)
    p = np.array([0.6, 0.25, 0.1, 0.05])
    u = rng.random((40_000, 4))
    token = np.argmax(np.log(u) / p, axis=1)
    np.testing.assert_allclose(np.bincount(token) / 40_000, p, atol=0.01)  # unbiased
    pivots = u[np.arange(40_000), token]
    law = ChosenLaw(p, p)
    assert stats.kstest(pivots, law.cdf).pvalue > 0.001
    assert stats.kstest(law.pivots(20_000, rng), law.cdf).pvalue > 0.001


def test_three_ways_to_the_same_law() -> None:
    """Sampled log probabilities, all probabilities, and a bound on the largest, in this order."""
    rng = np.random.default_rng(4)
    laws = rng.dirichlet(np.full(8, 0.2), 4000)
    token = [rng.choice(8, p=row) for row in laws]
    sampled = ChosenLaw.from_log_probabilities(np.log(laws[np.arange(4000), token]))
    every = ChosenLaw.from_top(laws)
    bound = ChosenLaw.least_favourable(1 - laws.max(axis=1))
    truth = ChosenLaw(laws.ravel(), laws.ravel() / 4000)
    assert rate(every) == pytest.approx(rate(truth), rel=0.03)
    assert rate(every) <= rate(truth)  # rounding weakens
    assert rate(sampled) == pytest.approx(rate(truth), rel=0.05)
    assert rate(bound) < rate(truth)
    some = ChosenLaw.from_top(np.sort(laws, axis=1)[:, :-4:-1])
    assert rate(bound) < rate(some) <= rate(every)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="delta must lie between 0 and 1"):
        ChosenLaw.least_favourable(1.0)
    with pytest.raises(ValueError, match="log_probabilities must be numbers up to 0"):
        ChosenLaw.from_log_probabilities([-0.5, math.nan])
    with pytest.raises(ValueError, match="probabilities of row 1 sum to 1.2"):
        ChosenLaw.from_top([[0.5, 0.5], [0.6, 0.6]])
    with pytest.raises(ValueError, match="test must be one of sum, log, optimal"):
        rate(ChosenLaw.least_favourable(0.5), "mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 < share <= raised < 1"):
        green_rate(0.5, 0.25)
    with pytest.raises(ValueError, match="share must lie in"):
        green_share(np.array([[0.5]]), share=1.0)
