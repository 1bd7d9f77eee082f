"""Rank intervals, best models, differences and the bootstrap: by brute force and simulation."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from statllm.estimators.ranking import (
    Battles,
    battles,
    bootstrap_ratings,
    bradley_terry,
    rank_intervals,
)
from statllm.estimators.ranking.bradley_terry import fit


def cluster_battles(
    rng: np.random.Generator,
    prompts: int,
    per_prompt: int,
    strength: NDArray[np.float64],
    tie: float = 0.0,
    spread: float = 0.0,
) -> Battles:
    """Battles whose prompts shift each model's strength by a normal amount of sd `spread`."""
    k, n = len(strength), prompts * per_prompt
    prompt = np.repeat(np.arange(prompts), per_prompt)
    shifted = strength + spread * rng.normal(size=(prompts, k))
    i = rng.integers(0, k, n)
    j = (i + rng.integers(1, k, n)) % k
    win = rng.random(n) < special.expit(shifted[prompt, i] - shifted[prompt, j])
    outcome = np.where(rng.random(n) < tie, 0.5, win.astype(float))
    return battles(i, j, outcome, clusters=prompt)


def brute_ranks(rating: list[float], se: float, critical: float) -> list[tuple[int, int]]:
    k = len(rating)
    out = []
    for mine in rating:
        better = sum(other - mine > critical * se for other in rating)
        worse = sum(mine - other > critical * se for other in rating)
        out.append((1 + better, k - worse))
    return out


def test_rank_intervals_by_brute_force() -> None:
    """Independent unit errors: c is the studentised range's quantile over sqrt 2."""
    errors = np.random.default_rng(0).normal(size=(100_000, 4))
    rating, se = [5.0, 3.0, 1.5, -6.0], math.sqrt(2)
    critical = float(stats.studentized_range.ppf(0.95, 4, np.inf)) / math.sqrt(2)
    found = rank_intervals(("a", "b", "c", "d"), rating, errors, np.full((4, 4), se))
    assert list(zip(found.low, found.high, strict=True)) == brute_ranks(rating, se, critical)
    # gaps just inside and outside of the critical value
    for gap, low in ((critical * se * 1.01, 2), (critical * se * 0.99, 1)):
        pair = rank_intervals(tuple("abcd"), [gap, 0, 0, 0], errors, np.full((4, 4), se))
        assert pair.low.tolist() == [1, low, low, low]
    single = rank_intervals(tuple("abcd"), rating, errors, np.full((4, 4), se), simultaneous=False)
    assert (single.low >= found.low).all()
    assert (single.high <= found.high).all()


def test_equal_models_can_have_any_rank() -> None:
    i, j = np.triu_indices(4, 1)
    table = battles(np.tile(i, 10), np.tile(j, 10), np.repeat([1, 0], 30))
    ranks = bradley_terry(table).ranks()
    assert ranks.rank.tolist() == [1, 1, 1, 1]
    assert ranks.low.tolist() == [1, 1, 1, 1]
    assert ranks.high.tolist() == [4, 4, 4, 4]


def test_differences_and_holm() -> None:
    rng = np.random.default_rng(1)
    table = cluster_battles(rng, 40, 20, np.array([1.0, 0.0, -0.2]))
    found = bradley_terry(table)
    pairs = found.differences().to_frame()
    assert list(pairs["model_a"]) == [0, 0, 1]
    t = (pairs["difference"] / pairs["se"]).abs()
    wanted = 2 * stats.t.sf(t, 39)
    np.testing.assert_allclose(pairs["p"], wanted, rtol=1e-9)
    ordered = np.sort(wanted)
    holm = np.maximum.accumulate(ordered * [3, 2, 1])
    np.testing.assert_allclose(np.sort(pairs["p_holm"]), np.minimum(holm, 1), rtol=1e-9)
    half = stats.t.ppf(0.975, 39) * pairs["se"]
    np.testing.assert_allclose(pairs["high"], pairs["difference"] + half)


def test_best_of_two_is_the_one_sided_normal_probability() -> None:
    table = battles(["x"] * 40, ["y"] * 40, [1] * 24 + [0] * 16)
    found = bradley_terry(table)
    gap = (found.rating[0] - found.rating[1]) / found.difference_se[0, 1]
    wanted = special.ndtr(gap)
    share = found.best(n_draws=40_000)[0]
    assert abs(share - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / 40_000)


