"""Claim back-off against a claim-by-claim loop, and its simulated guarantee."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.conformal.factuality import breaking_scores, conformal_factuality
from statllm.estimators.conformal.law import CoverageLaw
from statllm.ragged import Ragged

CLAIMS = st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=7)


def plain_break(claims: list[tuple[int, bool]], level: float) -> float:
    """Largest threshold whose kept claims hold too few right ones."""
    for t in sorted({score for score, _ in claims}, reverse=True):
        kept = [right for score, right in claims if score >= t]
        if sum(kept) < level * len(kept) - 1e-9:
            return t
    return -np.inf


@settings(deadline=None)
@given(st.lists(CLAIMS, max_size=8), st.sampled_from([0.5, 0.6, 0.75, 1.0]), st.integers(0, 100))
def test_breaking_scores_equal_the_loop(
    rows: list[list[tuple[int, bool]]], level: float, seed: int
) -> None:
    scores = [[float(s) for s, _ in row] for row in rows]
    correct = [[right for _, right in row] for row in rows]
    found = breaking_scores(scores, correct, level)
    np.testing.assert_array_equal(found, [plain_break(row, level) for row in rows])
    rng = np.random.default_rng(seed)  # the order of the claims doesn't matter
    orders = [rng.permutation(len(row)) for row in rows]
    shuffled = [[row[i] for i in order] for row, order in zip(scores, orders, strict=True)]
    labels = [[row[i] for i in order] for row, order in zip(correct, orders, strict=True)]
    np.testing.assert_array_equal(breaking_scores(shuffled, labels, level), found)
    # Everything at or above the breaking score is safe.
    for row, worst in zip(rows, found, strict=True):
        for t in range(-1, 6):
            if t >= worst:
                kept = [right for score, right in row if score > t]
                assert sum(kept) >= level * len(kept) - 1e-9


def released(rows: list[list[tuple[float, bool]]], alpha: float, level: float) -> float:
    """The rule of tatsu-lab/conformal-factual-lm written out: r is the claim that breaks."""
    worst = []
    for row in rows:
        ordered = sorted(row, reverse=True)
        r = -1e5
        for i, (score, _) in enumerate(ordered):
            if np.mean([right for _, right in ordered[: i + 1]]) < level - 1e-9:
                r = score
                break
        worst.append(r)
    place = int(np.ceil((len(worst) + 1) * (1 - alpha) - 1e-9))
    return sorted(worst)[place - 1]


def test_threshold_equals_the_released_rule_without_ties() -> None:
    rng = np.random.default_rng(0)
    for level in (0.7, 0.9, 1.0):
        for alpha in (0.05, 0.1, 0.15):
            rows = [
                [(float(rng.normal()), bool(rng.random() < 0.7)) for _ in range(rng.integers(1, 9))]
                for _ in range(50)
            ]
            rule = conformal_factuality(
                [[s for s, _ in row] for row in rows],
                [[y for _, y in row] for row in rows],
                alpha,
                level,
            )
            expected = released(rows, alpha, level)
            assert max(rule.threshold, -1e5) == expected
            assert rule.note == ""


def draw(rng: np.random.Generator, n: int) -> tuple[Ragged, Ragged]:
    """Responses that differ in how many claims are right; scores with ties."""
    lengths = rng.integers(0, 9, n)
    ease = np.repeat(rng.beta(2, 1, n), lengths)
    right = rng.random(len(ease)) < ease
    score = np.round(rng.normal(size=len(ease)) + 1.5 * right, 1)
    return Ragged.from_lengths(score, lengths), Ragged.from_lengths(right, lengths)


@pytest.mark.parametrize("level", [1.0, 0.75])
def test_guarantee(level: float) -> None:
    """500 calibration sets of 30 responses, 40 new ones each."""
    rng = np.random.default_rng(1)
    factual, removed = [], []
    for _ in range(500):
        rule = conformal_factuality(*draw(rng, 30), 0.2, level)
        scores, right = draw(rng, 40)
        factual.append(rule.factual(scores, right).value)
        removed.append(rule.removed(scores).value)
    se = np.std(factual) / np.sqrt(500)
    assert 0.8 - 3 * se <= np.mean(factual)
    # Ties and responses that never break make it safer, not much.
    assert np.mean(factual) < CoverageLaw(30, 0.2).mean + 0.05
    assert np.mean(removed) < 0.9


def test_too_few_responses_keep_nothing() -> None:
    rng = np.random.default_rng(2)
    scores, right = draw(rng, 8)  # ceil(9 * .9) = 9 > 8
    rule = conformal_factuality(scores, right, 0.1)
    assert rule.threshold == np.inf
    assert "8 calibration items are too few" in rule.note
    assert "no claim is kept" in rule.note
    assert not rule.keep(scores).values.any()
    assert rule.factual(scores, right).value == 1.0
    assert conformal_factuality([], [], 0.1).threshold == np.inf


def test_nothing_to_remove_when_all_is_right() -> None:
    scores = [[0.1, 0.2]] * 20
    rule = conformal_factuality(scores, [[True, True]] * 20, 0.1)
    assert rule.threshold == -np.inf
    assert rule.removed(scores).value == 0.0
    assert np.isnan(rule.removed([[]]).value)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        conformal_factuality([[0.1, np.nan]], [[True, False]])
    with pytest.raises(ValueError, match="one label per claim"):
        conformal_factuality([[0.1, 0.2]], [[True]])
    with pytest.raises(ValueError, match="true or false"):
        conformal_factuality([[0.1]], [[0.5]])
    with pytest.raises(ValueError, match="level must lie"):
        conformal_factuality([[0.1]], [[True]], level=0.0)
    with pytest.raises(ValueError, match="alpha must lie"):
        conformal_factuality([[0.1]], [[True]], alpha=0.0)
