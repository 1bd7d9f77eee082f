"""Power of the two-key sum against simulation and one Gamma law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.dual_power import dual_critical, dual_power, dual_tokens_needed
from statllm.estimators.watermark.power import power


def test_equal_shares_are_one_gamma() -> None:
    for n, alpha in ((1, 0.05), (80, 1e-6)):
        exact = special.gammainccinv(2 * n, alpha) / 2
        assert dual_critical(n, alpha, 0.5) == pytest.approx(exact, rel=1e-8)


def test_a_key_that_is_never_used() -> None:
    law = ChosenLaw.least_favourable(0.3)
    assert dual_power(250, law, 1e-6, 1e-6) == pytest.approx(power(250, law), abs=2e-4)


def test_by_chance_power_is_the_level() -> None:
    chance = ChosenLaw(np.ones(1), np.ones(1))
    assert dual_power(100, chance, 0.01) == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(
    ("n", "delta", "mixing", "alpha"), [(60, 0.4, 0.1, 1e-3), (150, 0.3, 0.5, 1e-4)]
)
def test_against_simulation(n: int, delta: float, mixing: float, alpha: float) -> None:
    """40,000 texts whose tokens toss the coin of the keys, to 4 standard errors."""
    rng, texts = np.random.default_rng(2), 40_000
    law = ChosenLaw.least_favourable(delta)
    marked, other = law.pivots((texts, n), rng), rng.random((texts, n))
    second = rng.random((texts, n)) < mixing
    a, b = np.where(second, other, marked), np.where(second, marked, other)
    score = -((1 - mixing) * np.log1p(-a) + mixing * np.log1p(-b)).sum(axis=1)
    share = float(np.mean(score >= dual_critical(n, alpha, mixing)))
    exact = dual_power(n, law, alpha, mixing)
    assert 0.1 < exact < 0.95
    assert abs(share - exact) < 4 * math.sqrt(exact * (1 - exact) / texts)


def test_tokens_needed() -> None:
    law = ChosenLaw.least_favourable(0.5)
    needed = dual_tokens_needed(law)
    assert dual_power(needed - 1, law) < 0.99 <= dual_power(needed, law)


def test_bad_numbers_are_named() -> None:
    law = ChosenLaw.least_favourable(0.5)
    for wrong, match in (({"mixing": 0.0}, "mixing"), ({"alpha": 2.0}, "alpha")):
        with pytest.raises(ValueError, match=match):
            dual_power(10, law, **wrong)
    with pytest.raises(ValueError, match="n must be at least 1"):
        dual_critical(0, 0.1)
