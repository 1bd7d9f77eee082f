"""Data-set inference: its parts against scipy and scikit-learn, its size by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from statllm.estimators.contamination import (
    combine_p_values,
    dataset_inference_by_size,
    dataset_inference_splits,
    dataset_inference_test,
)


def sets(rng: np.random.Generator, shift: float = 0.0, n: int = 60) -> tuple[np.ndarray, ...]:
    return rng.normal(shift, 1, (n, 5)), rng.normal(size=(n, 5))


def test_the_split_combiner_and_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.3, 1.3, (101, 4)), rng.uniform(0, 1, (80, 4))
    found = dataset_inference_test(a, b, seed=3)
    fitted = np.setdiff1d(np.arange(101), found.held_out)
    fitted_b = np.setdiff1d(np.arange(80), found.held_out_validation)
    assert (len(fitted), len(fitted_b)) == (50, 40)
    x = np.concatenate([a[fitted], b[fitted_b]])
    low, high = np.quantile(x, [0.025, 0.975], axis=0)
    x = np.clip(x, low, high)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    y = np.repeat([1.0, 0.0], [50, 40])
    weights = np.repeat([1 / 50, 1 / 40], [50, 40])
    reference = LinearRegression().fit((x - centre) / scale, y, sample_weight=weights).coef_
    cosine = reference @ found.weights / np.linalg.norm(reference) / np.linalg.norm(found.weights)
    assert cosine > 0.9999
    scores = [
        (np.clip(z, low, high) - centre) / scale @ found.weights
        for z in (a[found.held_out], b[found.held_out_validation])
    ]
    welch = stats.ttest_ind(*scores, equal_var=False, alternative="greater")
    assert found.test.p_value == pytest.approx(welch.pvalue)
    permuted = dataset_inference_test(a, b, seed=3, test="permutation").test
    assert permuted.statistic == pytest.approx(scores[0].mean() - scores[1].mean())
    assert permuted.p_value <= 2e-4
    again = dataset_inference_test(a, b, seed=3)
    assert again.test == found.test
    assert dataset_inference_test(a, b, seed=4).test != found.test


def test_a_suspect_that_scores_lower_is_no_member() -> None:
    """The combiner turns signs so that suspects score higher, which is why halves are apart."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=(200, 3))
    same = dataset_inference_test(a, np.concatenate([a, a]), seed=0).test
    assert same.p_value > 0.01
    constant = dataset_inference_test(np.ones((8, 2)), np.ones((8, 2))).test
    assert (constant.statistic, constant.p_value) == (0.0, 1.0)


def test_combinations() -> None:
    p = np.array([0.3, 0.001, 0.02, 0.04, 0.9])
    assert math.exp(combine_p_values(np.log(p))) == pytest.approx(0.08)
    assert math.exp(combine_p_values(np.log(p[:4]))) == pytest.approx(0.08)
    assert combine_p_values([math.log(0.01)]) == pytest.approx(math.log(0.01))
    mean_e = np.mean(1 / (2 * np.sqrt(p)))
    assert math.exp(combine_p_values(np.log(p), "e-value")) == pytest.approx(1 / mean_e)
    assert combine_p_values([-4000.0, -4000.0, 0.0], "e-value") == pytest.approx(
        -2000 + math.log(3), abs=0.01
    )
    with pytest.raises(ValueError, match="at most 0"):
        combine_p_values([0.5])
    with pytest.raises(ValueError, match="method"):
        combine_p_values([-1.0], "min")  # type: ignore[arg-type]


def test_sizes_and_what_splitting_until_significant_does() -> None:
    rng = np.random.default_rng(2)
    n, single, median, e_value, least = 300, [], [], [], []
    for _ in range(n):
        a, b = sets(rng)
        log_p = [dataset_inference_test(a, b, seed).test.log_p_value for seed in range(11)]
        single.append(log_p[0])
        least.append(min(log_p))
        median.append(combine_p_values(log_p))
        e_value.append(combine_p_values(log_p, "e-value"))
    size = [np.mean(np.array(x) <= math.log(0.05)) for x in (single, median, e_value, least)]
    error = math.sqrt(0.05 * 0.95 / n)
    assert size[0] == pytest.approx(0.05, abs=3 * error)
    assert size[1] <= 0.05
    assert size[2] <= 0.05
    assert size[3] > 0.2  # the best of eleven splits is "significant" this often


def test_size_of_permutations_with_heavy_tails() -> None:
    rng = np.random.default_rng(3)
    p = []
    for _ in range(200):
        a, b = rng.standard_cauchy((30, 3)), rng.standard_cauchy((30, 3))
        p.append(dataset_inference_test(a, b, 0, "permutation").test.p_value)
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=3 * math.sqrt(0.09 / 200))


def test_power() -> None:
    rng = np.random.default_rng(4)
    found = [dataset_inference_splits(*sets(rng, 0.5), seed=0).p_value for _ in range(40)]
    assert np.mean(np.array(found) <= 0.05) > 0.85
    strong = dataset_inference_splits(*sets(rng, 1.0, 200), n_splits=3, combine="e-value")
    assert strong.p_value < 1e-3
    assert "3 splits by e-value" in strong.method


def test_prefixes_are_paid_for() -> None:
    rng = np.random.default_rng(5)
    a, b = sets(rng, 0.4)
    sizes = [10, 30, 60]
    raw = [dataset_inference_test(a[:k], b, 1).test.p_value for k in sizes]
    adjusted = [t.p_value for t in dataset_inference_by_size(a, b, sizes, 1)]
    from statsmodels.stats.multitest import multipletests

    assert adjusted == pytest.approx(multipletests(raw, method="holm")[1])
    with pytest.raises(ValueError, match="at most 60"):
        dataset_inference_by_size(a, b, [61])


def test_bad_input() -> None:
    good = np.zeros((9, 2))
    with pytest.raises(ValueError, match=r"\(n, d\) and \(m, d\)"):
        dataset_inference_test(good, np.zeros((9, 3)))
    bad = good.copy()
    bad[4, 1] = -np.inf
    with pytest.raises(ValueError, match="validation is -inf in row 4, feature 1"):
        dataset_inference_test(good, bad)
    with pytest.raises(ValueError, match="suspect has 3 rows"):
        dataset_inference_test(good[:3], good)
    with pytest.raises(ValueError, match="test must be"):
        dataset_inference_test(np.eye(9), np.eye(9), test="z")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="share"):
        dataset_inference_test(good, good, share=1.0)
    with pytest.raises(ValueError, match="n_splits"):
        dataset_inference_splits(good, good, 0)
