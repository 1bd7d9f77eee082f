"""Token entropies against scipy, loops and brute-force completions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.likelihood.token_entropy import (
    renyi_divergence,
    renyi_entropy,
    self_certainty,
    token_entropy,
)
from statllm.estimators.likelihood.top_k import (
    probability_margin,
    renormalised_entropy,
    top_k_entropy,
    uqlm_negentropy,
)
from statllm.ragged import Ragged

NAN = float("nan")


def random_logprobs(n: int, vocabulary: int, seed: int = 0, spread: float = 2.0) -> np.ndarray:
    logits = spread * np.random.default_rng(seed).normal(size=(n, vocabulary))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_full_distributions_equal_scipy() -> None:
    table = random_logprobs(50, 40)
    p = np.exp(table)
    uniform = np.full(40, 1 / 40)
    assert token_entropy(table) == pytest.approx(stats.entropy(p, axis=1))
    assert self_certainty(table) == pytest.approx([stats.entropy(uniform, row) for row in p])
    assert renyi_divergence(table, alpha=1.0) == pytest.approx(
        [stats.entropy(row, uniform) for row in p]
    )


@pytest.mark.parametrize("alpha", [0.5, 0.999999, 2.0, 7.0])
def test_renyi_equals_its_sum(alpha: float) -> None:
    table = random_logprobs(20, 30, seed=1)
    expected = [np.log(sum(q**alpha for q in np.exp(row))) / (1 - alpha) for row in table]
    assert renyi_entropy(table, alpha) == pytest.approx(expected)
    uniform = 1 / 30
    expected = [
        np.log(sum(q**alpha * uniform ** (1 - alpha) for q in np.exp(row))) / (alpha - 1)
        for row in table
    ]
    assert renyi_divergence(table, alpha) == pytest.approx(expected, rel=1e-6)


def test_renyi_limits_and_order() -> None:
    table = np.log(
        [[0.5, 0.3, 0.2, 0.0]], where=np.array([[True] * 3 + [False]]), out=np.full((1, 4), -np.inf)
    )
    assert renyi_entropy(table, 0)[0] == pytest.approx(np.log(3))
    assert renyi_entropy(table, np.inf)[0] == pytest.approx(-np.log(0.5))
    assert renyi_entropy(table, 1)[0] == pytest.approx(renyi_entropy(table, 1 + 1e-7)[0])
    values = [renyi_entropy(table, a)[0] for a in (0, 0.3, 1, 2, 10, np.inf)]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="alpha must not be negative"):
        renyi_entropy(table, -1)


def test_renyi_neg_of_lm_polygraph() -> None:
    # Its formula: softmax(lp / 2), (1 / (a - 1)) (log sum p^a + (a - 1) log V), a = 1/2.
    table = random_logprobs(7, 25, seed=2)
    warm = np.exp(table / 2) / np.exp(table / 2).sum(axis=1, keepdims=True)
    steps = -2 * (np.log((warm**0.5).sum(axis=1)) - 0.5 * np.log(25))
    assert renyi_divergence(table, 0.5, temperature=2.0) == pytest.approx(steps)
    with pytest.raises(ValueError, match="temperature must be positive"):
        renyi_divergence(table, temperature=0.0)


def test_zeros_in_self_certainty() -> None:
    with np.errstate(divide="ignore"):
        table = np.log([[0.9, 0.1, 0.0]])
    assert self_certainty(table)[0] == np.inf
    assert self_certainty(table, zeros="drop")[0] == pytest.approx(
        -(np.log(0.9) + np.log(0.1)) / 2 - np.log(2)
    )
    assert token_entropy(table)[0] == pytest.approx(stats.entropy([0.9, 0.1]))
    with pytest.raises(ValueError, match="zeros must be"):
        self_certainty(table, zeros="skip")  # type: ignore[arg-type]


def test_incomplete_distributions_are_refused_and_nan_stays() -> None:
    with pytest.raises(ValueError, match="sum to 0.9, not 1"):
        token_entropy(np.log([[0.6, 0.3]]))
    with pytest.raises(ValueError, match="shape"):
        token_entropy([0.0])
    table = np.array([[NAN, np.log(0.5)], np.log([0.5, 0.5])])
    for score in (token_entropy, renyi_entropy, self_certainty, probability_margin):
        assert np.isnan(score(table)[0])
        assert np.isfinite(score(table)[1])
    bounds = top_k_entropy(table, 5)
    assert np.isnan([bounds.low[0], bounds.high[0], bounds.missing_mass[0]]).all()
    assert np.isnan(renormalised_entropy(table)[0])


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=3, max_size=9),
    st.integers(1, 8),
    st.booleans(),
)
def test_bounds_hold_the_truth_and_are_exact_with_every_token(
    weights: list[int], k: int, shuffle: bool
) -> None:
    p = np.array(weights, dtype=float) + 0.01
    p = np.sort(p / p.sum())[::-1]
    k = min(k, len(p))
    listed = p[:k][::-1] if shuffle else p[:k]
    bounds = top_k_entropy(np.log(listed)[None], len(p))
    truth = stats.entropy(p)
    assert bounds.low[0] <= truth + 1e-9
    assert bounds.high[0] >= truth - 1e-9
    assert bounds.missing_mass[0] == pytest.approx(p[k:].sum(), abs=1e-12)
    if k >= len(p) - 1:  # one token is left: nothing is unknown
        assert bounds.low[0] == pytest.approx(truth)
        assert bounds.high[0] == pytest.approx(truth)


def test_bounds_are_reached() -> None:
    # Listed .4, .2; .4 missing of 5 tokens at most .2 each: least {.2, .2}, most 5 times .08.
    bounds = top_k_entropy(np.log([[0.4, 0.2]]), 7)
    assert bounds.low[0] == pytest.approx(stats.entropy([0.4, 0.2, 0.2, 0.2]))
    assert bounds.high[0] == pytest.approx(stats.entropy([0.4, 0.2] + [0.08] * 5))
    # .5 missing, .2 at most: {.2, .2, .1}.
    bounds = top_k_entropy(np.log([[0.3, 0.2]]), 100)
    assert bounds.low[0] == pytest.approx(stats.entropy([0.3, 0.2, 0.2, 0.2, 0.1]))
    unknown = top_k_entropy(np.log([[0.3, 0.2], [0.5, 0.5]]))
    assert unknown.high.tolist() == [np.inf, pytest.approx(np.log(2))]
    assert unknown.low[0] == pytest.approx(bounds.low[0])


def test_brute_force_over_completions() -> None:
    rng = np.random.default_rng(3)
    listed, others = np.array([0.35, 0.2]), 6
    bounds = top_k_entropy(np.log(listed)[None], 2 + others)
    rest = 0.45 * rng.dirichlet(np.full(others, 0.3), size=200_000)
    rest = rest[(rest <= 0.2).all(axis=1)]
    values = stats.entropy(np.hstack([np.tile(listed, (len(rest), 1)), rest]), axis=1)
    assert bounds.low[0] <= values.min() <= bounds.low[0] + 0.05
    assert bounds.high[0] - 0.05 <= values.max() <= bounds.high[0]


def test_per_response_bounds() -> None:
    full = random_logprobs(9, 50, seed=4)
    top = np.sort(full, axis=1)[:, -10:]
    lengths = [4, 0, 5]
    truth = Ragged.from_lengths(token_entropy(full), lengths)
    for how in ("mean", "max"):
        bounds = top_k_entropy(top, 50).per_response(lengths, how)  # type: ignore[arg-type]
        expected = getattr(truth, how)()
        assert (bounds.low[[0, 2]] <= expected[[0, 2]]).all()
        assert (bounds.high[[0, 2]] >= expected[[0, 2]]).all()
        assert np.isnan(bounds.low[1])
    with pytest.raises(ValueError, match="how must be"):
        top_k_entropy(top).per_response(lengths, "sum")  # type: ignore[arg-type]


def test_tokens_with_different_numbers_of_alternatives() -> None:
    rows = [np.log([0.6, 0.3]), np.log([0.5, 0.2, 0.2]), np.log([0.9]), np.empty(0)]
    ragged = Ragged.from_lists([row.tolist() for row in rows])
    bounds = top_k_entropy(ragged, 20)
    for i, row in enumerate(rows[:3]):
        alone = top_k_entropy(row[None], 20)
        assert bounds.low[i] == pytest.approx(alone.low[0])
        assert bounds.high[i] == pytest.approx(alone.high[0])
    assert bounds.low[3] == 0  # nothing is known of it
    assert bounds.high[3] == pytest.approx(np.log(20))
    margin = probability_margin(ragged)
    assert margin[:2] == pytest.approx([0.3, 0.3])
    assert np.isnan(margin[2:]).all()
    assert np.isnan(uqlm_negentropy(ragged)[2:]).all()


def test_uqlm_negentropy_equals_its_loop() -> None:
    top = np.sort(random_logprobs(30, 100, seed=5), axis=1)[:, ::-1][:, :15]
    expected = []
    for row in top:
        p = np.exp(row) / np.exp(row).sum()
        expected.append(1 - -(p * np.log(p)).sum() / np.log(len(p)))
    assert uqlm_negentropy(top) == pytest.approx(expected)
    shuffled = np.random.default_rng(0).permuted(top, axis=1)
    assert uqlm_negentropy(shuffled) == pytest.approx(expected)
    # Renormalising to what is listed isn't a bound: here it's below the lowest possible entropy.
    assert renormalised_entropy(np.log([[0.5, 0.01]]))[0] < top_k_entropy(np.log([[0.5, 0.01]])).low


def test_wrong_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to a probability"):
        top_k_entropy(np.log([[0.7, 0.6]]))
    with pytest.raises(ValueError, match="more than the vocabulary"):
        top_k_entropy(np.log([[0.5, 0.3, 0.1]]), 2)
    with pytest.raises(ValueError, match="largest of their token"):
        top_k_entropy(np.log([[0.5, 0.01]]), 10)  # .49 can't hide in 8 tokens below .01
    with pytest.raises(ValueError, match="shape"):
        top_k_entropy(np.log([0.5, 0.5]))


def test_float32_rounding_is_no_missing_mass_to_speak_of() -> None:
    full = random_logprobs(200, 12, seed=6).astype(np.float32)
    bounds = top_k_entropy(full, 12)
    assert bounds.low == pytest.approx(token_entropy(full), abs=1e-5)
    assert bounds.high == pytest.approx(token_entropy(full), abs=1e-5)


def test_ties_and_single_tokens() -> None:
    assert probability_margin(np.log([[0.4, 0.4, 0.2]]))[0] == 0
    assert np.isnan(probability_margin(np.log([[0.9]]))[0])
    assert len(top_k_entropy(np.empty((0, 5)), 10).low) == 0
    assert len(uqlm_negentropy(np.empty((0, 5)))) == 0
