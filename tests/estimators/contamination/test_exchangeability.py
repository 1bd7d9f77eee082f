"""The exact laws of ranks against enumeration; sizes of the t tests in closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.contamination import exchangeability_test, shard_e_process, shard_ranks

B = 4
ALL_RANKS = list(itertools.product(range(1, B + 2), repeat=3))


def orders_of(ranks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities without ties in which the canonical order has the given ranks."""
    permuted = np.array([[0.0 if k >= rank - 1 else 2.0 for k in range(B)] for rank in ranks])
    return np.ones(len(ranks)), permuted + 0.1 * np.arange(B)


@pytest.mark.parametrize("ranks", [(1, 1, 1), (1, 2, 1), (3, 1, 2), (5, 5, 4), (5, 5, 5)])
def test_sum_and_fisher_are_exact(ranks: tuple[int, ...]) -> None:
    own, permuted = orders_of(ranks)
    assert shard_ranks(own, permuted).tolist() == list(ranks)
    by_sum = np.mean([sum(other) <= sum(ranks) for other in ALL_RANKS])
    by_product = np.mean([math.prod(other) <= math.prod(ranks) for other in ALL_RANKS])
    assert exchangeability_test(own, permuted).p_value == pytest.approx(by_sum, rel=1e-10)
    fisher = exchangeability_test(own, permuted, "fisher")
    assert fisher.p_value == pytest.approx(by_product, rel=1e-10)
    p = np.array(ranks) / (B + 1)
    assert fisher.statistic == pytest.approx(-np.log(p).sum(), abs=0.0005 * 3)
    chi_square = stats.combine_pvalues(p, "fisher").pvalue
    assert by_product <= chi_square + 1e-12  # what the rounding of ranks costs


def test_log_p_to_any_depth() -> None:
    own, permuted = np.ones(200), np.zeros((200, 250))
    for method in ("sum", "fisher"):
        test = exchangeability_test(own, permuted, method)
        assert test.log_p_value == pytest.approx(-200 * math.log(251), rel=1e-10)
    assert test.p_value == 0.0
    assert "canonical order carries no information" in test.assumptions
    assert test.alternative == "greater"
    assert test.n_effective == 200


def test_e_process_is_a_martingale_and_obeys_ville() -> None:
    paths = np.array([shard_e_process(ranks, B) for ranks in ALL_RANKS])
    assert np.exp(paths).mean(axis=0) == pytest.approx(np.ones(3), rel=1e-12)
    for first in range(1, B + 2):  # the mean of what may follow is what there is
        of = [path for ranks, path in zip(ALL_RANKS, paths, strict=True) if ranks[0] == first]
        assert np.mean(np.exp(of), axis=0)[2] == pytest.approx(np.exp(of[0][0]), rel=1e-12)
    for alpha in (0.5, 0.2, 0.1):
        assert np.mean(paths.max(axis=1) >= -math.log(alpha)) <= alpha
    own, permuted = orders_of((1, 1, 4))
    test = exchangeability_test(own, permuted, "e-value")
    path = shard_e_process([1, 1, 4], B)
    assert test.log_p_value == pytest.approx(-path[1])  # not what the last shard takes back
    assert shard_e_process([1, 1], B) == pytest.approx(path[:2])


def test_ties() -> None:
    own, permuted = np.array([1.0, 1.0]), np.array([[1.0, 1.0, 2.0, 0.0], [1 + 1e-9, 0, 0, 0]])
    assert shard_ranks(own, permuted).tolist() == [4, 2]
    assert shard_ranks(own, permuted - 1e-9).tolist() == [2, 2]
    assert shard_ranks(own, permuted, tolerance=1e-6).tolist() == [4, 2]
    assert shard_ranks(own[1:], permuted[1:] - 2e-9, tolerance=1e-6).tolist() == [2]
    many = shard_ranks(np.zeros(20_000), np.tile([0.0, 0.0, 1.0], (20_000, 1)), "randomised", rng=0)
    assert np.bincount(many).tolist()[:2] == [0, 0]
    assert stats.chisquare(np.bincount(many)[2:]).pvalue > 1e-3  # ranks 2, 3, 4 alike
    # rows that are all the same say nothing, whatever the method
    assert exchangeability_test(np.zeros(5), np.zeros((5, 9))).p_value == 1.0


