"""Laws of the tests of small or tied samples: against enumeration, and their sizes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.calibration import (
    hosmer_lemeshow,
    kolmogorov_smirnov_calibration,
    kuiper_calibration,
)
from statllm.results import TestResult

Test = Callable[..., TestResult]
TESTS: dict[str, Test] = {
    "Hosmer-Lemeshow": hosmer_lemeshow,
    "Kolmogorov-Smirnov": kolmogorov_smirnov_calibration,
    "Kuiper": kuiper_calibration,
}
by_name = pytest.mark.parametrize("name", TESTS)


def verbalised(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([0.5, 0.6, 0.7, 0.8, 0.9, 0.95], n, p=[0.05, 0.05, 0.1, 0.2, 0.35, 0.25])


def near_one(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.beta(19, 1, n)


@by_name
@pytest.mark.parametrize("weighted", [False, True])
def test_resampled_p_is_the_share_of_all_outcomes(name: str, weighted: bool) -> None:
    test, p = TESTS[name], np.array([0.3, 0.55, 0.55, 0.6, 0.8, 0.8, 0.9, 0.97])
    options: dict[str, Any] = {"weights": np.array([1, 2, 1, 1, 3, 1, 2, 1])} if weighted else {}
    if name == "Hosmer-Lemeshow":
        options["groups"] = [0, 0.58, 0.85, 1]
    every = np.array(list(product([0, 1], repeat=8)), dtype=bool)
    chance = np.where(every, p, 1 - p).prod(axis=1)
    sizes = np.array([test(p, y, law="asymptotic", **options).statistic for y in every])
    for i in (3, 100, 200, 250):
        exact = chance[sizes >= sizes[i] * (1 - 1e-9)].sum()
        found = test(p, every[i], law="resampled", n_resamples=9999, **options)
        assert found.statistic == pytest.approx(sizes[i])
        assert found.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 1e4))
        assert test(p, every[i], n_resamples=9999, **options) == found  # so few are resampled


@by_name
@pytest.mark.parametrize("draw", [verbalised, near_one])
def test_size_of_small_and_tied_samples(
    name: str, draw: Callable[[np.random.Generator, int], np.ndarray]
) -> None:
    rng, reps = np.random.default_rng(20), 600
    p_values = np.empty(reps)
    for i in range(reps):
        p = draw(rng, 60)
        p_values[i] = TESTS[name](p, rng.random(60) < p, n_resamples=199, rng=i).p_value
    for alpha in (0.05, 0.1):
        # A few equal p-values: at most alpha, and not far below.
        size, error = (p_values <= alpha + 1e-9).mean(), np.sqrt(alpha * (1 - alpha) / reps)
        assert 0.5 * alpha < size < alpha + 3 * error


@by_name
def test_which_law(name: str) -> None:
    test, rng = TESTS[name], np.random.default_rng(21)
    many = np.linspace(0.2, 0.8, 3000)
    y = rng.random(3000) < many
    assert test(many, y) == test(many, y, law="asymptotic")
    near = test(many, y, law="resampled")
    assert near.p_value == pytest.approx(test(many, y).p_value, abs=0.06)
    assert near.statistic == test(many, y).statistic
    few, right = many[::100], y[::100]
    assert test(few, right) == test(few, right, law="resampled")
    assert "resampled outcomes" in test(few, right).method
    assert test(few, right) != test(few, right, law="asymptotic")
    # Weights of any scale are worth the same number of rows.
    for scale in (1e-3, 1e3):
        assert "resampled" in test(few, right, weights=np.full(30, scale)).method
        assert "resampled" not in test(many, y, weights=np.full(3000, scale)).method
    # The smallest p-value is one rank; what can't happen has probability 0 all the same.
    assert test(few, few < 0.5, n_resamples=49).p_value == pytest.approx(1 / 50)
    assert test([1.0, 1.0], [0, 1], law="resampled").p_value == 0
    assert np.isnan(test([], [], law="resampled").p_value)
    with pytest.raises(ValueError, match="law must be auto, asymptotic or resampled"):
        test(few, right, law="exact")
    with pytest.raises(ValueError, match="n_resamples must be"):
        test(few, right, n_resamples=0)


def test_ties_are_few_steps_of_the_path() -> None:
    rng = np.random.default_rng(22)
    p = verbalised(rng, 20_000)
    # One value that nearly all share leaves few steps, however many values the others have.
    most = np.where(np.arange(20_000) < 16_000, 0.9, rng.random(20_000))
    for test in (kolmogorov_smirnov_calibration, kuiper_calibration):
        for q in (p, most):
            assert "resampled" in test(q, rng.random(20_000) < q, n_resamples=9).method
    assert "resampled" not in hosmer_lemeshow(p, rng.random(20_000) < p).method


def test_laws_with_clusters_or_a_fit() -> None:
    rng = np.random.default_rng(23)
    p, group = rng.random(200), np.arange(200) // 5
    y = rng.random(200) < p
    for test in (kolmogorov_smirnov_calibration, kuiper_calibration):
        with pytest.raises(ValueError, match="with clusters the path has no asymptotic law"):
            test(p, y, clusters=group, law="asymptotic")
        assert test(p, y, clusters=group) == test(p, y, clusters=group, law="resampled")
    rao_scott = hosmer_lemeshow(p, y, clusters=group, law="asymptotic")
    assert hosmer_lemeshow(p, y, clusters=group) == rao_scott
    signs = hosmer_lemeshow(p, y, clusters=group, law="resampled")
    assert signs.statistic == rao_scott.statistic
    assert signs.p_value == pytest.approx(rao_scott.p_value, abs=0.1)
    assert "degrees of freedom" in hosmer_lemeshow(p[:30], y[:30], fitted=True).method
    with pytest.raises(ValueError, match="would have to refit"):
        hosmer_lemeshow(p, y, fitted=True, law="resampled")


def test_merged_confidences_stay_in_their_group() -> None:
    # More distinct values than cells, and an edge in the middle of a cell.
    rng = np.random.default_rng(24)
    p = rng.random(9000)
    edges = [0, 0.4 + 1 / 9000, 0.7, 0.9, 1]
    y = rng.random(9000) < p
    found = hosmer_lemeshow(p, y, groups=edges, law="resampled")
    known = hosmer_lemeshow(p, y, groups=edges, law="asymptotic")
    # Variances are those of the mean confidence, so the sum is a little below chi-squared.
    assert found.statistic == known.statistic
    number = np.searchsorted(edges[1:-1], p)
    sums, spread = np.bincount(number, y - p), np.bincount(number, p * (1 - p))
    mean = np.bincount(number, p) / np.bincount(number)
    claimed = np.bincount(number) * mean * (1 - mean)
    assert found.statistic == pytest.approx((sums**2 / claimed).sum())
    draws = rng.normal(size=(200_000, 4)) ** 2 @ (spread / claimed)
    assert found.p_value == pytest.approx((draws >= found.statistic).mean(), abs=0.06)
    assert stats.chi2.sf(found.statistic, 4) == pytest.approx(known.p_value)
