"""Weights and clusters: copies, ones, clusters of one row, and sizes with dependent outcomes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from statllm.estimators.calibration import (
    calibration_error,
    classwise_calibration_error,
    corp_decomposition,
    cox,
    cumulative_differences,
    debiased_squared_calibration_error,
    hosmer_lemeshow,
    isotonic_reliability,
    kernel_calibration_error,
    kernel_calibration_test,
    kolmogorov_smirnov_calibration,
    kuiper_calibration,
    reliability_curve,
    safe_hosmer_lemeshow,
    smooth_calibration_error,
    spiegelhalter,
    t_cal,
)
from statllm.estimators.calibration._tails import log_t
from statllm.results import TestResult

Test = Callable[..., TestResult]


def cox_test(p: np.ndarray, y: np.ndarray, **options: Any) -> TestResult:
    return cox(p, y, **options).test


TESTS: dict[str, Test] = {
    "Spiegelhalter": spiegelhalter,
    "Hosmer-Lemeshow": hosmer_lemeshow,
    "Cox": cox_test,
    "Kolmogorov-Smirnov": partial(kolmogorov_smirnov_calibration, n_resamples=199),
    "Kuiper": partial(kuiper_calibration, n_resamples=199),
    "T-Cal": partial(t_cal, n_resamples=199),
    "SKCE": partial(kernel_calibration_test, n_resamples=199),
}
by_name = pytest.mark.parametrize("name", TESTS)


def answers(
    clusters: int, rng: np.random.Generator, size: int = 5, a: float = 5, b: float = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated confidences; outcomes of a cluster correlate by a Gaussian copula (0.8)."""

    def shared(correlation: float) -> np.ndarray:
        common, own = rng.standard_normal((clusters, 1)), rng.standard_normal((clusters, size))
        return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own

    p = stats.beta.ppf(special.ndtr(shared(0.7)), a, b)
    y = special.ndtr(shared(0.8)) < p
    return p.ravel(), y.ravel(), np.repeat(np.arange(clusters), size)


def rejections(name: str, clusters: int, reps: int, seed: int, rows: bool = False) -> float:
    rng, count = np.random.default_rng(seed), 0
    for _ in range(reps):
        p, y, group = answers(clusters, rng)
        options = {} if rows else {"clusters": group}
        count += TESTS[name](p, y, **options).p_value <= 0.05
    return count / reps


@by_name
def test_size_with_dependent_outcomes(name: str) -> None:
    assert rejections(name, 40, 120, 1) < 0.12
    assert rejections(name, 40, 60, 1, rows=True) > 0.1  # what the clusters are for


@pytest.mark.slow
@by_name
@pytest.mark.parametrize("clusters", [40, 200])
def test_size_in_many_draws(name: str, clusters: int) -> None:
    size = rejections(name, clusters, 2000, 2)
    assert 0.03 < size < (0.085 if name == "Spiegelhalter" else 0.07)


@by_name
def test_power_with_clusters(name: str) -> None:
    rng, count = np.random.default_rng(3), 0
    for _ in range(20):
        p, y, group = answers(150, rng)
        bold = p**2 / (p**2 + (1 - p) ** 2)
        count += TESTS[name](bold, y, clusters=group).p_value <= 0.05
    assert count >= 12


@by_name
def test_ones_singles_and_order(name: str) -> None:
    rng, test = np.random.default_rng(4), TESTS[name]
    p = np.round(rng.beta(3, 2, 300), 2).clip(0.01, 0.99)
    y = rng.random(300) < p**1.2
    plain, ones = test(p, y), test(p, y, weights=np.ones(300))
    # Cox's weighted test is Wald's, not the likelihood ratio's.
    loose = 0.1 if name == "Cox" else 1e-9
    assert ones.statistic == pytest.approx(plain.statistic, rel=loose)
    assert ones.p_value == pytest.approx(plain.p_value, abs=0.05)
    single = test(p, y, clusters=np.arange(300))
    assert single.n_effective == 300
    assert single.statistic == pytest.approx(plain.statistic, rel=0.15)
    # Signs and outcomes, 199 draws of each.
    assert single.p_value == pytest.approx(plain.p_value, abs=0.15)
    group, w = np.repeat(np.arange(60), 5), rng.integers(1, 4, 300)
    known = test(p, y, weights=w, clusters=group)
    order = rng.permutation(300)
    again = test(p[order], y[order], weights=w[order], clusters=group[order])
    assert again.n_effective == 60
    assert again.statistic == pytest.approx(known.statistic)
    assert again.p_value == pytest.approx(known.p_value)
    # Only the ratio of weights counts, and rows without weight don't.
    scaled = test(p, y, weights=7.5 * w, clusters=group)
    assert scaled.p_value == pytest.approx(known.p_value, abs=0.011)