class TestBootstrap:
    def test_battles_are_drawn_as_rows_are(self) -> None:
        """The law of counts drawn at once is that of rows drawn with replacement."""
        rng = np.random.default_rng(2)
        table = cluster_battles(rng, 300, 1, np.array([0.6, 0.0, -0.6]), tie=0.3)
        plain = battles(table.first, table.second, 1 - table.result / 2)
        found = bootstrap_ratings(plain, 2000, rng=3)
        naive = []
        for _ in range(2000):
            rows = rng.integers(0, len(plain), len(plain))
            sample = battles(plain.first[rows], plain.second[rows], 1 - plain.result[rows] / 2)
            naive.append(bradley_terry(sample, covariance="model").rating)
        other = np.array(naive)
        for k in range(3):
            assert stats.ks_2samp(found.resampled[:, k], other[:, k]).pvalue > 1e-3

    @pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])
    def test_clusters_agree_with_the_sandwich(self, ties: str) -> None:
        rng = np.random.default_rng(4)
        table = cluster_battles(rng, 400, 10, np.array([0.6, 0.0, -0.6]), tie=0.2, spread=1.0)
        point = bradley_terry(table, ties=ties)  # type: ignore[arg-type]
        found = bootstrap_ratings(table, 1500, ties=ties, rng=5)  # type: ignore[arg-type]
        # the standard error of a standard deviation of 1500 draws is 1.8 %
        np.testing.assert_allclose(found.se, point.se, rtol=0.09)
        np.testing.assert_allclose(found.difference_se, point.difference_se, rtol=0.09)
        plain = battles(table.first, table.second, 1 - table.result / 2)
        assert (bradley_terry(plain).se < 0.8 * point.se).all()
        assert found.ranks().rank.tolist() == [1, 2, 3]
        assert found.best().sum() == pytest.approx(1)

    def test_separated_resamples_are_counted(self) -> None:
        table = battles(["x"] * 6, ["y"] * 6, [1] * 5 + [0])
        found = bootstrap_ratings(table, 2000, rng=6)
        # all wins or all losses
        p = (5 / 6) ** 6 + (1 / 6) ** 6
        assert abs(found.n_separated / 2000 - p) < 4 * math.sqrt(p * (1 - p) / 2000)
        assert len(found.resampled) == 2000 - found.n_separated
        assert bootstrap_ratings(table, 200, prior="jeffreys", rng=6).n_separated == 0

    @pytest.mark.parametrize("ties", ["davidson", "rao-kupper"])
    def test_resamples_without_a_tie(self, ties: Literal["davidson", "rao-kupper"]) -> None:
        # two ties of 60: e^-2 of the resamples have none, and Newton's method ran off before
        a, b = np.tile([0, 1, 2], 20), np.tile([1, 2, 0], 20)
        outcome = np.tile([1.0, 0.0, 1.0, 0.0, 1.0], 12)
        outcome[[4, 31]] = 0.5
        found = bootstrap_ratings(battles(a, b, outcome), 400, ties=ties, rng=7)
        assert found.n_separated == 0
        assert len(np.unique(found.resampled, axis=0)) > 300
        np.testing.assert_allclose(
            found.se, bradley_terry(battles(a, b, outcome), ties=ties).se, rtol=0.2
        )

    @pytest.mark.parametrize("ties", ["davidson", "rao-kupper"])
    def test_no_tie_is_the_model_without_ties(
        self, ties: Literal["davidson", "rao-kupper"]
    ) -> None:
        a, b = np.tile([0, 1, 2], 12), np.tile([1, 2, 0], 12)
        outcome = np.tile([1.0, 0.0, 1.0, 0.0], 9)
        outcome[0] = 0.5
        fitted = fit(battles(a, b, outcome), ties=ties, prior="none", prior_ties=1.0, ridge=0.0)
        counts = fitted.counts.copy()
        counts[:, 1] = 0.0
        without = battles(a[1:], b[1:], outcome[1:])
        found = fitted.maximise(counts, fitted.x)[:3]
        np.testing.assert_allclose(found, bradley_terry(without, scale=1.0).rating, atol=1e-9)

    def test_jackknife_where_one_cluster_has_all_ties(self) -> None:
        a, b, outcome = np.tile([0, 1, 2], 12), np.tile([1, 2, 0], 12), np.tile([1.0, 0.0], 18)
        outcome[:2] = 0.5
        table = battles(a, b, outcome, clusters=np.arange(36) // 3)
        found = bradley_terry(table, ties="davidson", covariance="jackknife")
        assert np.isfinite(found.se).all()
        assert np.isnan(found.coefficient_covariance).all()  # of log nu, which reaches its limit

    def test_refusals(self) -> None:
        table = battles(["x"] * 3, ["y"] * 3, [1, 0, 1])
        with pytest.raises(ValueError, match="n_resamples"):
            bootstrap_ratings(table, 1)
        both = battles(["x"] * 3, ["y"] * 3, [1, 0, 1], clusters=([1, 2, 3], [1, 1, 2]))
        with pytest.raises(ValueError, match="one way"):
            bootstrap_ratings(both, 10)
        half = battles(["x"] * 3, ["y"] * 3, [1, 0, 1], weight=[0.5, 1, 1.5])
        with pytest.raises(ValueError, match="whole numbers"):
            bootstrap_ratings(half, 10)
        with pytest.raises(ValueError, match="never lost"):
            bootstrap_ratings(battles(["x"], ["y"], [1]), 10)


@pytest.mark.slow
def test_coverage_where_prompts_share_a_bias() -> None:
    """Intervals of ratings and ranks hold with 40 prompts; those that take battles for
    independent don't."""
    strength = np.array([0.6, 0.3, 0.0, -0.3, -0.6])
    rng = np.random.default_rng(7)
    n = 600
    # the strengths that battles have on average over prompts, from a large sample
    marginal = bradley_terry(cluster_battles(rng, 40_000, 25, strength, spread=1.0), scale=1).rating
    inside, iid, ranks = [], [], []
    for _ in range(n):
        table = cluster_battles(rng, 40, 25, strength, spread=1.0)
        found = bradley_terry(table, scale=1)
        inside.append(np.abs(found.rating - marginal) <= found.quantile(0.95) * found.se)
        plain = bradley_terry(table, scale=1, covariance="model")
        iid.append(np.abs(plain.rating - marginal) <= 1.96 * plain.se)
        interval = found.ranks(n_draws=1000)
        true = np.arange(1, 6)
        ranks.append(((interval.low <= true) & (true <= interval.high)).all())
    error = math.sqrt(0.05 * 0.95 / n)
    assert 0.95 - 4 * error < np.mean(inside) < 0.95 + 4 * error
    assert np.mean(iid) < 0.85
    assert np.mean(ranks) > 0.95 - 3 * error
