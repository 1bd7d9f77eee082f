"""Top-1-to-k calibration and the published interval of the squared error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.calibration._sun import SunInterval
from statllm.estimators.calibration.binned import debiased_squared_calibration_error, top_label
from statllm.estimators.calibration.top_k import top_k_calibration_error

REFERENCE = json.loads((Path(__file__).parents[2] / "references" / "sun_interval.json").read_text())


def sample() -> tuple[np.ndarray, np.ndarray]:
    """The rows that the reference file describes."""
    state = np.random.RandomState(1)
    p = state.exponential(size=(400, 4))
    p /= p.sum(axis=1, keepdims=True)
    u, true = state.uniform(size=400), p**1.5
    return p, (u > np.cumsum(true / true.sum(axis=1, keepdims=True), axis=1).T).sum(axis=0)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"k={case['k']}")
def test_estimate_and_variance_equal_the_published_code(case: dict[str, Any]) -> None:
    p, label = sample()
    found = top_k_calibration_error(p, label, case["k"], case["bins"], "sun")
    assert found.value == pytest.approx(case["estimate"], abs=1e-12)
    # Far above 0 the interval is the normal one.
    interval, error = found.interval(0.1), np.sqrt(case["variance"] / 400)
    assert interval.high == pytest.approx(case["estimate"] + stats.norm.ppf(0.55) * error)


def test_limits_in_each_regime() -> None:
    z1, z2 = stats.norm.ppf([0.95, 0.975])
    for value, low, rejects in (
        (5.0, 5 - z2, True),
        (3.6, 1.8, True),
        (2.0, 2 - z1, True),
        (2.0, 0.0, False),
        (1.0, 0.0, False),
        (-1.0, 0.0, False),
    ):
        calibrated = 0.1 if rejects else 10.0
        limits = SunInterval(value, 1.0, calibrated).limits(0.95)
        assert limits == pytest.approx((low, max(value, 0) + z2))
    # Calibration is rejected, but nothing else near it: open at 0.
    low, _ = SunInterval(1.0, 1.0, 0.1).limits(0.95)
    assert 0 < low < 1e-300


def test_error_at_calibration_is_that_of_a_u_statistic() -> None:
    # Given the confidences and the counts, by simulation.
    rng = np.random.default_rng(0)
    p = np.repeat([0.2, 0.6, 0.9], [5, 40, 30])
    cell, values = np.repeat([0, 1, 2], [5, 40, 30]), []
    for _ in range(4000):
        y = rng.random(75) < p
        values.append(debiased_squared_calibration_error(p, y, 3).value)
    sun = SunInterval.of(0.0, p[:, None], np.zeros((75, 1)), cell)
    assert sun.calibrated == pytest.approx(np.std(values), rel=0.05)
    assert sun.away == 0


def test_one_probability_is_the_confidence() -> None:
    p, label = sample()
    for interval in ("inverted", "sun"):
        found = top_k_calibration_error(p, label, 1, 15, interval)  # type: ignore[arg-type]
        known = debiased_squared_calibration_error(*top_label(p, label), interval=interval)  # type: ignore[arg-type]
        assert found.value == pytest.approx(known.value, abs=1e-12)
        ours, theirs = found.interval(), known.interval()
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-3)
    group = np.repeat(np.arange(80), 5)
    clustered = top_k_calibration_error(p, label, 2, 5, clusters=group)
    order = np.random.default_rng(0).permutation(400)
    again = top_k_calibration_error(p[order], label[order], 2, 5, clusters=group[order])
    assert again.value == pytest.approx(clustered.value)
    assert again.n == clustered.n == 80
    w = np.random.default_rng(1).integers(0, 3, 400)
    copies = np.repeat(np.arange(400), w)
    weighted = top_k_calibration_error(p, label, 2, 5, weights=w)
    copied = top_k_calibration_error(p[copies], label[copies], 2, 5, clusters=copies)
    assert weighted.value == pytest.approx(copied.value)


def test_ties_share_the_outcome() -> None:
    table = [[0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]]
    first = top_k_calibration_error(table * 3, [0, 0] * 3, 2)
    second = top_k_calibration_error(table * 3, [1, 2] * 3, 2)
    assert first.value == pytest.approx(second.value)


def test_wrong_input_is_refused() -> None:
    p, label = [[0.5, 0.5], [0.2, 0.8]], [0, 1]
    with pytest.raises(ValueError, match="k must lie between 1 and the 2 classes"):
        top_k_calibration_error(p, label, 3)
    with pytest.raises(ValueError, match="n_bins must be at least 1"):
        top_k_calibration_error(p, label, 1, 0)
    with pytest.raises(ValueError, match="interval must be"):
        top_k_calibration_error(p, label, interval="wald")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="independent rows of equal weight"):
        debiased_squared_calibration_error([0.5], [1], interval="sun", clusters=[1])
    assert np.isnan(top_k_calibration_error(np.empty((0, 2)), []).value)
    empty = debiased_squared_calibration_error([], [], interval="sun")
    assert np.isnan(empty.interval().low)


@pytest.mark.parametrize("miscalibrated", [False, True])
def test_both_intervals_cover(miscalibrated: bool) -> None:
    mesh = (np.arange(100_000) + 0.5) / 100_000

    def truth(p: np.ndarray) -> np.ndarray:
        return p + 0.8 * np.sin(2 * np.pi * p) * p * (1 - p) * miscalibrated

    mass, cell = stats.beta(5, 2).pdf(mesh) / 100_000, (mesh * 15).astype(int)
    gap = np.bincount(cell, mass * (truth(mesh) - mesh))
    squared = float((gap**2 / np.bincount(cell, mass)).sum())
    rng, reps, n = np.random.default_rng(5), 300, 300
    covered = {"inverted": 0, "sun": 0}
    for _ in range(reps):
        p = rng.beta(5, 2, n)
        y = rng.random(n) < truth(p)
        for name in covered:
            found = debiased_squared_calibration_error(p, y, interval=name)  # type: ignore[arg-type]
            covered[name] += squared in found.interval(0.9)
    assert covered["inverted"] / reps > 0.88
    assert covered["sun"] / reps > 0.82
