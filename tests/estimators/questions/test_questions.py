"""Statistics of questions: published shares, brute force, scipy, and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.questions import (
    cluster_diversity,
    compare_questions,
    homogeneity_test,
    question_difficulty,
    reference_buckets,
    spherical_kmeans,
)


def test_the_released_set_s_shares() -> None:
    """Shares of the 1.1M release's card: none 18.29, single 9.71, short 21.58, long 50.42 %."""
    counts = {0: 1829, 1: 971, 2: 1000, 9: 1158, 10: 3000, 434: 2042}
    words = np.repeat(list(counts), list(counts.values()))
    found = reference_buckets(np.random.default_rng(0).permutation(words))
    assert found.counts.tolist() == [1829, 971, 2158, 5042]
    assert [round(f.value, 4) for f in found.figures()] == [0.1829, 0.0971, 0.2158, 0.5042]
    for figure in found.figures():
        assert figure.value in figure.interval()


@pytest.mark.parametrize("words", [[-1], [1.5], [np.nan]])
def test_wrong_lengths_are_named(words: list[float]) -> None:
    with pytest.raises(ValueError, match="at place 1"):
        reference_buckets([3, *words])


def test_medians_and_rates_are_numpy_s() -> None:
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 50, rng.integers(1, 7)).tolist() for _ in range(40)]
    right = [[int(x) for x in rng.integers(0, 2, len(row))] for row in rows]
    found = question_difficulty(rows, right)
    np.testing.assert_allclose(found.length, [np.median(row) for row in rows])
    np.testing.assert_allclose(found.pass_rate, [np.mean(row) for row in right])
    turned = question_difficulty([row[::-1] for row in rows], [row[::-1] for row in right])
    np.testing.assert_allclose(found.length, turned.length)


def test_what_is_missing_stays_missing() -> None:
    found = question_difficulty([[None, 4], [], [3]], [[None, 1], [], [0]], [["a"], [], ["b"]])
    np.testing.assert_array_equal(found.length, [4, np.nan, 3])
    np.testing.assert_array_equal(found.pass_rate, [1, np.nan, 0])
    with pytest.raises(ValueError, match="of \\[2, 3\\] questions"):
        question_difficulty([[1], [2]], [[1], [1], [0]])
    with pytest.raises(ValueError, match="a verdict is 2, not 0 or 1"):
        question_difficulty(None, [[2]])


def test_clusters_widen_the_error() -> None:
    rng = np.random.default_rng(2)
    documents = np.repeat(np.arange(30), 5)
    lengths = [[x] for x in rng.normal(50, 10, 30)[documents]]
    alone = {f.name: f for f in question_difficulty(lengths).figures()}
    grouped = {f.name: f for f in question_difficulty(lengths, clusters=documents).figures()}
    assert grouped["mean response length"].se > 2 * alone["mean response length"].se
    assert "median response length" not in grouped


def test_length_against_failure_is_kendall_s_tau() -> None:
    rng = np.random.default_rng(3)
    lengths, right = rng.integers(1, 20, 60), rng.integers(0, 2, 60)
    found = question_difficulty([[n] for n in lengths], [[r] for r in right]).figures()[-1]
    assert found.value == pytest.approx(stats.kendalltau(lengths, -right).statistic)


def test_dominance_is_the_share_of_pairs_and_its_error_the_jackknife_s() -> None:
    labels = np.repeat(np.arange(4), [5, 3, 2, 1])
    same = np.mean([a == b for a, b in itertools.combinations(labels, 2)])
    found = cluster_diversity(np.bincount(labels)).dominance
    assert found.value == pytest.approx(same)
    left = [
        np.mean([a == b for a, b in itertools.combinations(np.delete(labels, i), 2)])
        for i in range(len(labels))
    ]
    n = len(labels)
    se = np.sqrt((n - 1) / n * np.sum((left - np.mean(left)) ** 2))
    assert found.se == pytest.approx(se)


def test_the_effective_number_covers_the_truth() -> None:
    rng = np.random.default_rng(4)
    shares = rng.dirichlet(np.ones(20))
    truth = np.exp(-np.sum(shares * np.log(shares)))
    covered = np.mean(
        [
            truth in cluster_diversity(rng.multinomial(400, shares)).effective.interval()
            for _ in range(300)
        ]
    )
    assert 0.91 <= covered <= 0.985


