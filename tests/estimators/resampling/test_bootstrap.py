"""Bootstrap against scipy's, closed forms and brute force."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.comparison import mean_estimate, unpaired_difference
from statllm.estimators.resampling import (
    Bootstrap,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_quantile,
    bootstrap_ratio,
    bootstrap_statistic,
)
from statllm.estimators.resampling._statistics import Quantile, Ratio

R = 19_999
# An end of a 95 % interval has a Monte Carlo error of 0.019 se at R resamples (normal case).
END = 4 * 0.019 * math.sqrt(2)


def ends(found: Bootstrap, method: Any = None, level: float = 0.95) -> tuple[float, float]:
    interval = found.interval(level, method)
    return interval.low, interval.high


def theirs(data: Any, statistic: Any, method: str, seed: int, **more: Any) -> Any:
    return stats.bootstrap(
        data, statistic, n_resamples=R, method=method, batch=500, rng=seed, **more
    ).confidence_interval


@pytest.mark.parametrize("method", ["percentile", "basic", "bca"])
@pytest.mark.parametrize("kind", ["continuous", "scores"])
def test_mean_equals_scipy(method: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.exponential(size=50) if kind == "continuous" else rng.integers(0, 11, 200) ** 2 / 10
    found = bootstrap_mean(x, resamples=R)
    expected = theirs((x,), np.mean, method, 1)
    se = stats.sem(x)
    assert ends(found, method) == pytest.approx(tuple(expected), abs=END * se * 1.5)
    assert found.se == pytest.approx(x.std() / math.sqrt(len(x)), rel=0.03)
    assert abs(found.bias) < 5 * se / math.sqrt(R)


def test_replicates_of_an_accuracy_are_binomial() -> None:
    x = np.repeat([1.0, 0.0], [18, 2])
    for collapsed in (True, False):  # by multinomial counts, or unit by unit: few, many per value
        data = np.tile(x, 10) if collapsed else x
        n = len(data)
        found = bootstrap_mean(data, resamples=R)
        right = np.rint(found.replicates * n).astype(int)
        seen = np.bincount(right, minlength=n + 1) / R
        law = stats.binom.pmf(np.arange(n + 1), n, 0.9)
        assert np.abs(seen - law).max() < 5 * math.sqrt(law.max() / R)


def test_difference_of_independent_samples_equals_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.exponential(size=40), rng.exponential(1.5, size=25)
    found = bootstrap_difference(a, b, resamples=R)

    def difference(x: Any, y: Any, axis: int = -1) -> Any:
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    expected = theirs((a, b), difference, "BCa", 3)
    se = unpaired_difference(a, b).se
    assert ends(found) == pytest.approx(tuple(expected), abs=1.5 * END * se)
    assert found.error == pytest.approx(se)
    medians = bootstrap_difference(a, b, 0.5, resamples=R)
    assert medians.value == pytest.approx(np.median(b) - np.median(a))
    expected = theirs(
        (a, b),
        lambda x, y, axis: np.median(y, axis=axis) - np.median(x, axis=axis),
        "percentile",
        4,
    )
    assert ends(medians) == pytest.approx(tuple(expected), abs=0.12 * medians.se)


def by_leaving_out(samples: list[np.ndarray], value: Callable[..., float]) -> float:
    """Acceleration of several samples by brute force (scipy's formula)."""
    above, below = 0.0, 0.0
    for k, sample in enumerate(samples):
        n = len(sample)
        left = []
        for i in range(n):
            changed = list(samples)
            changed[k] = np.delete(sample, i, axis=0)
            left.append(value(*changed))
        u = (n - 1) * (np.mean(left) - np.array(left))
        above += (u**3).sum() / n**3
        below += (u**2).sum() / n**2
    return above / (6 * below**1.5)


def test_accelerations_equal_the_jackknife() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 5, 31).astype(float), rng.exponential(size=18)
    pair = np.column_stack([rng.poisson(4, 25), rng.integers(1, 9, 25)]).astype(float)
    clusters = rng.integers(0, 7, 31)
    groups = np.array([[x[clusters == c].sum(), (clusters == c).sum()] for c in range(7)])

    def ratio(rows: np.ndarray) -> float:
        return float(rows[:, 0].sum() / rows[:, 1].sum())

    few = {"resamples": 99}
    cases = [
        (bootstrap_mean(x, **few), [x], np.mean),
        (bootstrap_mean(x, clusters, **few), [groups], ratio),
        (bootstrap_ratio(pair[:, 0], pair[:, 1], **few), [pair], ratio),
        (bootstrap_difference(x, y, **few), [x, y], lambda a, b: b.mean() - a.mean()),
        (bootstrap_statistic(x, np.std, **few), [x], np.std),
        (bootstrap_statistic(pair, ratio, **few), [pair], ratio),
        (bootstrap_quantile(x, 0.3, **few), [x], lambda a: np.quantile(a, 0.3)),
        (bootstrap_quantile(y, 0.62, **few), [y], lambda a: np.quantile(a, 0.62)),
        (bootstrap_difference(x, y, 0.7, **few), [x, y],
         lambda a, b: np.quantile(b, 0.7) - np.quantile(a, 0.7)),
    ]  # fmt: skip
    for found, samples, value in cases:
        assert found.acceleration == pytest.approx(by_leaving_out(samples, value), rel=1e-9)
        assert found.value == pytest.approx(value(*samples))


