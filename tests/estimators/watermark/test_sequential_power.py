"""Stopping of e-processes against Wald's identity, Ville's bound and a prototype's figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.efficiency import information
from statllm.estimators.watermark.sequential_power import stopping_tokens


def test_walds_identity() -> None:
    """One bet that is right: mean stop x KL = mean of log E there, 0 to log 2 above the bound."""
    law = ChosenLaw.least_favourable(0.5)
    found = stopping_tokens(law, 1e-6, 400, 4_000, strengths=[0.5], shares=[1.0], rng=1)
    assert np.all(found > 0)
    error = found.std() / math.sqrt(len(found))
    low = math.log(1e6) / information(law)
    assert low - 4 * error < found.mean() < low + math.log(2) / information(law) + 4 * error


def test_by_chance_seldom_stops() -> None:
    chance = ChosenLaw(np.ones(1), np.ones(1))
    found = stopping_tokens(chance, 0.05, 500, 4_000, rng=4)
    assert 0 < np.mean(found > 0) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4_000)


@pytest.mark.parametrize(("delta", "mean"), [(0.1, 500), (0.2, 198), (0.3, 115), (0.5, 80)])
def test_a_prototypes_mean_stop(delta: float, mean: float) -> None:
    """A mixture of six strengths written apart from ours, at 1e-6: within 5 %."""
    six = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
    law = ChosenLaw.least_favourable(delta)
    found = stopping_tokens(law, 1e-6, 2_000, 1_000, strengths=six, shares=[1.0], rng=2)
    assert np.all(found > 0)
    assert found.mean() == pytest.approx(mean, rel=0.05)


def test_a_short_text_isnt_found() -> None:
    found = stopping_tokens(ChosenLaw.least_favourable(0.3), 1e-6, 20, 50)
    assert np.array_equal(found, np.zeros(50))  # the most that 20 tokens say is 20 log 2 nats


def test_bad_numbers_are_named() -> None:
    law = ChosenLaw.least_favourable(0.5)
    with pytest.raises(ValueError, match="longest and n_texts"):
        stopping_tokens(law, longest=0)
    with pytest.raises(ValueError, match="alpha must lie"):
        stopping_tokens(law, 0.0)