def test_kmeans_finds_planted_directions_whatever_the_lengths() -> None:
    rng = np.random.default_rng(5)
    truth = np.repeat(np.arange(3), [40, 30, 20])
    x = np.eye(3)[truth] + rng.normal(0, 0.05, (90, 3))
    found = spherical_kmeans(x * rng.uniform(0.1, 10, (90, 1)), 3, rng=1)
    assert found.tolist() == truth.tolist()  # 0 is the largest
    assert spherical_kmeans([[1, 0]] * 4, 2).shape == (4,)
    with pytest.raises(ValueError, match="vector 1 is 0"):
        spherical_kmeans([[1, 0], [0, 0]], 1)


def test_homogeneity_of_two_shares_is_fisher_s_test() -> None:
    a, b = [9, 3], [4, 11]
    exact = stats.fisher_exact([a, b]).pvalue
    assert homogeneity_test(a, b, resamples=200_000).p_value == pytest.approx(exact, abs=0.004)


def test_homogeneity_has_its_size() -> None:
    rng = np.random.default_rng(6)
    shares = [0.5, 0.3, 0.15, 0.05]
    p = [
        homogeneity_test(
            rng.multinomial(60, shares), rng.multinomial(40, shares), resamples=199, rng=rng
        ).p_value
        for _ in range(400)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.08


def test_two_sets_are_compared_as_scipy_does() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.integers(5, 60, 50), rng.integers(5, 90, 70)
    found = compare_questions(
        question_difficulty([[n] for n in a]),
        question_difficulty([[n] for n in b]),
        references=(reference_buckets(a % 3), reference_buckets(b % 12)),
        diversity=(cluster_diversity([25, 25]), cluster_diversity([60, 10])),
    )
    by_name = {each.estimate.name: each for each in found}
    welch = stats.ttest_ind(b, a, equal_var=False)
    length = by_name["mean response length"]
    assert length.estimate.value == pytest.approx(b.mean() - a.mean())
    assert length.test.p_value == pytest.approx(welch.pvalue)
    u = stats.mannwhitneyu(b, a).statistic
    assert by_name["longer response in B"].estimate.value == pytest.approx(u / (50 * 70))
    assert by_name["log ratio of effective clusters"].estimate.value < 0
    assert by_name["effective clusters"].test.p_value < 0.01
    for each in found:
        assert each.log_p_holm >= each.test.log_p_value


def test_longer_responses_are_brunner_and_munzel_s_test() -> None:
    rng = np.random.default_rng(8)
    for n, m in ((5, 7), (40, 25)):
        a, b = rng.integers(5, 60, n), rng.integers(15, 90, m)
        found = compare_questions(
            question_difficulty([[x] for x in a]), question_difficulty([[x] for x in b])
        )[1]
        assert found.estimate.name == "longer response in B"
        assert found.test.p_value == pytest.approx(stats.brunnermunzel(a, b).pvalue)


def test_sets_without_overlap_are_no_certainty() -> None:
    """3 against 4 questions: 35 arrangements, of which 2 separate the sets."""
    sizes = ([[1], [2], [3]], [[7], [8], [9], [10]])
    apart = compare_questions(*(question_difficulty(one) for one in sizes))[1]
    assert apart.estimate.value == 1
    assert apart.test.p_value == pytest.approx(2 * 0.5**3)  # as the interval says
    assert apart.test.p_value >= 2 / 35
    assert 0.5 in apart.estimate.interval()
    # Neither are means without spread: all right, and all wrong.
    never, always = (question_difficulty(None, [[x]] * 3) for x in (0, 1))
    (rate,) = compare_questions(never, always)
    assert (rate.estimate.value, rate.test.p_value) == (1, pytest.approx(2 * 0.5**3))
    assert compare_questions(always, always)[0].test.p_value == 1
    # All of a document are one unit.
    documents = (["d", "d", "e"], ["f", "g", "h", "h"])
    grouped = compare_questions(
        *(question_difficulty(x, clusters=y) for x, y in zip(sizes, documents, strict=True))
    )[1]
    assert grouped.test.p_value == pytest.approx(2 * 0.5**2)


def test_shares_have_intervals_of_shares() -> None:
    never = question_difficulty(None, [[0, 0], [0], [0, 0]]).figures()[0]
    exact = stats.binomtest(0, 3).proportion_ci()
    assert (never.value, never.interval().low) == (0, 0)
    assert never.interval().high == pytest.approx(exact.high)
    few = cluster_diversity([3, 1]).dominance.interval()
    assert few.low == 0
    assert few.high == 1
    assert 0.3 < cluster_diversity([50, 50]).dominance.interval().low < 0.5
