"""Corrected win rates, quantiles, and simulated coverage with its Monte Carlo error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from statllm.estimators.ppi import corrected_win_rate, ppi_mean, ppi_quantile, rogan_gladen


def test_a_win_rate_is_the_bounded_mean() -> None:
    rng = np.random.default_rng(0)
    human, judge = rng.choice([0, 0.5, 1], 40), rng.choice([0, 0.5, 1], 340)
    found = corrected_win_rate(judge[40:], judge[:40], human).estimate
    mean = ppi_mean(human, judge[:40], judge[40:], bounds=(0, 1)).estimate
    assert (found.value, found.interval().low) == (mean.value, mean.interval().low)
    assert found.unit == "share"


def test_rogan_gladen_by_hand() -> None:
    # Se 0.9, Sp 0.8, p 0.6: (0.6 + 0.8 - 1) / 0.7
    found = rogan_gladen(600, 1000, 45, 50, 40, 50)
    rate = 4 / 7
    assert found.value == pytest.approx(rate)
    variance = 0.24 / 1000 + rate**2 * 0.09 / 50 + (1 - rate) ** 2 * 0.16 / 50
    assert found.se == pytest.approx(math.sqrt(variance) / 0.7)
    # A perfect judge, checked without end, leaves Agresti and Coull's interval.
    sure = rogan_gladen(30, 100, 10**9, 10**9, 10**9, 10**9).interval()
    z2 = 1.959963984540054**2
    p = (30 + z2 / 2) / (100 + z2)
    half = math.sqrt(z2 * p * (1 - p) / (100 + z2))
    assert (sure.low, sure.high) == pytest.approx((p - half, p + half), abs=1e-4)


def test_a_judge_like_a_coin_says_nothing() -> None:
    found = rogan_gladen(600, 1000, 25, 50, 25, 50)
    assert math.isnan(found.value)
    assert (found.interval().low, found.interval().high) == (0, 1)
    with pytest.raises(ValueError, match="true_positive must lie between 0 and its total"):
        rogan_gladen(600, 1000, 51, 50, 25, 50)


def test_quantile_ends_are_the_values_that_tests_keep() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=230)
    f = y + 0.3 * rng.normal(size=230)
    found = ppi_quantile(y[:30], f[:30], f[30:], 0.4, tuning=0.0).estimate
    interval = found.interval(0.9)
    assert found.value == np.sort(y[:30])[11]  # 12 of 30 are at most that
    # Without predictions: the mean of the indicator, with half a label at each corner.
    inside = []
    for t in np.sort(y[:30]):
        row = ppi_mean(y[:30] <= t, f[:30] <= t, f[30:] <= t, tuning=0.0, bounds=(0, 1))
        inside.append(0.4 in row.classical.interval(0.9))
    kept = np.flatnonzero(inside)
    assert interval.low == pytest.approx(np.sort(y[:30])[kept[0]])
    assert interval.high == pytest.approx(np.sort(y[:30])[kept[-1] + 1], abs=0.1)
    with pytest.raises(ValueError, match="q must lie between 0 and 1"):
        ppi_quantile(y[:30], f[:30], f[30:], 1.0)


def test_rows_alike_are_gathered_without_a_difference() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 9, size=240).astype(float)
    f = np.clip(y + rng.integers(-1, 2, size=240), 0, 8)
    once = ppi_quantile(y[:40], f[:40], f[40:]).estimate
    every_row_a_cluster = ppi_quantile(
        y[:40], f[:40], f[40:], clusters=np.arange(40), unlabelled_clusters=np.arange(40, 240)
    ).estimate
    assert once.value == every_row_a_cluster.value
    assert once.interval(0.9) == every_row_a_cluster.interval(0.9)


# ---- coverage -----------------------------------------------------------------------------------


def gaussian(rng: np.random.Generator, m: int) -> tuple[np.ndarray, np.ndarray, float]:
    y = rng.normal(size=m)
    return y, 0.8 * y + 0.6 * rng.normal(size=m), 0.0


def binary(rng: np.random.Generator, m: int) -> tuple[np.ndarray, np.ndarray, float]:
    y = (rng.random(m) < 0.9).astype(float)
    return y, np.where(rng.random(m) < 0.9, y, 1 - y), 0.9


def clustered(
    rng: np.random.Generator, groups: int, size: int
) -> tuple[np.ndarray, np.ndarray, float]:
    y = rng.normal(size=groups)[:, None] + rng.normal(size=(groups, size))
    f = 0.8 * y + 0.4 * rng.normal(size=groups)[:, None] + 0.6 * rng.normal(size=(groups, size))
    return y.ravel(), f.ravel(), 0.0


def near(hits: list[bool], low: float, high: float) -> bool:
    """Coverage within [low, high], given 3 Monte Carlo errors of slack."""
    share = float(np.mean(hits))
    slack = 3 * math.sqrt(0.05 * 0.95 / len(hits))
    return low - slack <= share <= high + slack


@pytest.mark.parametrize("tuning", ["plug-in", "cross-fitted", 1.0])
def test_twenty_labels_cover(tuning: str | float) -> None:
    # 1,000 runs: MC error 0.007. ppi-python's mean interval: 0.81 to 0.90 at 20 labels.
    rng, hits = np.random.default_rng(0), []
    for _ in range(1000):
        y, f, truth = gaussian(rng, 520)
        found = ppi_mean(y[:20], f[:20], f[20:], tuning=tuning)  # type: ignore[arg-type]
        hits.append(truth in found.estimate.interval())
    assert near(hits, 0.94, 0.965)


@pytest.mark.slow
@pytest.mark.parametrize("n_unlabelled", [30, 200])
def test_twenty_clusters_of_ten_cover(n_unlabelled: int) -> None:
    rng, hits = np.random.default_rng(0), []
    for _ in range(2000):
        y, f, truth = clustered(rng, 20 + n_unlabelled, 10)
        group = np.arange(len(y)) // 10
        found = ppi_mean(
            y[:200], f[:200], f[200:], clusters=group[:200], unlabelled_clusters=group[200:]
        )
        hits.append(truth in found.estimate.interval())
    assert near(hits, 0.94, 0.965)


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 50])
def test_win_rates_near_one_cover_at_least(n: int) -> None:
    rng, hits, bare = np.random.default_rng(0), [], []
    for _ in range(2000):
        y, f, truth = binary(rng, n + 500)
        hits.append(truth in corrected_win_rate(f[n:], f[:n], y[:n]).estimate.interval())
        bare.append(truth in ppi_mean(y[:n], f[:n], f[n:]).estimate.interval())
    assert near(hits, 0.95, 1.0)
    assert np.mean(bare) < 0.95  # why the bounds are there


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "most"), [(20, 0.99), (50, 0.98)])
def test_win_rates_of_clusters_cover(groups: int, most: float) -> None:
    rng, hits = np.random.default_rng(0), []
    number = np.repeat(np.arange(groups + 200), 10)
    labelled = number < groups
    for _ in range(1000):
        rate = rng.beta(2, 1, size=groups + 200)[number]
        y = (rng.random(len(rate)) < rate).astype(float)
        f = np.where(rng.random(len(y)) < 0.85, y, 1 - y)
        found = corrected_win_rate(
            f[~labelled], f[labelled], y[labelled],
            clusters=number[labelled], unlabelled_clusters=number[~labelled],
        )  # fmt: skip
        hits.append(2 / 3 in found.estimate.interval())
    assert near(hits, 0.94, most)


@pytest.mark.slow
def test_rogan_gladen_covers() -> None:
    rng, hits = np.random.default_rng(0), []
    for _ in range(4000):
        n_wins = int(rng.binomial(60, 0.6))
        found = rogan_gladen(
            int(rng.binomial(1000, 0.3 * 0.9 + 0.7 * 0.2)), 1000,
            int(rng.binomial(n_wins, 0.9)), n_wins,
            int(rng.binomial(60 - n_wins, 0.8)), 60 - n_wins,
        )  # fmt: skip
        hits.append(0.3 in found.interval())  # another rate than among the labelled ones
    assert near(hits, 0.94, 0.975)


@pytest.mark.slow
@pytest.mark.parametrize("q", [0.5, 0.8])
def test_quantiles_cover(q: float) -> None:
    from scipy import stats

    rng, hits = np.random.default_rng(0), []
    for _ in range(500):
        y, f, _ = gaussian(rng, 330)
        found = ppi_quantile(y[:30], f[:30], f[30:], q, grid=128).estimate
        hits.append(stats.norm.ppf(q) in found.interval())
    assert near(hits, 0.94, 0.99)