def test_resampled_values_and_errors_equal_those_of_the_expanded_rows() -> None:
    rng = np.random.default_rng(6)
    y, w = rng.poisson(3, 40).astype(float), rng.integers(1, 4, 40).astype(float)
    sample = Ratio(y, w)
    units = np.unique(np.column_stack([y, w]), axis=0)
    drawn = rng.multinomial(40, sample.counts / 40, 20)
    values, errors = sample.evaluate(drawn.astype(float))
    for counts, value, error in zip(drawn, values, errors, strict=True):
        rows = np.repeat(units, counts, axis=0)
        r = rows[:, 0].sum() / rows[:, 1].sum()
        residual = rows[:, 0] - r * rows[:, 1]
        assert value == pytest.approx(r)
        assert error == pytest.approx(math.sqrt((residual**2).sum() * 40 / 39) / rows[:, 1].sum())
    assert Ratio(y, np.ones(40)).error == pytest.approx(stats.sem(y))


@pytest.mark.parametrize("q", [0.01, 0.25, 0.5, 0.9])
def test_quantiles_from_counts_equal_numpy(q: float) -> None:
    rng = np.random.default_rng(7)
    x = rng.integers(0, 6, 50) / 7
    sample, values = Quantile(x, q), np.unique(x)
    drawn = rng.multinomial(50, sample.counts / 50, 200)
    found, _ = sample.evaluate(drawn.astype(float))
    expected = [np.quantile(np.repeat(values, counts), q) for counts in drawn]
    assert found == pytest.approx(np.array(expected))
    clusters = rng.integers(0, 12, 50)
    clustered = Quantile(x, q, clusters)
    drawn = rng.multinomial(12, np.full(12, 1 / 12), 50)
    found, _ = clustered.evaluate(drawn.astype(float))
    expected = [np.quantile(np.repeat(x, counts[clusters]), q) for counts in drawn]
    assert found == pytest.approx(np.array(expected))


def test_studentised_interval_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(8)
    x = rng.lognormal(size=25)
    found = bootstrap_mean(x, resamples=R, method="studentised")
    again = x[rng.integers(25, size=(R, 25))]
    t = (again.mean(1) - x.mean()) / stats.sem(again, axis=1)
    low, high = np.quantile(t, [0.025, 0.975])
    expected = (x.mean() - high * stats.sem(x), x.mean() - low * stats.sem(x))
    assert ends(found)[0] == pytest.approx(expected[0], abs=0.1 * stats.sem(x))
    assert ends(found)[1] == pytest.approx(expected[1], abs=0.5 * stats.sem(x))  # a long tail


def test_clusters_are_drawn_whole() -> None:
    rng = np.random.default_rng(9)
    group = np.repeat(np.arange(40), rng.integers(1, 8, 40))
    x = rng.normal(size=40)[group] + rng.normal(size=len(group))
    found = bootstrap_mean(x, group, resamples=4999)
    assert found.n == 40
    assert found.se == pytest.approx(mean_estimate(x, group).se, rel=0.06)
    assert found.se > 1.4 * bootstrap_mean(x, resamples=4999).se
    generic = bootstrap_statistic(x, np.mean, group, resamples=1999)
    assert generic.acceleration == pytest.approx(found.acceleration)
    assert generic.se == pytest.approx(found.se, rel=0.08)
    labels = [f"row {i}" for i in rng.permutation(len(x))]
    assert bootstrap_mean(x, labels).se == pytest.approx(bootstrap_mean(x).se, rel=0.05)