@by_name
def test_copies_in_one_cluster_are_a_weight(name: str) -> None:
    rng, test = np.random.default_rng(5), TESTS[name]
    p = np.round(rng.beta(3, 2, 200), 2).clip(0.01, 0.99)
    y, w, group = rng.random(200) < p, rng.integers(1, 4, 200), np.repeat(np.arange(50), 4)
    copies = np.repeat(np.arange(200), w)
    weighted = test(p, y, weights=w, clusters=group)
    copied = test(p[copies], y[copies], clusters=group[copies])
    if name == "Hosmer-Lemeshow":  # its statistic is in units of the variance of single rows
        assert weighted.p_value == pytest.approx(copied.p_value, abs=0.1)
        return
    assert weighted.statistic == pytest.approx(copied.statistic)
    assert weighted.p_value == pytest.approx(copied.p_value)


@by_name
def test_weighted_size_of_independent_rows(name: str) -> None:
    rng, count = np.random.default_rng(6), 0
    for _ in range(150):
        p = rng.beta(3, 2, 150)
        y, w = rng.random(150) < p, rng.choice([0.5, 1.0, 4.0], 150)
        count += TESTS[name](p, y, weights=w).p_value <= 0.05
    assert count <= 18


ROW = np.arange(1, 10) ** 1.5
ESTIMATES: dict[str, Callable[..., float]] = {
    "ECE": lambda p, y, **o: calibration_error(p, y, **o).value,
    "ECE of equal mass": lambda p, y, **o: calibration_error(p, y, 5, "equal-mass", **o).value,
    "MCE": lambda p, y, **o: calibration_error(p, y, norm="max", **o).value,
    "smooth ECE": lambda p, y, **o: smooth_calibration_error(p, y, **o).value,
    "SKCE, biased": lambda p, y, **o: kernel_calibration_error(p, y, "biased", **o),
    "classwise": lambda p, y, **o: (
        classwise_calibration_error(np.column_stack([1 - p, p]), y, **o).value
    ),
    "Cox": lambda p, y, **o: cox(p, y, **o).slope.value,
    "MCB": lambda p, y, **o: corp_decomposition(p, y, **o).miscalibration.value,
    "DSC": lambda p, y, **o: corp_decomposition(p, y, "log", **o).discrimination.value,
    "isotonic curve": lambda p, y, **o: float(isotonic_reliability(p, y, **o).frequency @ ROW),
    "curve": lambda p, y, **o: float(reliability_curve(p, y, 5, **o).frequency.sum()),
    "path": lambda p, y, **o: float(cumulative_differences(p, y, **o)[1].sum()),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_of_copies(name: str) -> None:
    rng, estimate = np.random.default_rng(7), ESTIMATES[name]
    p = rng.choice(np.arange(1, 10) / 10, 150)
    y, w, group = rng.random(150) < p, rng.integers(1, 4, 150), np.repeat(np.arange(30), 5)
    copies = np.repeat(np.arange(150), w)
    assert estimate(p, y, weights=w) == pytest.approx(estimate(p[copies], y[copies]), rel=1e-6)
    plain = estimate(p, y)
    assert estimate(p, y, weights=np.full(150, 2.0)) == pytest.approx(plain, rel=1e-6)
    assert estimate(p, y, clusters=group) == pytest.approx(plain, rel=1e-6)


def test_debiased_estimates_of_copies() -> None:
    # Copies aren't independent of each other: they are one cluster.
    rng = np.random.default_rng(8)
    p = rng.choice(np.arange(1, 10) / 10, 100)
    y, w = rng.random(100) < p, rng.integers(1, 4, 100)
    copies = np.repeat(np.arange(100), w)
    for estimate in (
        lambda *a, **o: debiased_squared_calibration_error(*a, **o).value,
        kernel_calibration_error,
        lambda *a, **o: t_cal(*a, n_resamples=1, **o).statistic,
        lambda *a, **o: t_cal(*a, n_bins=5, n_resamples=1, **o).statistic,
    ):
        weighted = estimate(p, y, weights=w, clusters=np.arange(100))
        assert weighted == pytest.approx(estimate(p[copies], y[copies], clusters=copies))


def test_kernel_error_leaves_out_pairs_of_a_cluster() -> None:
    rng = np.random.default_rng(9)
    p, label = rng.dirichlet([1, 2, 1], 40), rng.integers(0, 3, 40)
    w, group = rng.random(40), rng.integers(0, 12, 40)
    d = np.eye(3)[label] - p
    total = pairs = 0.0
    for i in range(40):
        for j in range(40):
            if group[i] != group[j]:
                k = np.exp(-((p[i] - p[j]) ** 2).sum() / 2)
                total += w[i] * w[j] * k * (d[i] @ d[j])
                pairs += w[i] * w[j]
    found = kernel_calibration_error(p, label, weights=w, clusters=group)
    assert found == pytest.approx(total / pairs)
    test = kernel_calibration_test(p, label, weights=w, clusters=group, n_resamples=99)
    assert test.statistic == pytest.approx(found * len(np.unique(group)))
    with pytest.raises(ValueError, match="clusters must be of shape"):
        kernel_calibration_error(p, label, clusters=[1])


def test_pairs_of_clusters_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from statllm.estimators.calibration import kernel

    rng = np.random.default_rng(10)
    p, y, group = rng.random(200), rng.random(200) < 0.5, rng.integers(0, 20, 200)
    whole = kernel_calibration_error(p, y, clusters=group)
    monkeypatch.setattr(kernel, "_BLOCK", 50)
    assert kernel_calibration_error(p, y, clusters=group) == pytest.approx(whole)


def test_one_cluster_says_nothing() -> None:
    p, y, group = np.array([0.3, 0.8, 0.9, 0.4]), np.array([0, 1, 0, 1]), [1, 1, 1, 1]
    assert np.isnan(kernel_calibration_error(p, y, clusters=group))
    for test in (spiegelhalter, cox_test, t_cal, kernel_calibration_test):
        assert np.isnan(test(p, y, clusters=group).p_value)
    with pytest.raises(ValueError, match="fitted has no known law"):
        hosmer_lemeshow(p, y, fitted=True, clusters=group)


def test_hosmer_lemeshow_with_weights_by_hand() -> None:
    p, y, w = [0.2, 0.4, 0.7, 0.9], [0, 1, 1, 0], np.array([1.0, 2, 3, 1])
    found = hosmer_lemeshow(p, y, groups=[0, 0.5, 1], weights=w, law="asymptotic")
    means = [(0.2 + 2 * 0.4) / 3, (3 * 0.7 + 0.9) / 4]
    gaps = [-0.2 + 2 * 0.6, 3 * 0.3 - 0.9]
    squares = [1 + 4, 9 + 1]
    known = sum(g**2 / (v * m * (1 - m)) for g, v, m in zip(gaps, squares, means, strict=True))
    assert found.statistic == pytest.approx(known)
    assert found.p_value == pytest.approx(stats.chi2.sf(known, 2))


def test_log_tail_of_t() -> None:
    for df in (1, 5, 40):
        for z in (0.0, 0.5, 2.0, 30.0):
            known = np.log(2) + stats.t.logsf(z, df)
            assert log_t(z, df) == pytest.approx(known, abs=1e-9)
    # Where the tail underflows: the density times z / df, to first order.
    known = np.log(2) + stats.t.logpdf(1e4, 100) + np.log(1e4 / 100)
    assert log_t(1e4, 100) == pytest.approx(known, abs=1e-4)
    assert log_t(-np.inf, 4) == -np.inf


def test_bands_of_isotonic_curves_widen_with_clusters() -> None:
    # One confidence for all answers to a prompt, which nearly agree.
    rng, inside = np.random.default_rng(11), []
    for seed in range(40):
        p, group = np.repeat(rng.random(80), 5), np.repeat(np.arange(80), 5)
        y = special.ndtr(np.repeat(rng.standard_normal(80), 5)) < p
        clustered = isotonic_reliability(p, y, n_resamples=60, rng=seed, clusters=group)
        rows = isotonic_reliability(p, y, n_resamples=60, rng=seed)
        held = [
            np.mean((c.low <= c.frequency + 1e-9) & (c.frequency <= c.high + 1e-9))
            for c in (clustered, rows)
        ]
        inside.append(held)
    assert np.mean(inside, axis=0)[0] == pytest.approx(0.85, abs=0.06)
    assert np.mean(inside, axis=0)[1] < 0.65
    ones = isotonic_reliability(p, y, weights=np.ones(400))
    assert ones.low == pytest.approx(isotonic_reliability(p, y).low, abs=0.08)


def test_safe_test_with_clusters() -> None:
    rng, rejected = np.random.default_rng(12), {"rows": 0, "clusters": 0}
    for _ in range(150):
        p, y, group = answers(60, rng)
        rejected["clusters"] += safe_hosmer_lemeshow(p, y, group).p_value <= 0.05
        rejected["rows"] += safe_hosmer_lemeshow(p, y).p_value <= 0.05
    assert rejected["clusters"] <= 12
    assert rejected["clusters"] <= rejected["rows"]
    single = safe_hosmer_lemeshow(p, y, np.arange(300))
    assert single.statistic == pytest.approx(safe_hosmer_lemeshow(p, y).statistic)
    with pytest.raises(ValueError, match="the rows of one must follow each other"):
        safe_hosmer_lemeshow([0.1, 0.2, 0.3], [0, 1, 0], [1, 2, 1])


def test_mean_bet_of_a_cluster_is_fair() -> None:
    # Two equal answers to each of three prompts: E has mean one over all outcomes, exactly.
    p, total = np.array([0.3, 0.3, 0.8, 0.8, 0.6, 0.6]), 0.0
    for bits in range(8):
        y = np.repeat([bits >> k & 1 for k in range(3)], 2)
        chance = np.prod(np.where(y[::2] == 1, p[::2], 1 - p[::2]))
        total += chance * np.exp(safe_hosmer_lemeshow(p, y, [0, 0, 1, 1, 2, 2]).statistic)
    assert total == pytest.approx(1)
