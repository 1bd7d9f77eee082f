"""Adaptive error and sweep against their definitions, written out row by row."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from statllm.estimators.calibration import (
    adaptive_calibration_error,
    calibration_error,
    classwise_calibration_error,
    sweep_calibration_error,
)


def published_sweep(p: np.ndarray, y: np.ndarray, equal_mass: bool, norm: int) -> float:
    """Roelofs et al. 2022, by loops: bins until the accuracies fall."""
    n, order = len(p), np.argsort(p)
    best = np.zeros(n, dtype=int)
    for m in range(2, n):
        bins = np.empty(n, dtype=int)
        place = np.arange(n) / n if equal_mass else p[order]
        bins[order] = np.minimum(np.floor(place * m).astype(int), m - 1)
        means = [y[bins == b].mean() for b in range(m) if (bins == b).any()]
        if any(later < earlier for earlier, later in itertools.pairwise(means)):
            break
        best = bins
    total = sum(
        (best == b).sum() * abs(y[best == b].mean() - p[best == b].mean()) ** norm
        for b in range(best.max() + 1)
        if (best == b).any()
    )
    return float((total / n) ** (1 / norm))


@pytest.mark.parametrize("bins", ["equal-mass", "equal-width"])
@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_sweep_equals_the_published_loop(bins: str, norm: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 1, 150)
    y = rng.random(150) < p**2
    found = sweep_calibration_error(p, y, bins, norm)  # type: ignore[arg-type]
    assert found.value == pytest.approx(published_sweep(p, y, bins == "equal-mass", norm))


def test_sweep_of_ties_copies_and_orders() -> None:
    rng = np.random.default_rng(0)
    p = rng.choice([0.2, 0.4, 0.7, 0.9], 200)
    y, w = rng.random(200) < p, rng.integers(1, 4, 200)
    order, copies = rng.permutation(200), np.repeat(np.arange(200), w)
    known = sweep_calibration_error(p, y, weights=w)
    assert sweep_calibration_error(p[order], y[order], weights=w[order]).value == pytest.approx(
        known.value
    )
    assert sweep_calibration_error(p[copies], y[copies]).value == pytest.approx(known.value)
    assert sweep_calibration_error(p, y, clusters=np.repeat(np.arange(50), 4)).n == 50
    assert np.isnan(known.interval().low)
    assert np.isnan(sweep_calibration_error([], []).value)
    assert sweep_calibration_error([0.3], [1]).value == pytest.approx(0.7)
    with pytest.raises(ValueError, match="bins must be"):
        sweep_calibration_error(p, y, "deciles")  # type: ignore[arg-type]


def test_sweep_is_less_biased_than_fifteen_bins() -> None:
    rng, values = np.random.default_rng(1), []
    for _ in range(150):
        p = rng.beta(5, 2, 200)
        y = rng.random(200) < p
        values.append([sweep_calibration_error(p, y, norm=1).value, calibration_error(p, y).value])
    sweep, fixed = np.mean(values, axis=0)
    assert sweep < 0.75 * fixed


def test_adaptive_error_is_the_mean_over_ranges() -> None:
    rng = np.random.default_rng(2)
    p, label = rng.dirichlet([1, 1, 1, 1], 120), rng.integers(0, 4, 120)
    gaps = []
    for k in range(4):
        order = np.argsort(p[:, k])
        for part in np.array_split(order, 6):
            gaps.append(abs((label[part] == k).mean() - p[part, k].mean()))
    found = adaptive_calibration_error(p, label, 6)
    assert found.value == pytest.approx(np.mean(gaps))
    assert found.value == pytest.approx(
        classwise_calibration_error(p, label, 6, "equal-mass").value
    )
    assert found.n == 120
    assert found.value in found.interval()
    order = rng.permutation(120)
    assert adaptive_calibration_error(p[order], label[order], 6).value == pytest.approx(found.value)
    # Of probabilities above a threshold only.
    gaps = []
    for k in range(4):
        used = np.flatnonzero(p[:, k] > 0.3)
        for part in np.array_split(used[np.argsort(p[used, k])], 2):
            gaps.append(abs((label[part] == k).mean() - p[part, k].mean()))
    above = adaptive_calibration_error(p, label, 2, threshold=0.3)
    assert above.value == pytest.approx(np.mean(gaps), abs=0.03)
    assert above.name == "TACE"


def test_adaptive_error_with_ties_and_weights() -> None:
    rng = np.random.default_rng(3)
    q = rng.choice([0.1, 0.5, 0.8], 90)
    p, label = np.column_stack([1 - q, q]), (rng.random(90) < q).astype(int)
    gaps = [abs(label[q == v].mean() - v) for v in (0.1, 0.5, 0.8)]
    assert adaptive_calibration_error(p, label, 3).value == pytest.approx(np.mean(gaps))
    w = rng.integers(1, 3, 90)
    copies = np.repeat(np.arange(90), w)
    weighted = adaptive_calibration_error(p, label, 3, weights=w)
    copied = adaptive_calibration_error(p[copies], label[copies], 3)
    assert weighted.value == pytest.approx(copied.value)
    group = np.repeat(np.arange(30), 3)
    assert adaptive_calibration_error(p, label, clusters=group).n == 30
    assert np.isnan(adaptive_calibration_error(np.empty((0, 2)), []).value)
    with pytest.raises(ValueError, match="threshold must lie"):
        adaptive_calibration_error(p, label, threshold=1.0)
