"""Tournament bits: against closed forms, the scheme itself, and simulation of the test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.bits_power import (
    bits_power,
    bits_tokens_needed,
    tournament_bits,
)
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.ragged import Ragged


def test_first_layer_in_closed_form() -> None:
    """P(bit 1) = 1/2 + (1 - sum p^2) / 4 (Dathathri et al. 2024, two leaves)."""
    p = np.random.default_rng(1).dirichlet(np.full(6, 0.5), 5)
    law = tournament_bits(p, depth=1, n_draws=200_000)
    expected = 0.5 + (1 - (p**2).sum(axis=1)).mean() / 4
    assert law[1] == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(200_000))


def test_no_choice_leaves_fair_bits() -> None:
    law = tournament_bits([[1.0]], depth=8, n_draws=40_000)
    expected = stats.binom(8, 0.5).pmf(np.arange(9))
    assert stats.chisquare(law * 40_000, expected * 40_000).pvalue > 0.001


@pytest.mark.parametrize("leaves", [2, 3])
def test_against_the_scheme(leaves: int) -> None:
    """Tokens from `reweighted` laws of random contexts, and their bits as the scheme reads them."""
    rng = np.random.default_rng(2)
    scheme = SynthId(tuple(rng.integers(1, 2**31, 8).tolist()), leaves=leaves)
    p = rng.dirichlet(np.full(10, 0.5))
    contexts = rng.integers(0, 50_000, (3000, 4))
    texts = [
        [*context, rng.choice(10, p=scheme.reweighted(p, context))] for context in contexts.tolist()
    ]
    marks = scheme.marks(Ragged.from_lists(texts, np.int64))
    counts = marks.values.sum(axis=1)
    law = tournament_bits(p[None], depth=8, leaves=leaves, n_draws=100_000)
    mean = float(law @ np.arange(9))
    assert mean > 4.4
    assert counts.mean() == pytest.approx(mean, abs=4 * counts.std() / math.sqrt(3000))
    kept = law > 0.005
    observed = np.bincount(counts, minlength=9)[kept].astype(float)
    expected = law[kept] / law[kept].sum() * observed.sum()
    assert stats.chisquare(observed, expected).pvalue > 0.001


def test_power_against_simulation() -> None:
    rng = np.random.default_rng(3)
    law = tournament_bits(rng.dirichlet(np.full(20, 0.05), 200), depth=10, rng=3)
    n = 60
    counts = rng.choice(11, (20_000, n), p=law).sum(axis=1)
    rate = np.mean(nulls.binomial_log_tail(counts, 10 * n, 0.5) <= math.log(1e-4))
    found = bits_power(n, law, 1e-4)
    assert 0.1 < found < 0.95
    assert rate == pytest.approx(found, abs=4 * math.sqrt(found * (1 - found) / 20_000))


def test_under_chance_power_is_the_exact_size() -> None:
    law = stats.binom(10, 0.5).pmf(np.arange(11))
    critical = stats.binom.isf(0.01, 500, 0.5)
    assert bits_power(50, law, 0.01) == pytest.approx(stats.binom.sf(critical, 500, 0.5), rel=1e-9)


def test_tokens_needed_has_the_power() -> None:
    law = tournament_bits([[0.5, 0.3, 0.2]], depth=30)
    needed = bits_tokens_needed(law, 1e-6, 0.99)
    assert bits_power(needed, law) >= 0.99 > bits_power(needed - 1, law)


def test_a_bound_from_the_largest_probability_needs_more() -> None:
    p = np.sort(np.random.default_rng(4).dirichlet(np.full(30, 0.2), 300), axis=1)[:, ::-1]
    every = tournament_bits(p, n_draws=40_000) @ np.arange(31)
    some = tournament_bits(p[:, :10], n_draws=40_000) @ np.arange(31)
    first = tournament_bits(p[:, :1], n_draws=40_000) @ np.arange(31)
    error = 4 * math.sqrt(2 * 30 / 4 / 40_000)
    assert first <= every + error
    assert some == pytest.approx(every, abs=0.1 + error)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="probabilities of row 0 sum to 1.3"):
        tournament_bits([[0.7, 0.6]])
    with pytest.raises(ValueError, match="leaves at least 2"):
        tournament_bits([[0.7]], leaves=1)
    with pytest.raises(ValueError, match="law must be one-dimensional"):
        bits_power(3, [0.5, 0.6])
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        bits_power(3, [0.5, 0.5], share=1.0)
