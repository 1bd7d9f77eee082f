"""Power of the weighted mean of bits against enumeration and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from statllm.estimators.watermark.bits_power import bits_tokens_needed, tournament_bits
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.estimators.watermark.weighted_bits_power import (
    layer_weights,
    tournament_weights,
    weighted_bits_critical,
    weighted_bits_power,
    weighted_bits_tokens_needed,
)
from statllm.ragged import Ragged


def test_layer_weights() -> None:
    """In proportion to SynthID's linspace(10, 1, m)."""
    for depth in (1, 2, 4, 30):
        whole = layer_weights(depth)
        np.testing.assert_allclose(whole / whole[0] * 10, np.linspace(10, 1, depth))
    assert layer_weights(30).sum() == 4785


@pytest.mark.parametrize("alpha", [0.3, 0.01, 1e-4])
@pytest.mark.parametrize("share", [0.5, 0.4])
def test_critical_by_enumeration(alpha: float, share: float) -> None:
    """Three tokens of three layers: all 512 outcomes."""
    weights = np.tile(layer_weights(3), 3)
    chance = np.zeros(int(weights.sum()) + 1)
    for bits in itertools.product((0, 1), repeat=9):
        ones = sum(bits)
        chance[int(weights @ bits)] += share**ones * (1 - share) ** (9 - ones)
    tails = np.cumsum(chance[::-1])[::-1]
    significant = np.flatnonzero(tails <= alpha)
    expected = int(significant[0]) if len(significant) else len(chance)
    # a number that no outcome has is as good as the next one that one has
    found = weighted_bits_critical(3, 3, alpha, share)
    assert chance[min(found, expected) : max(found, expected)].sum() == 0


def test_first_layer_by_closed_form() -> None:
    """P(bit of layer 1) = 1/2 + (1 - sum p^2) / 4 of one layer."""
    law = tournament_weights([[0.7, 0.2, 0.1]], depth=1, n_draws=40_000, rng=3)
    exact = 0.5 + (1 - 0.54) / 4
    assert law[1] == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 40_000))


def test_as_the_scheme_writes() -> None:
    """Weighted bits of tokens that `SynthId` itself chooses, 2,000 contexts under one key."""
    rng, depth = np.random.default_rng(5), 10
    scheme = SynthId(key=tuple(rng.integers(1, 2**31, depth).tolist()), flavour="deepmind")
    p = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    weights, found = layer_weights(depth), []
    for _ in range(2_000):
        prefix = rng.integers(0, 50_000, 4)
        token = int(rng.choice(5, p=scheme.reweighted(p, prefix)))
        marks = scheme.marks(Ragged.from_lists([[*prefix.tolist(), token]], np.int64))
        found.append(int(weights @ marks.values[0].astype(np.int64)))
    law = tournament_weights([p], depth=depth, n_draws=40_000, rng=1)
    x = np.arange(len(law))
    mean, sd = float(law @ x), math.sqrt(float(law @ (x - law @ x) ** 2))
    assert np.mean(found) == pytest.approx(mean, abs=4 * sd * math.sqrt(1 / 2_000 + 1 / 40_000))


def test_power_against_simulation() -> None:
    law = tournament_weights(np.tile([0.6, 0.4], (10, 1)), depth=30, n_draws=20_000, rng=2)
    n, alpha, texts = 25, 1e-3, 20_000
    drawn = np.random.default_rng(9).choice(len(law), (texts, n), p=law).sum(axis=1)
    share = np.mean(drawn >= weighted_bits_critical(n, 30, alpha))
    exact = weighted_bits_power(n, law, 30, alpha)
    assert 0.1 < exact < 0.95
    assert share == pytest.approx(exact, abs=4 * math.sqrt(0.25 / texts))


def test_weights_help_where_layers_wear_off() -> None:
    """A law of two tokens is settled after a few layers: weighting the first ones is better."""
    top = [[0.8, 0.2]]
    plain = bits_tokens_needed(tournament_bits(top, 30))
    weighted = weighted_bits_tokens_needed(tournament_weights(top, 30), 30)
    assert weighted < plain


def test_bad_numbers_are_named() -> None:
    with pytest.raises(ValueError, match="law must have 23 probabilities"):
        weighted_bits_power(5, np.ones(4) / 4, 4)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        layer_weights(0)
    with pytest.raises(ValueError, match="sum to 1.2"):
        tournament_weights([[0.6, 0.6]])
    with pytest.raises(ValueError, match="n must be at least 1"):
        weighted_bits_critical(0, 4)
