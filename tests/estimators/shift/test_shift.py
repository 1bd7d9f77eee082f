"""Tests of change: brute force, sizes, and a peer's value."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.shift import (
    classifier_test,
    drift_monitor,
    energy_test,
    hsic_test,
    mmd_test,
)


def _mmd(x: np.ndarray, y: np.ndarray, h: float) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-np.sum((a - b) ** 2) / (2 * h * h)))

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    return float(xx + yy - 2 * xy)


def test_mmd_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.normal(0.5, 1, (6, 2))
    assert mmd_test(x, y, bandwidth=1.3).statistic == pytest.approx(_mmd(x, y, 1.3))


def test_energy_is_scipy_s_squared() -> None:
    """scipy's distance is the root of half of Székely's, and counts rows with themselves."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30), rng.normal(0.3, 1, 20)
    biased = 2 * stats.energy_distance(x, y) ** 2 / 2
    within_x = np.abs(x[:, None] - x).sum() / 30**2
    within_y = np.abs(y[:, None] - y).sum() / 20**2
    ours = energy_test(x, y, n_permutations=1).statistic
    assert ours == pytest.approx(biased - within_x * (30 / 29 - 1) - within_y * (20 / 19 - 1))


def test_permutation_p_is_near_the_enumerated_one() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(5, 1)), rng.normal(1.2, 1, (5, 1))
    pooled = np.concatenate([x, y])
    observed = _mmd(x, y, 1.0)
    reached = 0
    subsets = list(itertools.combinations(range(10), 5))
    for chosen in subsets:
        rest = [i for i in range(10) if i not in chosen]
        reached += _mmd(pooled[list(chosen)], pooled[rest], 1.0) >= observed - 1e-12
    found = mmd_test(x, y, bandwidth=1.0, n_permutations=20_000)
    assert found.p_value == pytest.approx(reached / len(subsets), abs=4 * 0.0035)


@pytest.mark.parametrize("test", [mmd_test, energy_test, hsic_test, classifier_test])
def test_size_at_5_percent(test) -> None:
    """400 repeats: three standard errors are .033."""
    rng = np.random.default_rng(3)
    rejected = 0
    for _ in range(400):
        x, y = rng.exponential(size=(24, 2)), rng.exponential(size=(24, 2))
        options = {} if test is classifier_test else {"n_permutations": 99}
        rejected += test(x, y, rng=rng, **options).p_value <= 0.05
    assert abs(rejected / 400 - 0.05) < 0.033


def test_power_against_a_change_of_spread_alone() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(150, 2)), rng.normal(0, 2, (150, 2))
    assert mmd_test(x, y).p_value < 0.01
    assert energy_test(x, y).p_value < 0.01
    assert classifier_test(x, y).p_value > 0.01  # a line can't see it


def test_the_monitor_is_never_wrong_more_than_alpha() -> None:
    """400 streams of 500 without a change; with ties, too."""
    rng = np.random.default_rng(5)
    alarms = np.zeros(2)
    for _ in range(400):
        alarms[0] += (
            drift_monitor(rng.normal(size=50), rng.normal(size=500), rng).first_crossing(0.05) > 0
        )
        coins = rng.integers(0, 3, 550)
        alarms[1] += drift_monitor(coins[:50], coins[50:], rng).first_crossing(0.05) > 0
    assert np.all(alarms / 400 < 0.05 + 3 * 0.011)


def test_the_monitor_sees_a_change_that_comes_late() -> None:
    rng = np.random.default_rng(6)
    found = [
        drift_monitor(
            rng.normal(size=300), np.append(rng.normal(size=200), rng.normal(1.5, 1, 200)), rng
        ).first_crossing(0.01)
        for _ in range(50)
    ]
    assert np.mean([200 < crossing <= 400 for crossing in found]) > 0.9


def test_rows_on_either_side_are_counted() -> None:
    with pytest.raises(ValueError, match="x has 2 features, y 3"):
        mmd_test(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="isn't finite in row 1"):
        energy_test([0.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="all rows of x and y are equal"):
        mmd_test([1.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="x has 3 rows, y 2"):
        hsic_test([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="stream is inf at place 0"):
        drift_monitor([1.0], [np.inf])
