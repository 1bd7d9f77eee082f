"""Sets with a threshold per group of items, per group of answers, or per weight of an item."""

from __future__ import annotations

import numpy as np
import pytest

from statllm.estimators.conformal.law import conformal_quantile
from statllm.estimators.conformal.sets import prediction_sets


def draw_items(
    rng: np.random.Generator, n: int, k: int = 4, sharp: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that don't follow them (the model is miscalibrated)."""
    logits = rng.normal(size=(n, k))
    truth = np.argmax(logits + rng.gumbel(size=(n, k)), axis=1)
    probs = np.exp(sharp * logits)
    return probs / probs.sum(1, keepdims=True), truth


def test_groups_are_calibrated_apart() -> None:
    rng = np.random.default_rng(6)
    probs, labels = draw_items(rng, 400)
    group = np.where(np.arange(400) % 4 == 0, "rare", "common")
    sets = prediction_sets(
        probs[:200], labels[:200], probs[200:], 0.1, groups=(group[:200], group[200:])
    )
    for name in ("rare", "common"):
        fit, test = group[:200] == name, group[200:] == name
        alone = prediction_sets(probs[:200][fit], labels[:200][fit], probs[200:][test], 0.1)
        np.testing.assert_array_equal(sets.sets[test], alone.sets)
    assert [law.n for law in sets.laws] == [150, 50]
    assert sets.law.n == 50
    unknown = prediction_sets(
        probs[:200], labels[:200], probs[200:], 0.1, groups=(group[:200], np.full(200, "new"))
    )
    assert unknown.sets.all()
    assert "0 calibration items" in unknown.notes[0]


def test_answer_groups_hold_given_the_right_answer() -> None:
    """Answer 0 is easy and 3 hard: marginal sets miss 3 too often, class-conditional ones don't."""
    rng = np.random.default_rng(10)
    found: dict[str, list[float]] = {"marginal": [], "class": [], "two": []}
    grouped = {"marginal": None, "class": range(4), "two": [0, 0, 0, 1]}
    for _ in range(200):
        labels = rng.integers(0, 4, 400)
        logits = rng.normal(size=(400, 4))
        logits[np.arange(400), labels] += 2.5 - 0.8 * labels
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        hard = labels[200:] == 3
        for name, answer_groups in grouped.items():
            sets = prediction_sets(
                probs[:200], labels[:200], probs[200:], 0.2, answer_groups=answer_groups
            )
            found[name].append(sets.take(hard).coverage(labels[200:][hard]).value)
    assert np.mean(found["marginal"]) < 0.65
    assert np.mean(found["class"]) == pytest.approx(0.81, abs=0.02)  # Beta law with n = 50
    assert np.mean(found["two"]) == pytest.approx(0.81, abs=0.02)


def test_answer_groups_are_split_conformal_per_answer() -> None:
    rng = np.random.default_rng(11)
    probs, labels = draw_items(rng, 400)
    sets = prediction_sets(probs[:200], labels[:200], probs[200:], 0.1, answer_groups=range(4))
    own = 1 - probs[np.arange(200), labels[:200]]
    for answer in range(4):
        limit = conformal_quantile(own[labels[:200] == answer], 0.1)
        np.testing.assert_array_equal(sets.sets[:, answer], 1 - probs[200:, answer] <= limit)
        assert sets.thresholds[0, answer] == limit
        assert sets.laws[answer].n == np.sum(labels[:200] == answer)
    np.testing.assert_array_equal(sets.p_values > 0.1, sets.sets)
    same = prediction_sets(probs[:200], labels[:200], probs[200:], 0.1, answer_groups=[7] * 4)
    plain = prediction_sets(probs[:200], labels[:200], probs[200:], 0.1)
    np.testing.assert_array_equal(same.sets, plain.sets)
    topic = np.arange(400) % 2
    both = prediction_sets(
        probs[:200], labels[:200], probs[200:], 0.1, groups=(topic[:200], topic[200:]),
        answer_groups=[0, 0, 1, 1],
    )  # fmt: skip
    odd = (topic[:200] == 1) & (labels[:200] >= 2)
    limit = conformal_quantile(own[odd], 0.1)
    np.testing.assert_array_equal(both.thresholds[topic[200:] == 1, 2], limit)
    assert len(both.laws) == 4
    assert both.laws[3].n == np.sum(odd)


def test_weighted_sets_are_the_weighted_p_values() -> None:
    rng = np.random.default_rng(12)
    probs, labels = draw_items(rng, 300)
    weights = rng.integers(0, 4, 100).astype(float), rng.integers(0, 60, 200).astype(float)
    topic = np.arange(300) % 2
    for groups in (None, (topic[:100], topic[100:])):
        sets = prediction_sets(
            probs[:100], labels[:100], probs[100:], 0.15, "aps", groups=groups, weights=weights
        )
        np.testing.assert_array_equal(sets.p_values > 0.15 + 1e-12, sets.sets)
    equal = prediction_sets(
        probs[:100], labels[:100], probs[100:], 0.15, weights=(np.full(100, 3.0), np.full(200, 3.0))
    )
    plain = prediction_sets(probs[:100], labels[:100], probs[100:], 0.15)
    np.testing.assert_array_equal(equal.sets, plain.sets)
    np.testing.assert_array_equal(equal.thresholds, plain.thresholds)
    with pytest.raises(ValueError, match="isn't known"):
        _ = equal.law
    heavy = prediction_sets(
        probs[:100], labels[:100], probs[100:], 0.1, weights=(np.ones(100), np.full(200, 50.0))
    )
    assert heavy.sets.all()
    assert heavy.notes == ("200 items weigh too much against the calibration items",)


def test_weighted_sets_cover_shifted_items() -> None:
    """Difficulty x ~ N(0, 1) in calibration, N(1, 1) in test: weights exp(x - 1/2)."""
    rng = np.random.default_rng(13)
    plain, weighted = [], []
    for _ in range(150):
        x = np.concatenate([rng.normal(size=300), rng.normal(1, 1, size=40)])
        logits = rng.normal(size=(340, 4)) * np.exp(-x / 2)[:, None] * 2
        truth = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
        probs = np.exp(3 * logits)  # overconfident where it's hard
        probs /= probs.sum(1, keepdims=True)
        data = probs[:300], truth[:300], probs[300:], 0.2
        weights = np.exp(x[:300] - 0.5), np.exp(x[300:] - 0.5)
        plain.append(prediction_sets(*data).coverage(truth[300:]).value)
        weighted.append(prediction_sets(*data, weights=weights).coverage(truth[300:]).value)
    assert np.mean(plain) < 0.76
    assert np.mean(weighted) == pytest.approx(0.8, abs=0.03)