def test_bayesian_bootstrap_has_its_variance() -> None:
    # Dirichlet(1, ..., 1) weights: variance sum (x - mean)^2 / (n (n + 1)) (Rubin 1981).
    x = np.random.default_rng(10).normal(size=12)
    found = bootstrap_mean(x, weights="bayesian", resamples=R)
    expected = math.sqrt(x.var() / 13)
    assert found.se == pytest.approx(expected, rel=4 / math.sqrt(2 * R))
    discrete = bootstrap_mean(np.repeat([0.0, 1.0], [3, 7]), weights="bayesian", resamples=R)
    assert stats.kstest(discrete.replicates, stats.beta(7, 3).cdf).pvalue > 0.001
    with pytest.raises(ValueError, match="no standard error"):
        discrete.interval(method="studentised")


def test_standard_error_does_not_shrink_with_resamples() -> None:
    # A known defect elsewhere divides the spread of the replicates by sqrt(B) once more.
    x = np.random.default_rng(11).normal(size=100)
    for resamples in (1000, 20_000):
        assert bootstrap_mean(x, resamples=resamples).se == pytest.approx(stats.sem(x), rel=0.1)


def test_the_same_seed_gives_the_same_result_whatever_the_batch() -> None:
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=37), rng.integers(0, 3, 400)
    clusters = rng.integers(0, 9, 37)
    makers: list[Callable[..., Bootstrap]] = [
        lambda **k: bootstrap_mean(x, **k),
        lambda **k: bootstrap_mean(y, **k),
        lambda **k: bootstrap_mean(x, clusters, **k),
        lambda **k: bootstrap_mean(y, weights="bayesian", **k),
        lambda **k: bootstrap_quantile(x, 0.4, clusters, **k),
        lambda **k: bootstrap_difference(x, y, **k),
        lambda **k: bootstrap_statistic(x, np.ptp, **k),
    ]
    for make in makers:
        whole = make(resamples=101)
        for batch in (1, 7, 101):
            part = make(resamples=101, batch=batch)
            # The same draws; products of matrices round by their shape.
            np.testing.assert_allclose(part.replicates, whole.replicates, rtol=1e-12, atol=1e-14)
        assert not np.array_equal(make(resamples=101, rng=1).replicates, whole.replicates)


def test_memory_is_bounded() -> None:
    x = np.random.default_rng(13).normal(size=100_000)
    tracemalloc.start()
    bootstrap_mean(x, resamples=200)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6  # an n by R matrix of indices would take 160 MB


def test_no_spread_bad_levels_and_bad_input() -> None:
    same = bootstrap_mean([2.0, 2.0, 2.0])
    for method in ("percentile", "basic", "bca", "studentised"):
        assert ends(same, method) == (2.0, 2.0)
    with pytest.raises(ValueError, match="take at least 199"):
        bootstrap_mean([1.0, 2.0], resamples=99).interval(0.99)
    with pytest.raises(ValueError, match="x is nan at place 1"):
        bootstrap_mean([1.0, math.nan])
    with pytest.raises(ValueError, match="empty"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="clusters must have one label per row"):
        bootstrap_mean([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="method must"):
        bootstrap_mean([1.0, 2.0], method="normal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="add up to 0"):
        bootstrap_ratio([1.0, 2.0], [1.0, -1.0])
    with pytest.raises(ValueError, match="beforehand"):
        bootstrap_statistic([1.0, 2.0], np.std, method="basic").interval(method="bca")
    estimate = bootstrap_mean([0, 1, 1, 1, 0, 1]).estimate("accuracy", "share")
    assert estimate.to_dict()["method"] == "mean, 9999 resamples; interval: bootstrap bca"


@pytest.mark.parametrize(
    ("method", "weights", "least"),
    [
        ("percentile", "multinomial", 0.925),
        ("basic", "multinomial", 0.92),
        ("bca", "multinomial", 0.925),
        ("studentised", "multinomial", 0.94),
        ("percentile", "bayesian", 0.925),
    ],
)
def test_intervals_of_a_mean_cover(method: Any, weights: Any, least: float) -> None:
    rng = np.random.default_rng(14)
    rounds, hits = 500, 0
    for seed in range(rounds):
        x = rng.gamma(4.0, size=50)
        found = bootstrap_mean(x, resamples=399, method=method, weights=weights, rng=seed)
        hits += 4.0 in found.interval()
    # Monte Carlo error .01; the percentile kinds are known to be a little short at n = 50.
    assert least - 0.03 < hits / rounds < 0.98
