"""Sequential methods: brute force, and errors at every look up to 10,000."""

from __future__ import annotations

import math

import numpy as np
import pytest

from statllm.estimators.sequential import (
    asymptotic_mean,
    bernoulli_mean,
    betting_mean,
    betting_test,
    sequential_mcnemar,
)


def test_beta_mixture_is_the_product_of_predictions() -> None:
    """Laplace-style predictions (s + a) / (n + 2 a) multiply to the mixture."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 50)
    found = sequential_mcnemar(1 - x, x).log_e
    wins, fortune = 0.0, 0.0
    for t, outcome in enumerate(x):
        share = (wins + 0.5) / (t + 1)
        fortune += math.log(2 * (share if outcome else 1 - share))
        wins += outcome
        assert found[t] == pytest.approx(fortune, abs=1e-12)


def test_ties_change_nothing() -> None:
    plain = sequential_mcnemar([0, 0, 1], [1, 1, 0])
    mixed = sequential_mcnemar([0, 1, 0, 0, 1], [1, 1, 1, 0, 0])
    assert mixed.log_e[[0, 2, 4]] == pytest.approx(plain.log_e)


def test_bernoulli_ends_are_where_the_ratio_first_reaches_one_in_alpha() -> None:
    """An end of the intersection is a p whose largest ratio over time is just 1 / alpha."""
    from scipy import special

    x = np.array([1, 0, 1, 1, 1, 0, 1, 1, 1, 1])
    found = bernoulli_mean(x, 0.9)
    n, s = np.arange(1, 11), np.cumsum(x)
    mixture = special.beta(0.5 + s, 0.5 + n - s) / special.beta(0.5, 0.5)
    for p in (found.low[-1], found.high[-1]):
        ratio = mixture / (p**s * (1 - p) ** (n - s))
        assert ratio.max() == pytest.approx(10) or p in (0, 1)
    assert found.low[-1] > 0


def test_betting_is_the_plain_product() -> None:
    """Waudby-Smith and Ramdas's capital, written as a loop."""
    rng = np.random.default_rng(1)
    x = rng.beta(2, 5, 60)
    found = betting_test(x, 0.4)
    fortune, total, squares = 1.0, 0.5, 0.25
    for t, value in enumerate(x, 1):
        bet = math.sqrt(2 * math.log(2 / 0.05) / (squares / t * t * math.log(t + 1)))
        fortune *= 1 + min(bet, 0.5 / 0.4) * (value - 0.4)
        total += value
        squares += (value - total / (t + 1)) ** 2
        assert found.log_e[t - 1] == pytest.approx(math.log(fortune), abs=1e-10)


def test_blocks_of_bets_don_t_change_the_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    from statllm.estimators.sequential import betting

    x = np.random.default_rng(2).random(300)
    whole = betting_mean(x, grid=100)
    monkeypatch.setattr(betting, "_CELLS", 101 * 7)
    parts = betting_mean(x, grid=100)
    np.testing.assert_allclose(parts.low, whole.low)
    np.testing.assert_allclose(parts.high, whole.high)


def test_bounds_are_shifted() -> None:
    x = np.random.default_rng(3).integers(0, 2, 200)
    plain, moved = betting_mean(x), betting_mean(10 + 4.0 * x, 10, 14)
    np.testing.assert_allclose(moved.low, 10 + 4 * plain.low)
    np.testing.assert_allclose(moved.value, 10 + 4 * plain.value)


def test_betting_is_nearly_as_narrow_as_a_fixed_interval() -> None:
    """At n = 1000 and p = .9, z s / sqrt(n) is .0186; the price of always looking is a factor."""
    x = np.random.default_rng(4).random(1000) < 0.9
    for found in (betting_mean(x), bernoulli_mean(x)):
        assert (found.high[-1] - found.low[-1]) / 2 < 2 * 0.0186


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_never_wrong_at_any_look_up_to_10_000(p: float) -> None:
    """200 runs of 10,000: the Monte Carlo error of .05 is .015."""
    rng = np.random.default_rng(int(100 * p))
    ever = np.zeros(3)
    fixed = 0
    for _ in range(200):
        x = rng.random(10_000) < p
        betting = betting_test(x, p, alternative="two-sided")
        mixture = bernoulli_mean(x)
        ever[0] += betting.first_crossing(0.05) > 0
        ever[1] += mixture.first_excluding(p) > 0
        ever[2] += asymptotic_mean(x, start=500).first_excluding(p) > 0
        n = np.arange(100, 10_001)
        mean = np.cumsum(x)[99:] / n
        fixed += bool(np.any(np.abs(mean - p) > 1.96 * np.sqrt(mean * (1 - mean) / n)))
    assert np.all(ever / 200 < 0.05 + 3 * 0.0155), ever / 200
    assert fixed / 200 > 0.25  # what looking at a plain interval all the time does


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.05, 0.5, 0.8])
def test_the_whole_betting_sequence_covers(p: float) -> None:
    """300 runs of 10,000 looks of a grid of 200; the Monte Carlo error of .05 is .0126."""
    rng = np.random.default_rng(int(100 * p))
    missed = 0
    for _ in range(300):
        x = rng.beta(p * 3, (1 - p) * 3, 10_000)
        missed += betting_mean(x, grid=200).first_excluding(p) > 0
    assert missed / 300 < 0.05 + 3 * 0.0126


def test_mcnemar_at_every_look() -> None:
    """Half of 2,000 prompts discordant, models equally good: ever below .05 in 5 % at most."""
    rng = np.random.default_rng(5)
    crossed = 0
    for _ in range(400):
        a, b = rng.integers(0, 2, (2, 2000))
        crossed += sequential_mcnemar(a, b).first_crossing(0.05) > 0
    assert crossed / 400 < 0.05 + 3 * 0.011


def test_evidence_as_a_test() -> None:
    found = betting_test([1.0] * 40, 0.5)
    test = found.test()
    assert test.n_effective == 40
    assert test.log_p_value == pytest.approx(-float(found.log_e.max()))
    assert betting_test([], 0.5).test().p_value == 1


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"x is 1.5 at place 1, outside \[0, 1\]"):
        betting_mean([0.5, 1.5])
    with pytest.raises(ValueError, match="x is nan at place 0"):
        betting_mean([math.nan])
    with pytest.raises(ValueError, match="b is 2 at place 1, not 0 or 1"):
        sequential_mcnemar([0, 1], [1, 2])
    with pytest.raises(ValueError, match="must be paired"):
        sequential_mcnemar([0], [1, 0])
    with pytest.raises(ValueError, match="mean must lie between"):
        betting_test([0.5], 1.0)
