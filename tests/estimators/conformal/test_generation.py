"""Conformal language modelling against the sampling loop, and its simulated guarantee."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.conformal.generation import GenerationRule, conformal_generation
from statllm.ragged import Ragged


def plain_run(
    rule: GenerationRule, quality: list[float], similarity: np.ndarray
) -> tuple[list[bool], int]:
    """Sample by sample."""
    kept: list[int] = []
    for t, q in enumerate(quality):
        near = any(similarity[t, j] > rule.max_similarity for j in kept)
        if q >= rule.min_quality and not near:
            kept.append(t)
        values = [quality[j] for j in kept]
        score = {
            "count": float(len(kept)),
            "max": max(values, default=-np.inf),
            "sum": float(sum(values)),
        }[rule.set_score]
        if score >= rule.stop_score:
            return [j in kept for j in range(len(quality))], t + 1
    return [j in kept for j in range(len(quality))], len(quality)


VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@settings(deadline=None)
@given(
    st.lists(st.lists(VALUES, max_size=6), min_size=1, max_size=5),
    st.sampled_from([0.25, 0.5, np.inf]),
    st.sampled_from([-np.inf, 0.25, 0.75]),
    st.sampled_from([0.75, 1.0, 2.0, np.inf]),
    st.sampled_from(["count", "max", "sum"]),
    st.integers(0, 1000),
)
def test_rule_equals_the_sampling_loop(
    rows: list[list[float]], near: float, low: float, stop: float, set_score: str, seed: int
) -> None:
    rule = GenerationRule(near, low, stop, set_score, True, 0.1, 0.1, 0.0, 1, 1, 1)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    pairs = [np.round(rng.random((len(row), len(row))), 1) for row in rows]
    kept, n_sampled = rule.apply(rows, pairs)
    for i, (row, similarity) in enumerate(zip(rows, pairs, strict=True)):
        expected, n = plain_run(rule, row, similarity)
        assert kept.row(i).tolist() == expected
        assert n_sampled[i] == n


def draw(rng: np.random.Generator, n: int, k: int = 8) -> tuple[Ragged, Ragged, Ragged]:
    """Prompts of differing difficulty; quality says something about acceptability."""
    lengths = rng.integers(k - 2, k + 1, n)
    ease = np.repeat(rng.beta(2, 1.5, n), lengths)
    good = rng.random(len(ease)) < ease
    quality = np.round(good + 0.8 * rng.normal(size=len(ease)), 2)
    near = rng.random((lengths**2).sum())
    return (
        Ragged.from_lengths(quality, lengths),
        Ragged.from_lengths(good, lengths),
        Ragged.from_lengths(near, lengths**2),
    )


@pytest.mark.parametrize("set_score", ["count", "max", "sum"])
def test_loss_is_below_the_limit_with_confidence(set_score: str) -> None:
    rng = np.random.default_rng(0)
    new = draw(rng, 8000)
    limit, delta, bad, certified, used = 0.2, 0.2, 0, 0, []
    for seed in range(40):
        data = draw(rng, 160)
        rule = conformal_generation(*data, limit, delta, set_score, n_grid=4, rng=seed)  # type: ignore[arg-type]
        certified += rule.certified
        bad += rule.certified and rule.loss(*new).value > limit
        used.append(rule.apply(new[0], new[2])[1].mean())
    assert certified > 25
    assert bad <= 40 * delta + 3 * np.sqrt(40 * delta * (1 - delta))
    assert np.mean(used) < 5  # of about 7


def test_configuration_is_on_the_tested_frontier() -> None:
    rng = np.random.default_rng(1)
    quality, good, near = draw(rng, 400)
    by_samples = conformal_generation(quality, good, near, 0.2, 0.1, "max", "samples", 5)
    by_size = conformal_generation(quality, good, near, 0.2, 0.1, "max", "size", 5)
    assert 1 <= by_samples.n_passed == by_size.n_passed <= by_samples.n_tested
    sizes = [rule.apply(quality, near)[0].sum().mean() for rule in (by_samples, by_size)]
    drawn = [rule.apply(quality, near)[1].mean() for rule in (by_samples, by_size)]
    assert sizes[1] <= sizes[0]
    assert drawn[0] <= drawn[1]
    last = conformal_generation(quality, good, near, 0.2, 0.1, "max", "last", 5)
    assert last.n_passed == by_samples.n_passed
    assert last.calibration_loss >= 0.05  # the riskiest that passed uses up the limit
    again = conformal_generation(quality, good, near, 0.2, 0.1, "max", "samples", 5)
    assert (again.stop_score, again.min_quality) == (by_samples.stop_score, by_samples.min_quality)


def test_nothing_is_certified_where_nothing_is_acceptable() -> None:
    rng = np.random.default_rng(2)
    quality, good, near = draw(rng, 100)
    rule = conformal_generation(quality, good.with_values(good.values & False), near, 0.2, 0.1)
    assert not rule.certified
    kept, n = rule.apply(quality, near)
    assert kept.values.all()
    np.testing.assert_array_equal(n, quality.lengths)
    assert rule.loss(quality, good, near).value < 0.2
    for few in ([], [[0.5]], [[], []]):
        assert not conformal_generation(few, [[True] * len(row) for row in few]).certified


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="quality values are NaN"):
        conformal_generation([[np.nan]], [[True]])
    with pytest.raises(ValueError, match="one value per sample"):
        conformal_generation([[0.1, 0.2]], [[True]])
    with pytest.raises(ValueError, match="true or false"):
        conformal_generation([[0.1]], [[0.5]])
    with pytest.raises(ValueError, match="k x k"):
        conformal_generation([[0.1, 0.2]], [[True, False]], [[0.1]])
    with pytest.raises(ValueError, match="set_score must be"):
        conformal_generation([[0.1]], [[True]], set_score="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="objective must be"):
        conformal_generation([[0.1]], [[True]], objective="time")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_grid must be"):
        conformal_generation([[0.1]], [[True]], n_grid=0)
