"""Fairness: peers' tests where there are two groups, simulated coverage where there are more."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.comparison import paired_difference
from statllm.estimators.fairness import (
    counterfactual_gap,
    gaps,
    odds_gap,
    parity_gap,
    word_association,
)


def test_two_groups_are_agresti_and_caffo_s() -> None:
    """Their interval: z from (x + 1) / (n + 2) in each group."""
    x, n = np.array([3, 17]), np.array([40, 50])
    outcome = np.concatenate([[1.0] * k + [0.0] * (m - k) for k, m in zip(x, n, strict=True)])
    found = parity_gap(outcome, np.repeat(["a", "b"], n))
    p = (x + 1) / (n + 2)
    half = stats.norm.isf(0.025) * np.sqrt(np.sum(p * (1 - p) / (n + 2)))
    interval = found.gap.interval()
    assert found.gap.value == pytest.approx(17 / 50 - 3 / 40)
    assert interval.low == pytest.approx(p[1] - p[0] - half, abs=0.004)
    assert interval.high == pytest.approx(p[1] - p[0] + half, abs=0.004)


def test_clustered_two_groups_are_the_paired_difference() -> None:
    """Each template has one row of each group: the same se as the paired difference, and its t."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=25)
    a, b = base + rng.normal(size=25), base + 0.4 + rng.normal(size=25)
    found = parity_gap(np.concatenate([a, b]), np.repeat(["a", "b"], 25), np.tile(np.arange(25), 2))
    paired = paired_difference(a, b)
    assert found.gap.se == pytest.approx(paired.se)
    t = paired.value / paired.se
    assert found.test.p_value == pytest.approx(2 * stats.t.sf(abs(t), 24))


@pytest.mark.parametrize(
    "rates", [(0.5, 0.5, 0.5, 0.5), (0.9, 0.8, 0.85, 0.6), (0.05, 0.02, 0.1, 0.05)]
)
def test_the_gap_s_interval_covers_the_largest_difference(
    rates: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """800 repeats of 4 groups of 60; three standard errors are .023."""
    monkeypatch.setattr(gaps, "_DRAWS", 10_000)
    rng = np.random.default_rng(1)
    truth, inside, rejected = max(rates) - min(rates), 0, 0
    group = np.repeat(np.arange(4), 60)
    for _ in range(800):
        outcome = rng.random(240) < np.asarray(rates)[group]
        found = parity_gap(outcome, group, rng=rng)
        inside += truth in found.gap.interval()
        rejected += found.test.p_value <= 0.05
    assert inside / 800 > 0.95 - 0.023
    if truth == 0:
        assert rejected / 800 < 0.05 + 0.023
    else:
        assert rejected / 800 > 0.1


def test_clusters_keep_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 templates with an effect of their own on each group: 400 repeats."""
    monkeypatch.setattr(gaps, "_DRAWS", 10_000)
    rng = np.random.default_rng(2)
    group = np.tile(np.repeat(np.arange(3), 4), 40)
    template = np.repeat(np.arange(40), 12)
    naive = clustered = covered = 0
    for _ in range(400):
        effect = rng.normal(size=(40, 3))
        outcome = effect[template, group] + rng.normal(size=480)
        naive += parity_gap(outcome, group, rng=rng).test.p_value <= 0.05
        found = parity_gap(outcome, group, template, rng=rng)
        clustered += found.test.p_value <= 0.05
        covered += 0.0 in found.gap.interval()
    assert naive / 400 > 0.2
    assert abs(clustered / 400 - 0.05) < 0.033
    assert covered / 400 > 0.95 - 0.033


def test_the_ratio_s_interval_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "_DRAWS", 10_000)
    rng = np.random.default_rng(3)
    group, inside = np.repeat(np.arange(3), 100), 0
    for _ in range(400):
        outcome = rng.random(300) < np.array([0.6, 0.5, 0.4])[group]
        inside += 0.4 / 0.6 in parity_gap(outcome, group, rng=rng).ratio.interval()
    assert inside / 400 > 0.95 - 0.033


def test_odds_are_rates_within_each_truth() -> None:
    rng = np.random.default_rng(4)
    truth, group = rng.integers(0, 2, 300), rng.integers(0, 3, 300)
    guess = rng.integers(0, 2, 300)
    found = odds_gap(guess, truth, group)
    rates = [guess[(truth == 1) & (group == g)].mean() for g in range(3)]
    np.testing.assert_allclose(found["true_positive_rate"].rate, rates)


def test_counterfactual_pairs() -> None:
    score, swapped = np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 1.0, 3.0, 7.0])
    assert counterfactual_gap(score, swapped).value == pytest.approx(0.5)
    assert counterfactual_gap(score, swapped, absolute=True).value == pytest.approx(1.0)
    t = stats.ttest_rel(swapped, score)
    interval = counterfactual_gap(score, swapped).interval()
    assert interval.low == pytest.approx(t.confidence_interval().low)


def test_association_by_its_definition_and_its_size() -> None:
    rng = np.random.default_rng(5)
    x, y, a, b = (rng.normal(size=(k, 6)) for k in (5, 4, 7, 8))

    def cos(u: np.ndarray, v: np.ndarray) -> float:
        return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))

    s = [np.mean([cos(w, v) for v in a]) - np.mean([cos(w, v) for v in b]) for w in (*x, *y)]
    found = word_association(x, y, a, b)
    assert found.effect == pytest.approx((np.mean(s[:5]) - np.mean(s[5:])) / np.std(s, ddof=1))
    rejected = sum(
        word_association(*(rng.normal(size=(6, 3)) for _ in range(4))).test.p_value <= 0.05
        for _ in range(300)
    )
    assert abs(rejected / 300 - 0.05) < 0.04


def test_random_partitions_are_near_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from statllm.estimators.fairness import association

    rng = np.random.default_rng(6)
    x, y = rng.normal(0.4, 1, (7, 4)), rng.normal(size=(7, 4))
    a, b = rng.normal(0.5, 1, (5, 4)), rng.normal(size=(5, 4))
    exact = word_association(x, y, a, b).test.p_value
    monkeypatch.setattr(association, "_ENUMERATED", 0)
    drawn = word_association(x, y, a, b).test.p_value
    assert drawn == pytest.approx(exact, abs=0.02)
    assert drawn != exact


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="single group"):
        parity_gap([1.0, 0.0], ["a", "a"])
    with pytest.raises(ValueError, match="group 'b' has a single row"):
        parity_gap([1.0, 0.0, 1.0], ["a", "a", "b"])
    with pytest.raises(ValueError, match="outcome is nan at place 1"):
        parity_gap([1.0, np.nan], ["a", "b"])
    with pytest.raises(ValueError, match="group 'b' has no row with truth 1"):
        odds_gap([1, 0, 1, 0], [1, 1, 0, 0], ["a", "a", "a", "b"])
    with pytest.raises(ValueError, match="x has no direction in row 0"):
        word_association([[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]])
