"""Power against statsmodels, enumeration and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.comparison import mcnemar
from statllm.estimators.power import (
    allocate,
    design_effect,
    equivalence_power,
    mcnemar_power,
    mcnemar_sample_size,
    mean_power,
    minimum_detectable_effect,
    non_inferiority_power,
    sample_size,
)


@pytest.mark.parametrize("n", [5, 34, 400])
@pytest.mark.parametrize("effect", [0.0, 0.1, 0.3])
def test_t_test_power_is_statsmodels(n: int, effect: float) -> None:
    from statsmodels.stats.power import TTestPower

    theirs = TTestPower().power(effect, n, 0.05)
    assert mean_power(effect * 3, 3.0, n) == pytest.approx(theirs, abs=1e-9)
    larger = TTestPower().power(effect, n, 0.05, alternative="larger")
    assert mean_power(effect, 1.0, n, alternative="greater") == pytest.approx(larger, abs=1e-9)


def test_sample_size_is_the_fewest() -> None:
    for effect in (0.05, 0.3, 1.2):
        n = sample_size(effect, 1.0, 0.9, 0.01)
        assert mean_power(effect, 1.0, n, 0.01) >= 0.9 > mean_power(effect, 1.0, n - 1, 0.01)


def test_detectable_effect_has_its_power() -> None:
    for n in (4, 30, 5000):
        effect = minimum_detectable_effect(0.02, n, 0.8)
        assert mean_power(effect, 0.02 * math.sqrt(n), n) == pytest.approx(0.8)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert minimum_detectable_effect(0.01, 1e6) == pytest.approx(0.01 * z, rel=1e-4)


@pytest.mark.parametrize("mid_p", [False, True])
@pytest.mark.parametrize(("win", "loss", "n"), [(0.3, 0.1, 25), (0.2, 0.2, 40), (0.6, 0.4, 12)])
def test_mcnemar_power_is_the_sum_over_tables(win: float, loss: float, n: int, mid_p: bool) -> None:
    total = 0.0
    for n01 in range(n + 1):
        for n10 in range(n + 1 - n01):
            a = [0] * n01 + [1] * n10 + [1] * (n - n01 - n10)
            b = [1] * n01 + [0] * n10 + [1] * (n - n01 - n10)
            if mcnemar(a, b, mid_p=mid_p).p_value <= 0.05:
                total += stats.multinomial.pmf(
                    [n01, n10, n - n01 - n10], n, [win, loss, 1 - win - loss]
                )
    assert mcnemar_power(win, loss, n, mid_p=mid_p) == pytest.approx(total, abs=1e-10)


def test_mcnemar_size_is_near_the_normal_formula() -> None:
    """Connor 1987: (z_a sqrt(d) + z_b sqrt(d - g^2))^2 / g^2."""
    win, loss = 0.06, 0.04
    d, g = win + loss, win - loss
    z_a, z_b = stats.norm.ppf([0.975, 0.8])
    connor = (z_a * math.sqrt(d) + z_b * math.sqrt(d - g * g)) ** 2 / g**2
    assert mcnemar_sample_size(win, loss) == pytest.approx(connor, rel=0.05)
    assert mcnemar_sample_size(win, loss, mid_p=True) == pytest.approx(connor, rel=0.02)


@pytest.mark.parametrize("difference", [0.0, 0.15])
def test_equivalence_power_is_the_simulated_one(difference: float) -> None:
    rng = np.random.default_rng(0)
    n, sd, margin, repeats = 20, 0.6, 0.4, 20_000
    x = rng.normal(difference, sd, (repeats, n))
    mean, se = x.mean(axis=1), x.std(axis=1, ddof=1) / math.sqrt(n)
    t = stats.t.isf(0.05, n - 1)
    above, below = mean - t * se > -margin, mean + t * se < margin
    error = 3 * 0.5 / math.sqrt(repeats)
    assert abs(equivalence_power(difference, margin, sd, n) - np.mean(above & below)) < error
    assert abs(non_inferiority_power(difference, margin, sd, n) - np.mean(above)) < error


def test_repeats_are_best_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        items, samples = rng.exponential(size=2)
        cost = float(rng.choice([0.0, 1.0, 7.0]))
        most = int(rng.integers(3, 60))
        budget = float(rng.integers(20, 300))
        found = allocate(items, samples, budget, cost, 1.0, most)
        best = math.inf
        for k in range(1, int(budget) + 1):
            n = int(min(budget // (cost + k), most))
            if n:
                best = min(best, math.sqrt(items / n + samples / (n * k)))
        assert found.se == pytest.approx(best, rel=1e-12)
        assert found.cost <= budget


def test_design_effect_of_no_clusters() -> None:
    assert design_effect(1, 0.5) == 1
    assert design_effect(20, 0.1) == pytest.approx(2.9)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="standard deviation must be positive"):
        mean_power(0.1, 0.0, 10)
    with pytest.raises(ValueError, match="can't be found"):
        sample_size(0.0, 1.0)
    with pytest.raises(ValueError, match="no difference"):
        mcnemar_sample_size(0.1, 0.1)
    with pytest.raises(ValueError, match="1 at most together"):
        mcnemar_power(0.7, 0.7, 10)
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence_power(0.0, 0.0, 1.0, 10)
    with pytest.raises(ValueError, match="doesn't pay"):
        allocate(1.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="effect must be finite"):
        mean_power(math.nan, 1.0, 10)
    with pytest.raises(ValueError, match="difference must be finite"):
        equivalence_power(math.nan, 0.1, 1.0, 10)
    with pytest.raises(ValueError, match="n must be above 1 and finite"):
        equivalence_power(0.0, 0.1, 1.0, math.inf)
    with pytest.raises(ValueError, match="n must be a whole number"):
        mcnemar_power(0.1, 0.2, 10.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="most_items must be a whole number"):
        allocate(1.0, 1.0, 10, most_items=2.5)  # type: ignore[arg-type]


def test_mcnemar_power_of_very_many_prompts() -> None:
    """Where counts are thinned: against the whole sum over the number of discordant prompts."""
    n, win, loss = 400_000, 0.252, 0.248
    counts = np.arange(196_000, 204_001)  # 12 standard deviations
    mass = stats.binom.pmf(counts, n, win + loss)
    least = stats.binom.ppf(0.025, counts, 0.5) - 1  # P(X <= least) < .025, the largest such
    least += 2 * stats.binom.cdf(least + 1, counts, 0.5) <= 0.05
    share = win / (win + loss)
    reject = stats.binom.cdf(least, counts, share) + stats.binom.sf(
        counts - least - 1, counts, share
    )
    assert mcnemar_power(win, loss, n) == pytest.approx(mass @ reject, abs=1e-4)
    # The normal approximation of the size, where the exact one takes hundreds of millions.
    z = stats.norm.ppf([0.975, 0.8]).sum()
    assert mcnemar_sample_size(0.25005, 0.24995) == pytest.approx(0.5 * z**2 / 1e-4**2, rel=2e-3)
