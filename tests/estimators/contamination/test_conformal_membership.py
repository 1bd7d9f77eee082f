"""Conformal p-values of membership and the data-set's test, against brute force and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.contamination import length_bins, membership, membership_test


def test_p_and_q_by_definition() -> None:
    rng = np.random.default_rng(0)
    suspects, reference = rng.integers(0, 9, 40).astype(float), rng.integers(0, 9, 60).astype(float)
    groups = rng.choice(["a", "b"], 40), rng.choice(["a", "b"], 60)
    found = membership(suspects, reference, groups)
    p = [
        (1 + np.sum(reference[groups[1] == g] >= s)) / (1 + np.sum(groups[1] == g))
        for s, g in zip(suspects, groups[0], strict=True)
    ]
    assert found.p_values == pytest.approx(p)
    assert found.q_values == pytest.approx(stats.false_discovery_control(p))
    assert found.n_reference.tolist() == [int(np.sum(groups[1] == g)) for g in groups[0]]
    whole = membership(suspects, reference)
    assert whole.p_values[0] == pytest.approx((1 + np.sum(reference >= suspects[0])) / 61)


def test_no_reference_and_no_score() -> None:
    found = membership([5.0, math.nan, 5.0], np.zeros(99), (["a", "a", "b"], ["a"] * 99))
    assert found.p_values[[0, 2]].tolist() == [0.01, 1.0]
    assert np.isnan(found.p_values[1])
    assert found.n_reference.tolist() == [99, 99, 0]
    assert found.members(0.05).tolist() == [True, False, False]
    assert membership([-math.inf], [0.0, -math.inf]).p_values.tolist() == [1.0]
    with pytest.raises(ValueError, match="reference scores are NaN"):
        membership([1.0], [math.nan])
    with pytest.raises(ValueError, match="groups must be 1 and 1"):
        membership([1.0], [1.0], (["a"], ["a", "b"]))


def test_false_discoveries_where_scores_depend_on_the_group() -> None:
    """Long documents score higher when new: only p-values within groups bear the comparison."""
    rng = np.random.default_rng(1)
    within, pooled, power = [], [], []
    for _ in range(300):
        long, long_known = np.arange(60) < 50, np.arange(400) < 200
        member = np.zeros(60, bool)
        member[::6] = True
        suspects = rng.normal(size=60) + 2 * long + 3 * member
        reference = rng.normal(size=400) + 2 * long_known
        for into, groups in ((within, (long, long_known)), (pooled, None)):
            called = membership(suspects, reference, groups).members(0.1)
            into.append(np.sum(called & ~member) / max(called.sum(), 1))
            if into is within:
                power.append(np.mean(called[member]))
    assert np.mean(within) < 0.1 + 3 * np.std(within) / math.sqrt(300)
    assert np.mean(pooled) > 0.12
    assert np.mean(power) > 0.4


def test_exact_law_is_scipys_without_ties() -> None:
    rng = np.random.default_rng(2)
    for m, n in ((1, 5), (8, 12), (14, 6), (40, 33)):
        a, b = rng.normal(0.4, 1, m), rng.normal(size=n)
        expected = stats.mannwhitneyu(a, b, alternative="greater", method="exact")
        test = membership_test(a, b, method="exact")
        assert test.p_value == pytest.approx(expected.pvalue, rel=1e-9)
        assert test.statistic == pytest.approx(expected.statistic / (m * n))


@pytest.mark.parametrize("m", [2, 4, 6])
def test_exact_law_with_ties_is_the_enumeration(m: int) -> None:
    rng = np.random.default_rng(m)
    values = rng.integers(0, 4, 8).astype(float)
    ranks = stats.rankdata(values)
    sums = [ranks[list(c)].sum() for c in itertools.combinations(range(8), m)]
    expected = np.mean(np.array(sums) >= ranks[:m].sum() - 1e-9)
    assert membership_test(values[:m], values[m:]).p_value == pytest.approx(expected)


def test_exact_p_keeps_its_digits_where_it_is_small() -> None:
    test = membership_test(np.arange(40.0, 70), np.arange(40.0), method="exact")
    assert test.log_p_value == pytest.approx(-math.log(math.comb(70, 30)), rel=1e-10)


def test_permutations_within_groups_against_enumeration() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 5, 6).astype(float), rng.integers(0, 5, 8).astype(float)
    groups = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 1, 1])
    parts = []
    for g in (0, 1):
        values = np.concatenate([a[groups[0] == g], b[groups[1] == g]])
        weighted = stats.rankdata(values) / (len(values) + 1)
        m = int(np.sum(groups[0] == g))
        sums = [weighted[list(c)].sum() for c in itertools.combinations(range(len(values)), m)]
        parts.append((weighted[:m].sum(), np.array(sums)))
    reached = np.add.outer(parts[0][1], parts[1][1]) >= parts[0][0] + parts[1][0] - 1e-9
    p = float(reached.mean())
    test = membership_test(a, b, groups, n_permutations=40_000, rng=0)
    assert test.p_value == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 40_000))
    assert test.n_effective == 14
    with pytest.raises(ValueError, match="one group"):
        membership_test(a, b, groups, method="exact")


def test_data_set_test_keeps_its_size_within_groups() -> None:
    rng = np.random.default_rng(6)
    within, pooled = [], []
    for _ in range(400):
        long, long_known = np.arange(30) < 24, np.arange(30) < 8
        a, b = rng.normal(size=30) + long, rng.normal(size=30) + long_known
        options = {"n_permutations": 199, "rng": rng}
        within.append(membership_test(a, b, (long, long_known), **options).p_value)  # type: ignore[arg-type]
        pooled.append(membership_test(a, b, method="permutation", **options).p_value)  # type: ignore[arg-type]
    error = math.sqrt(0.05 * 0.95 / 400)
    assert np.mean(np.array(within) <= 0.05) == pytest.approx(0.05, abs=3 * error)
    assert np.mean(np.array(pooled) <= 0.05) > 0.2


def test_groups_of_one_kind_are_left_out() -> None:
    groups = ["a", "a", "b"], ["a", "c"]
    test = membership_test([3.0, 4.0, 99.0], [1.0, -99.0], groups)
    assert (test.statistic, test.n_effective) == (1.0, 3)
    assert test.p_value == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="no group has both"):
        membership_test([1.0], [1.0], (["a"], ["b"]))
    with pytest.raises(ValueError, match="method"):
        membership_test([1.0], [1.0], method="normal")  # type: ignore[arg-type]


def test_length_bins() -> None:
    rng = np.random.default_rng(7)
    of, of_known = length_bins(rng.integers(1, 900, 50), np.arange(100), 4)
    assert np.bincount(of_known).tolist() == [25, 25, 25, 25]
    assert of.max() == 3
    assert set(length_bins([1, 2], [7, 7, 7], 3)[1].tolist()) == {2}  # ties stay together
    with pytest.raises(ValueError, match="a reference"):
        length_bins([1], [], 3)