def test_randomised_ranks_of_coarse_scores_are_uniform() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (20_000, 5)).astype(float)
    ranks = shard_ranks(scores[:, 0], scores[:, 1:], "randomised", rng=rng)
    assert stats.chisquare(np.bincount(ranks)[1:]).pvalue > 1e-3
    worse = shard_ranks(scores[:, 0], scores[:, 1:])
    assert np.all(worse >= ranks)


def test_t_is_scipys_and_oren_is_the_published_formula() -> None:
    rng = np.random.default_rng(1)
    own, permuted = rng.normal(0.5, 1, 12), rng.normal(size=(12, 30))
    differences = own - permuted.mean(axis=1)
    expected = stats.ttest_1samp(differences, 0, alternative="greater")
    mended = exchangeability_test(own, permuted, "t")
    assert mended.statistic == pytest.approx(expected.statistic)
    assert mended.p_value == pytest.approx(expected.pvalue)
    published = exchangeability_test(own, permuted, "oren")
    t = differences.mean() / np.std(differences) * np.sqrt(12)
    assert published.statistic == pytest.approx(t)
    assert published.p_value == pytest.approx(1 - stats.t.cdf(t, df=11))
    far = exchangeability_test(own + 1e6, permuted, "oren")
    assert (far.p_value, far.log_p_value) == (0.0, -math.inf)
    assert -math.inf < exchangeability_test(own + 1e6, permuted, "t").log_p_value < -100


def test_size_of_the_published_t_test() -> None:
    """With normal shards t is larger by sqrt(r / (r - 1)): 5.8, 1.29 and .14 % at r = 10."""
    n = 10
    for alpha, stated in ((0.05, 0.058), (0.01, 0.0129), (0.001, 0.0014)):
        reached = stats.t.isf(alpha, n - 1) / math.sqrt(n / (n - 1))
        assert stats.t.sf(reached, n - 1) == pytest.approx(stated, abs=0.5e-3)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(4000):
        own, permuted = rng.normal(size=n), rng.normal(size=(n, 20))
        found.append([exchangeability_test(own, permuted, m).p_value for m in ("oren", "t")])
    size = np.mean(np.array(found) <= 0.05, axis=0)
    assert size[0] == pytest.approx(0.058, abs=3 * 0.0037)  # Monte Carlo error .0037
    assert size[1] == pytest.approx(0.050, abs=3 * 0.0035)


@pytest.mark.slow
def test_sizes_and_power_of_ranks() -> None:
    """Skewed shards of unequal scale: ranks keep their size, and find a small shift."""
    rng = np.random.default_rng(3)
    methods = ("sum", "fisher", "e-value")
    null, shifted = [], []
    for _ in range(1500):
        scores = rng.exponential(size=(20, 31)) * rng.lognormal(0, 2, (20, 1))
        own, permuted = scores[:, 0], scores[:, 1:]
        null.append([exchangeability_test(own, permuted, m).p_value for m in methods])
        own = own + 0.7 * permuted.std(axis=1)
        shifted.append([exchangeability_test(own, permuted, m).p_value for m in methods])
    size = np.mean(np.array(null) <= 0.05, axis=0)
    error = math.sqrt(0.05 * 0.95 / 1500)
    assert size[0] == pytest.approx(0.05, abs=3 * error)
    assert size[1] == pytest.approx(0.05, abs=3 * error)
    assert size[2] <= 0.05
    power = np.mean(np.array(shifted) <= 0.05, axis=0)
    assert np.all(power > [0.9, 0.7, 0.3])


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"shape \(r, B\)|permuted \(r, B\)"):
        exchangeability_test([1.0, 2.0], [[1.0]])
    with pytest.raises(ValueError, match="shard 1"):
        exchangeability_test([1.0, math.nan], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="method"):
        exchangeability_test([1.0], [[1.0]], "mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two shards"):
        exchangeability_test([1.0], [[1.0]], "t")
    with pytest.raises(ValueError, match="no spread"):
        exchangeability_test([1.0, 1.0], [[1.0], [1.0]], "t")
    with pytest.raises(ValueError, match="between 1 and 5"):
        shard_e_process([6], 4)
