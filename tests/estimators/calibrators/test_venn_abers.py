"""Venn-Abers against refitting isotonic regression for every score, and its guarantee."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from statllm.estimators.calibrators.venn_abers import VennAbers

CALIBRATION = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30)


def refit(score: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """By definition: add the test score with either label and fit again."""
    return np.array(
        [
            [
                IsotonicRegression().fit(np.append(score, x), np.append(y, label)).predict([x])[0]
                for label in (0, 1)
            ]
            for x in test
        ]
    )


@settings(deadline=None, max_examples=40)
@given(CALIBRATION)
def test_interval_equals_refitting(pairs: list[tuple[int, bool]]) -> None:
    score = np.array([s / 9 for s, _ in pairs])
    y = np.array([right for _, right in pairs], dtype=float)
    test = np.concatenate([np.unique(score), [-1.0, 2.0], np.arange(9) / 9 + 0.05])
    p0, p1 = VennAbers().fit(score, y).interval(test)
    expected = refit(score, y, test)
    assert p0 == pytest.approx(expected[:, 0], abs=1e-12)
    assert p1 == pytest.approx(expected[:, 1], abs=1e-12)


def test_interval_equals_refitting_without_ties() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(size=300)
    y = (rng.uniform(size=300) < score).astype(float)
    test = rng.uniform(size=40)
    p0, p1 = VennAbers().fit(score, y).interval(test)
    assert np.column_stack([p0, p1]) == pytest.approx(refit(score, y, test), abs=1e-12)


def test_merged_probability() -> None:
    rng = np.random.default_rng(1)
    score = rng.uniform(size=200)
    model = VennAbers().fit(score, rng.uniform(size=200) < score)
    p0, p1 = model.interval(score)
    assert (p0 < p1).all()
    merged = model.predict_proba(score)[:, 1]
    assert ((merged > 0) & (merged < 1) & (p0 <= merged) & (merged <= p1)).all()
    # Minimax (Vovk, Petej and Fedorova 2015): the regret of both labels is the same.
    assert np.log(1 - p0) - np.log(1 - merged) == pytest.approx(np.log(p1) - np.log(merged))
    square = VennAbers(merge="square").fit(score, rng.uniform(size=200) < score)
    p0, p1 = square.interval(score)
    merged = square.predict_proba(score)[:, 1]
    assert merged**2 - p0**2 == pytest.approx((1 - merged) ** 2 - (1 - p1) ** 2)
    with pytest.raises(ValueError, match="merge must be"):
        VennAbers(merge="mean").fit(score, score > 0.5)  # type: ignore[arg-type]


def test_one_observation_and_infinite_scores() -> None:
    p0, p1 = VennAbers().fit([0.5], [1]).interval([0.4, 0.5, 0.6])
    assert p0 == pytest.approx([0.0, 0.5, 0.5])
    assert p1 == pytest.approx([1.0, 1.0, 1.0])
    p0, p1 = VennAbers().fit([-np.inf, 0.0, 1.0], [0, 0, 1]).interval([-np.inf])
    assert (p0[0], p1[0]) == (0.0, pytest.approx(1 / 3))


def test_the_probability_of_the_true_label_is_calibrated() -> None:
    # E[y - p_y] = 0 in any sample size: here 12 observations and a useless, tied score.
    rng = np.random.default_rng(2)
    gaps = []
    for _ in range(4000):
        score = rng.integers(0, 5, size=13) / 5
        y = rng.uniform(size=13) < 0.2 + 0.6 * (score - 0.5) ** 2
        p0, p1 = VennAbers().fit(score[:12], y[:12]).interval(score[12:])
        gaps.append(y[12] - (p1 if y[12] else p0)[0])
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(4000)


def test_narrow_with_much_data() -> None:
    rng = np.random.default_rng(3)
    score = rng.uniform(size=100_000)
    model = VennAbers().fit(score, rng.uniform(size=100_000) < score)
    grid = np.linspace(0.05, 0.95, 50)
    p0, p1 = model.interval(grid)
    assert (p1 - p0).max() < 0.02
    assert np.abs(model.predict_proba(grid)[:, 1] - grid).max() < 0.06
