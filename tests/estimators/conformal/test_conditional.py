"""Conditional thresholds against split conformal, the definition, and their guarantee."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from statllm.estimators.conformal.conditional import conditional_factuality, conditional_threshold
from statllm.estimators.conformal.factuality import conformal_factuality
from statllm.estimators.conformal.law import conformal_quantile
from statllm.ragged import Ragged


@pytest.mark.parametrize("n", [8, 9, 19, 20, 50, 137])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.29])
def test_without_features_it_is_the_split_threshold(n: int, alpha: float) -> None:
    scores = np.random.default_rng(n).normal(size=n)
    found = conditional_threshold(scores, np.zeros((n, 0)), np.zeros((2, 0)), alpha)
    np.testing.assert_allclose(found, conformal_quantile(scores, alpha), rtol=1e-9)


def test_disjoint_groups_have_their_own_split_threshold() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 90)
    scores = rng.normal(size=90) + group
    found = conditional_threshold(scores, np.eye(3)[group], np.eye(3), 0.2)
    expected = [conformal_quantile(scores[group == g], 0.2) for g in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    order = rng.permutation(90)
    again = conditional_threshold(scores[order], np.eye(3)[group[order]], np.eye(3), 0.2)
    np.testing.assert_allclose(again, found)


def fitted(scores: np.ndarray, phi: np.ndarray, level: float) -> np.ndarray:
    """Quantile regression by its primal linear program."""
    n, d = phi.shape
    cost = np.concatenate([np.zeros(d), np.full(n, level), np.full(n, 1 - level)])
    equations = np.hstack([phi, np.eye(n), -np.eye(n)])
    bounds = [(None, None)] * d + [(0, None)] * (2 * n)
    return np.asarray(linprog(cost, A_eq=equations, b_eq=scores, bounds=bounds).x[:d])


def test_threshold_is_the_largest_score_below_its_own_fit() -> None:
    """sup{S : S <= the fit at x with the new item at (x, S)}, by fits on both sides of it."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2))
    scores = x[:, 0] + np.exp(0.5 * x[:, 1]) * rng.normal(size=60)
    new = rng.normal(size=(8, 2)) * 0.7
    found = conditional_threshold(scores, x, new, 0.1)
    phi = np.column_stack([np.ones(60), x])
    for row, limit in zip(new, found, strict=True):
        design = np.vstack([phi, np.r_[1.0, row]])
        for shift, accepted in ((-1e-3, True), (1e-3, False)):
            score = limit + shift
            beta = fitted(np.append(scores, score), design, 0.9 - 1e-6)
            assert (score <= design[-1] @ beta + 1e-9) == accepted


def test_coverage_in_overlapping_groups() -> None:
    """Two overlapping groups of different spread; split conformal misses one of them."""
    rng = np.random.default_rng(2)
    hits: dict[str, list[np.ndarray]] = {"conditional": [], "split": []}
    groups = []
    for _ in range(60):
        member = rng.random((150, 2)) < [0.3, 0.5]
        scores = rng.exponential(1 + 3 * member[:, 0] + member[:, 1])
        fit, new = slice(0, 100), slice(100, None)
        limit = conditional_threshold(scores[fit], member[fit], member[new], 0.2)
        hits["conditional"].append(scores[new] <= limit)
        hits["split"].append(scores[new] <= conformal_quantile(scores[fit], 0.2))
        groups.append(member[new])
    inside = np.concatenate(groups)[:, 0]
    covered = {name: np.concatenate(parts)[inside].mean() for name, parts in hits.items()}
    assert covered["split"] < 0.7
    assert covered["conditional"] == pytest.approx(0.82, abs=0.04)  # at most d / n above
    second = np.concatenate(groups)[:, 1]
    assert np.concatenate(hits["conditional"])[second].mean() > 0.77


def test_each_item_may_have_its_own_level() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=200)
    group = np.repeat([0, 1], 100)
    levels = np.where(group, 0.3, 0.1)
    found = conditional_threshold(
        scores, group[:, None], np.array([[0], [1]]), (levels, np.array([0.1, 0.3]))
    )
    expected = [conformal_quantile(scores[:100], 0.1), conformal_quantile(scores[100:], 0.3)]
    np.testing.assert_allclose(found, expected)


def draw(rng: np.random.Generator, n: int) -> tuple[Ragged, Ragged, np.ndarray]:
    """Responses of an easy and of a hard topic."""
    hard = rng.random(n) < 0.3
    lengths = rng.integers(1, 7, n)
    right = rng.random(lengths.sum()) < np.where(hard, 0.5, 0.95)[np.repeat(np.arange(n), lengths)]
    score = np.clip(rng.normal(0.4 + 0.2 * right, 0.2), 0, 1)
    parts = Ragged.from_lengths(score, lengths), Ragged.from_lengths(right, lengths)
    return *parts, hard[:, None].astype(float)


def test_factuality_holds_in_a_hard_topic() -> None:
    rng = np.random.default_rng(4)
    found, marginal = [], []
    for _ in range(60):
        rule = conditional_factuality(*draw(rng, 80), alpha=0.2)
        scores, right, topic = draw(rng, 60)
        kept = rule.keep(scores, topic)
        good = kept.with_values(kept.values & ~right.values).sum() == 0
        found.append(good[topic[:, 0] == 1])
        split = conformal_factuality(*draw(rng, 80)[:2], 0.2).keep(scores)
        marginal.append(
            (split.with_values(split.values & ~right.values).sum() == 0)[topic[:, 0] == 1]
        )
    assert np.concatenate(found).mean() > 0.78
    assert np.concatenate(marginal).mean() < 0.7
    estimate = rule.factual(scores, right, topic)
    assert estimate.value == pytest.approx(good.mean())


def test_without_features_it_is_conformal_factuality() -> None:
    rng = np.random.default_rng(5)
    scores, right, topic = draw(rng, 60)
    plain = conformal_factuality(scores, right, 0.2, 0.7)
    rule = conditional_factuality(scores, right, topic[:, :0], 0.2, 0.7)
    assert rule.thresholds(topic[:1, :0])[0] == pytest.approx(max(plain.threshold, 0.0))


def test_wrong_input_is_refused() -> None:
    phi = np.zeros((3, 1))
    with pytest.raises(ValueError, match="must be finite"):
        conditional_threshold([1.0, np.inf, 2.0], phi, phi)
    with pytest.raises(ValueError, match="matrix of 3 rows"):
        conditional_threshold([1.0, 2.0, 3.0], phi[:2], phi)
    with pytest.raises(ValueError, match="columns"):
        conditional_threshold([1.0, 2.0, 3.0], phi, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="without NaN"):
        conditional_threshold([1.0, 2.0, 3.0], phi + np.nan, phi)
    for alpha in (0.0, ([0.1] * 3, [1.5])):
        with pytest.raises(ValueError, match="alpha must lie"):
            conditional_threshold([1.0, 2.0, 3.0], phi, phi[:1], alpha)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alpha must be 3 and 1 numbers"):
        conditional_threshold([1.0, 2.0, 3.0], phi, phi[:1], ([0.1] * 2, [0.1]))
    with pytest.raises(ValueError, match="below floor"):
        conditional_factuality([[-1.0]], [[1]], [[0.0]])
