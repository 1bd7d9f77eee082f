"""Reward summaries against loops and enumeration, and the rater-noise split."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.errors import InputError
from statllm.estimators.raters import rater_noise
from statllm.estimators.rewards import _variance_of_variance, reward_summary
from statllm.ragged import Ragged

# Few different values, so that ties are common.
ROWS = st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, 1e3]), max_size=7), max_size=8)


# ---- per prompt -------------------------------------------------------------------------------


@settings(deadline=None)  # other work may share the machine
@given(ROWS)
def test_summary_equals_a_loop(rows: list[list[float]]) -> None:
    lengths = [[10 * j + 1 for j in range(len(row))] for row in rows]
    summary = reward_summary(rows, lengths)
    for i, row in enumerate(rows):
        assert (summary.n[i], summary.n_missing[i]) == (len(row), 0)
        if not row:
            assert np.isnan([summary.mean[i], summary.gap[i], summary.worst_length[i]]).all()
            assert (summary.best_index[i], summary.n_best[i]) == (-1, 0)
            continue
        assert summary.mean[i] == pytest.approx(np.mean(row))
        assert (summary.best[i], summary.worst[i]) == (max(row), min(row))
        assert summary.gap[i] == max(row) - min(row)
        assert row[summary.best_index[i]] == max(row)
        assert row[summary.worst_index[i]] == min(row)
        assert (summary.n_best[i], summary.n_worst[i]) == (
            row.count(max(row)),
            row.count(min(row)),
        )
        worst = [
            length for reward, length in zip(row, lengths[i], strict=True) if reward == min(row)
        ]
        assert summary.worst_length[i] == pytest.approx(np.mean(worst))
        if len(row) == 1:
            assert np.isnan([summary.var[i], summary.pair_gap_var[i]]).all()
            continue
        assert summary.var[i] == pytest.approx(np.var(row, ddof=1))
        gaps = [abs(a - b) for a, b in combinations(row, 2)]
        assert summary.pair_gap_mean[i] == pytest.approx(np.mean(gaps))
        assert summary.pair_gap_var[i] == pytest.approx(np.var(gaps), abs=1e-6)


def test_signed_pair_differences_have_twice_the_variance() -> None:
    row = [0.3, 1.9, -4.0, 2.2, 0.1]
    ordered = [a - b for i, a in enumerate(row) for j, b in enumerate(row) if i != j]
    assert 2 * reward_summary([row]).var[0] == pytest.approx(np.var(ordered))


@settings(deadline=None)
@given(ROWS, st.randoms())
def test_order_of_prompts_and_samples_changes_no_statistic(rows, random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = [random.sample(rows[i], len(rows[i])) for i in order]
    left, right = reward_summary(rows), reward_summary(shuffled)
    for name in ("n", "mean", "var", "var_se", "best", "worst", "gap", "n_best", "n_worst"):
        expected = getattr(left, name)[order]
        np.testing.assert_allclose(getattr(right, name), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(right.pair_gap_mean, left.pair_gap_mean[order], rtol=1e-9)


@pytest.mark.parametrize("n", [4, 6])
def test_variance_error_is_unbiased_by_enumeration(n: int) -> None:
    # All 3^n samples of a skewed population: the estimates must average to the variance of s^2.
    population, chances = np.array([0.0, 1.0, 5.0]), np.array([0.5, 0.3, 0.2])
    which = np.array(list(product(range(3), repeat=n)))
    weight = chances[which].prod(1)
    rows = Ragged.from_lengths(population[which].ravel(), np.full(len(which), n))
    summary = reward_summary(rows)
    mean = weight @ summary.var
    assert mean == pytest.approx(chances @ population**2 - (chances @ population) ** 2)
    estimates = _variance_of_variance(rows)
    assert weight @ estimates == pytest.approx(weight @ (summary.var - mean) ** 2)
    np.testing.assert_allclose(summary.var_se**2, np.maximum(estimates, 0))


def test_variance_error_needs_four_and_vanishes_for_constants() -> None:
    summary = reward_summary([[1.0, 2.0, 4.0], [3.0] * 5])
    assert np.isnan(summary.var_se[0])
    assert (summary.var[1], summary.var_se[1], summary.pair_gap_var[1]) == (0, 0, 0)


def test_large_level_costs_no_digits() -> None:
    row = np.array([1.0, 2.0, 4.0, 8.0, 9.5])
    small, large = reward_summary([row]), reward_summary([row + 1e8])
    assert large.var[0] == pytest.approx(small.var[0], rel=1e-7)
    assert large.var_se[0] == pytest.approx(small.var_se[0], rel=1e-6)


def test_missing_rewards_propagate_or_are_dropped() -> None:
    rows = [[1.0, None, 3.0], [2.0, 4.0], [None]]
    kept = reward_summary(rows)
    assert kept.n.tolist() == [2, 2, 0]
    assert kept.n_missing.tolist() == [1, 0, 1]
    for name in ("mean", "var", "best", "worst", "gap", "pair_gap_var", "worst_length"):
        assert np.isnan(getattr(kept, name)[[0, 2]]).all(), name
    assert kept.best_index.tolist() == [-1, 1, -1]
    assert np.isnan(kept.within_variance().value)
    dropped = reward_summary(rows, [[5, 6, 7], [8, 9], [1]], missing="drop")
    assert dropped.mean.tolist()[:2] == [2.0, 3.0]
    assert dropped.best_index.tolist() == [2, 1, -1]  # places in the row as given
    assert dropped.worst_length.tolist()[:2] == [5, 8]
    assert np.isnan(dropped.mean[2])
    assert dropped.within_variance().value == 2.0
    assert dropped.within_variance().n == 2


def test_ties_are_drawn_by_seed_or_first() -> None:
    rows = [[1.0, 1.0, 0.0, 0.0]] * 4000
    first = reward_summary(rows, ties="first")
    assert (first.best_index == 0).all()
    assert (first.worst_index == 2).all()
    drawn = reward_summary(rows, seed=1)
    assert abs(np.mean(drawn.best_index == 0) - 0.5) < 0.04  # 5 standard deviations
    assert abs(np.mean(drawn.worst_index == 2) - 0.5) < 0.04
    np.testing.assert_array_equal(drawn.best_index, reward_summary(rows, seed=1).best_index)
    assert (drawn.best_index != reward_summary(rows, seed=2).best_index).any()
    both = reward_summary([[1.0, 0.0, 0.0]], lengths=[[10, 20, 40]])
    assert (both.worst_length[0], both.n_worst[0]) == (30, 2)


@pytest.mark.parametrize(
    "rewards",
    [
        [[1, 2], []],
        pa.array([[1, 2], []], pa.list_(pa.int32())),
        pa.chunked_array([pa.array([[1.0, 2.0]]), pa.array([None], pa.list_(pa.float64()))]),
        pa.array([[1.0, 2.0], []], pa.large_list(pa.float32())),
        Ragged.from_lists([[1, 2], []]),
    ],
)
def test_every_form_of_input(rewards: object) -> None:
    summary = reward_summary(rewards)
    assert summary.n.tolist() == [2, 0]
    assert summary.gap[0] == 1
    assert len(summary.to_frame()) == 2


def test_interval_of_the_gap_variance_is_the_jackknife_of_its_logarithm() -> None:
    rng = np.random.default_rng(4)
    rewards = rng.standard_normal((12, 5)) * rng.gamma(2, 1, (12, 1))
    gaps = np.ptp(rewards, axis=1)
    logs = np.log([np.delete(gaps, i).var(ddof=1) for i in range(12)])
    pseudo = 12 * np.log(gaps.var(ddof=1)) - 11 * logs
    half = stats.t.ppf(0.95, 11) * pseudo.std(ddof=1) / 12**0.5
    interval = reward_summary(rewards).gap_variance().interval(0.9)
    expected = np.exp([pseudo.mean() - half, pseudo.mean() + half])
    assert [interval.low, interval.high] == pytest.approx(expected)
    for equal in ([[0.0, 1.0]] * 5, [[0.0, 1.0], [0.0, 3.0]]):  # nothing to go by
        interval = reward_summary(equal).gap_variance().interval()
        assert np.isnan([interval.low, interval.high]).all()


def test_no_prompts() -> None:
    assert len(reward_summary([]).to_frame()) == 0
    assert np.isnan(reward_summary([]).gap_variance().value)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="row 1 has 1 lengths and 2 rewards"):
        reward_summary([[1.0], [1.0, 2.0]], [[1], [2]])
    with pytest.raises(InputError, match="2 rows of lengths for 1 rows"):
        reward_summary([[1.0]], [[1], [2]])
    with pytest.raises(InputError, match="rewards must be one list of numbers"):
        reward_summary([["good"]])
    with pytest.raises(InputError, match="rewards must be one list of numbers"):
        reward_summary(pa.array(["good"]))
    with pytest.raises(ValueError, match="missing must be"):
        reward_summary([[1.0]], missing="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ties must be"):
        reward_summary([[1.0]], ties="last")  # type: ignore[arg-type]


# ---- rater noise ------------------------------------------------------------------------------


def plain_split(prompt: list[list[float]]) -> tuple[float, float, float]:
    """Rater variance, noise in the rewards, variance of the rewards: written out."""
    rated = [response for response in prompt if response]
    squares = sum(sum((x - np.mean(r)) ** 2 for x in r) for r in rated)
    rater = squares / sum(len(r) - 1 for r in rated)
    noise = rater * np.mean([1 / len(r) for r in rated])
    return rater, noise, float(np.var([np.mean(r) for r in rated], ddof=1))


def test_split_equals_a_loop() -> None:
    rng = np.random.default_rng(3)
    data = [
        [rng.normal(size=rng.integers(0, 5)).tolist() for _ in range(rng.integers(3, 7))]
        for _ in range(50)
    ]
    data = [prompt for prompt in data if any(len(r) > 1 for r in prompt)]
    split = rater_noise(data)
    for i, prompt in enumerate(data):
        if sum(map(bool, prompt)) < 2:
            assert np.isnan(split.between_variance[i])
            continue
        rater, noise, total = plain_split(prompt)
        assert split.rater_variance[i] == pytest.approx(rater)
        assert split.noise_variance[i] == pytest.approx(noise)
        assert split.reward_variance[i] == pytest.approx(total)
        assert split.between_variance[i] == pytest.approx(total - noise)


def test_unrated_and_single_ratings() -> None:
    nan = float("nan")
    split = rater_noise([[[1.0], [2.0]], [], [[1.0, 3.0]], [[1.0, nan, 3.0], [4.0, None], []]])
    assert split.n_responses.tolist() == [2, 0, 1, 2]
    assert split.n_missing.tolist() == [0, 0, 0, 2]
    assert split.degrees.tolist() == [0, 0, 1, 1]
    assert np.isnan(split.between_variance[:3]).all()
    assert split.noise_variance[3] == pytest.approx(2.0 * (1 / 2 + 1) / 2)
    assert split.mean_between_variance().n == 1
    assert len(split.to_frame()) == 4
    with pytest.raises(InputError, match="prompt > response > rating"):
        rater_noise([[1.0, 2.0]])


def test_split_is_unbiased_with_unequal_numbers_of_ratings() -> None:
    rng = np.random.default_rng(5)
    between, within, prompts, responses = 1.3, 0.8, 20_000, 5
    m = rng.integers(1, 7, size=(prompts, responses))
    quality = rng.normal(0, np.sqrt(between), size=(prompts, responses))
    ratings = np.repeat(quality.ravel(), m.ravel())
    ratings += rng.normal(0, np.sqrt(within), size=len(ratings))
    inner = pa.ListArray.from_arrays(np.append(0, np.cumsum(m.ravel())), pa.array(ratings))
    column = pa.ListArray.from_arrays(np.arange(prompts + 1) * responses, inner)
    split = rater_noise(column)
    for estimate, truth in [
        (split.mean_between_variance(), between),
        (split.pooled_rater_variance(), within),
        (split.mean_noise_variance(), within * np.mean(1 / m)),
        (split.reliability(), between / (between + within * np.mean(1 / m))),
    ]:
        assert abs(estimate.value - truth) < 4 * estimate.se, estimate.name
        assert estimate.se < 0.03 * truth


# ---- real data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "variance", "gap_variance", "gap_mean", "rater"),
    [
        ("io", 2.062965, 2.2467232323232316, 3.888, 0.571943887775551),
        ("cot", 1.2842177777777775, 1.9975919191919191, 3.172, 0.48988988988988985),
    ],
)
def test_writing_rewards(
    shared_data: Path,
    prompt: str,
    variance: float,
    gap_variance: float,
    gap_mean: float,
    rater: float,
) -> None:
    # princeton-nlp/tree-of-thought-llm: 100 tasks x 10 texts x 5 ratings by GPT-4.
    long = pd.read_parquet(shared_data / "sc_tot" / "text_rewards.parquet")
    long = long[long["prompt"] == prompt].sort_values(["qid", "sample"])
    nested = long.groupby("qid")[["reward", "ratings"]].agg(list)
    summary = reward_summary(nested["reward"].tolist())
    assert summary.within_variance().value == pytest.approx(variance, abs=1e-9)
    assert summary.gap_variance().value == pytest.approx(gap_variance, abs=1e-9)
    assert summary.gap_mean().value == pytest.approx(gap_mean, abs=1e-9)
    ratings = [[list(map(float, r)) for r in row] for row in nested["ratings"]]
    # The reference averages the ddof=1 variance over responses with all five ratings.
    complete = [[r for r in row if len(r) == 5] for row in ratings]
    assert rater_noise(complete).pooled_rater_variance().value == pytest.approx(rater, abs=1e-12)
    split = rater_noise(ratings)
    assert split.pooled_rater_variance().value == pytest.approx(rater, abs=1e-3)
    assert split.mean_reward_variance().value == pytest.approx(variance, abs=1e-9)
    assert split.mean_noise_variance().value == pytest.approx(rater / 5, rel=0.01)
    share = (variance - rater / 5) / variance
    assert split.reliability().value == pytest.approx(share, abs=1e-3)


def test_an_infinite_reward_is_refused_with_its_place() -> None:
    with pytest.raises(InputError, match=r"rewards must be finite .* value 1 of row 1 is inf"):
        reward_summary([[1.0], [2.0, np.inf]])
