"""Inputs on which published code crashes, or decides by the order of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.conformal import (
    conditional_factuality,
    conditional_threshold,
    conformal_factuality,
    conformal_generation,
    conformal_p_values,
    conformal_quantile,
    conformal_selection,
    fact_test,
    prediction_sets,
)
from statllm.estimators.conformal.scores import SetMethod, set_scores

METHODS: list[SetMethod] = ["lac", "margin", "aps", "raps", "saps", "top_k"]


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(4), size=n)
    return probs, (rng.random((n, 1)) > probs.cumsum(1)[:, :-1]).sum(1)


@pytest.mark.parametrize("n", [0, 1, 8])
@pytest.mark.parametrize("method", METHODS)
def test_too_few_items_give_the_whole_set(n: int, method: SetMethod) -> None:
    """n < 1 / alpha - 1: LLM-Uncertainty-Bench asks for a quantile above 1 (ValueError)."""
    probs, labels = draw(n + 5)
    sets = prediction_sets(probs[:n], labels[:n], probs[n:], 0.1, method)
    assert sets.sets.all()
    assert sets.uncalibrated.all()
    assert np.all(sets.p_values > 0.1)
    [note] = sets.notes
    assert note.startswith(f"{n} calibration items are too few for alpha = 0.1")
    assert sets.law.interval(0.9).low == 1.0


def test_nine_items_are_enough() -> None:
    probs, labels = draw(400)
    sets = prediction_sets(probs[:9], labels[:9], probs[9:], 0.1)
    assert not sets.uncalibrated.any()
    assert sets.notes == ()
    assert sets.thresholds[0] == np.max(1 - probs[np.arange(9), labels[:9]])


def test_too_few_elsewhere() -> None:
    """conformal-factual-lm indexes past the end (IndexError) at n = 8, alpha = 0.1."""
    scores, correct = [[0.9, 0.1]] * 8, [[1, 0]] * 8
    rule = conformal_factuality(scores, correct, 0.1)
    assert rule.threshold == np.inf
    assert not rule.keep(scores).values.any()
    assert "8 calibration items are too few" in rule.note
    nine = conformal_factuality([*scores, [0.9, 0.1]], [*correct, [1, 0]], 0.1)
    assert nine.threshold == 0.1
    assert conformal_quantile(np.arange(8.0), 0.1) == np.inf
    phi = np.zeros((8, 0))
    assert conditional_threshold(np.arange(8.0), phi, phi[:1], 0.1) == [np.inf]
    conditional = conditional_factuality(scores, correct, phi, 0.1)
    assert not conditional.keep(scores, phi).values.any()
    assert "too few" in conformal_selection([0.9] * 8, [0] * 8, [1.0], 0.1).note
    assert not fact_test([0.9] * 8, [0] * 8, 0.1).answers([1.0]).any()
    assert not conformal_generation([[0.9]] * 8, [[1]] * 8, limit=0.1).certified


@pytest.mark.parametrize("method", METHODS)
def test_constant_scores_give_all_or_nothing_by_no_order(method: SetMethod) -> None:
    """A model that says the same of every answer tells them apart by nothing."""
    flat = np.full((60, 4), 0.25)
    labels = np.random.default_rng(1).integers(0, 4, 60)
    sets = prediction_sets(flat[:40], labels[:40], flat[40:], 0.1, method, randomised=False)
    assert sets.sets.all()
    drawn = prediction_sets(flat[:40], labels[:40], flat[40:], 0.1, method)
    assert set(drawn.sizes.tolist()) <= {0, 4}


def test_ties_are_broken_by_a_seed_and_not_by_row_order() -> None:
    scores = np.repeat([1.0, 2.0], 10)
    new = np.array([1.0, 2.0, 2.0])
    order = np.random.default_rng(2).permutation(20)
    p = conformal_p_values(scores, new, rng=3)
    np.testing.assert_array_equal(conformal_p_values(scores[order], new, rng=3), p)
    assert p[1] != p[2]
    many = conformal_p_values(scores, np.ones(2000), rng=6)
    low, high = 10 / 21, 1.0  # 10 scores above, 10 + 1 tied
    assert stats.kstest(many, stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_constant_claim_scores_are_kept_or_left_together() -> None:
    scores = [[0.5, 0.5, 0.5]] * 30
    wrong = [[1, 1, 0]] * 10 + [[1, 1, 1]] * 20
    for order in (slice(None), slice(None, None, -1)):
        rule = conformal_factuality([row[order] for row in scores], [row[order] for row in wrong])
        assert rule.threshold == 0.5
        assert not rule.keep(scores).values.any()


def test_duplicated_answers_do_not_depend_on_the_column_order() -> None:
    rng = np.random.default_rng(4)
    probs = rng.integers(1, 4, size=(80, 4)).astype(float)
    probs /= probs.sum(1, keepdims=True)  # many ties within rows
    labels = rng.integers(0, 4, 80)
    order = np.array([2, 0, 3, 1])
    place = np.argsort(order)
    for method in METHODS:
        sets = prediction_sets(probs[:50], labels[:50], probs[50:], 0.2, method, rng=5)
        again = prediction_sets(
            probs[:50, order], place[labels[:50]], probs[50:, order], 0.2, method, rng=5
        )
        np.testing.assert_array_equal(again.sets, sets.sets[:, order])


def test_rounding_errors_of_a_sum_break_no_tie() -> None:
    """Deterministic APS gives the least probable answer 1, whatever its row's sum rounds to."""
    rng = np.random.default_rng(7)
    probs = rng.dirichlet(np.ones(7), size=500)
    assert len(np.unique(np.sort(probs, axis=1)[:, ::-1].cumsum(axis=1)[:, -1])) > 1
    scores = set_scores(probs, "aps")
    assert np.all(scores[np.arange(500), probs.argmin(axis=1)] == 1.0)
    np.testing.assert_allclose(scores.max(axis=1), 1.0, rtol=0, atol=0)
