"""Smooth calibration error against quadrature with an explicit reflected kernel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.calibration.smooth import smooth_calibration_error


def by_quadrature(p: np.ndarray, residual: np.ndarray, s: float) -> float:
    """Images at 2k ± p, and the midpoint rule."""
    t = (np.arange(20_000) + 0.5) / 20_000
    density = np.zeros_like(t)
    for value, mass in zip(p, residual, strict=True):
        for k in range(-4, 5):
            density += mass * stats.norm.pdf(t, 2 * k + value, s)
            density += mass * stats.norm.pdf(t, 2 * k - value, s)
    return float(np.abs(density).mean())


@pytest.mark.parametrize("s", [0.01, 0.05, 0.3, 1.0])
def test_error_at_a_bandwidth_equals_quadrature(s: float) -> None:
    rng = np.random.default_rng(0)
    p = np.append(rng.random(20), [0.0, 1.0, 0.5])
    y = rng.random(23) < 0.4
    found = smooth_calibration_error(p, y, bandwidth=s).value
    assert found == pytest.approx(by_quadrature(p, (y - p) / 23, s), rel=2e-3)


def test_the_error_is_its_own_bandwidth() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(300)
    y = rng.random(300) < p**2
    value = smooth_calibration_error(p, y).value
    assert smooth_calibration_error(p, y, bandwidth=value).value == pytest.approx(value, abs=1e-6)
    # The published implementation stops at a multiple of 1/1024, here with little cut off.
    relplot = smooth_calibration_error(p, y, method="relplot").value
    assert relplot == pytest.approx(value, rel=0.02)


def test_certain_answers_and_symmetries() -> None:
    assert smooth_calibration_error([1.0, 0.0], [1, 0]).value == 0
    # Everything claimed at 1 and wrong: the kernel spreads a mass of one, all of one sign.
    assert smooth_calibration_error(np.ones(5), np.zeros(5)).value == pytest.approx(1, abs=1e-6)
    rng = np.random.default_rng(2)
    p = rng.choice([0.2, 0.6, 0.9], 100)
    y = rng.random(100) < 0.5
    known = smooth_calibration_error(p, y).value
    order = rng.permutation(100)
    assert smooth_calibration_error(p[order], y[order]).value == pytest.approx(known)
    assert smooth_calibration_error(1 - p, ~y).value == pytest.approx(known, abs=1e-6)
    twice = np.repeat(np.arange(100), 1 + y)
    for method in ("exact", "relplot"):
        weighted = smooth_calibration_error(p, y, method=method, weights=1 + y)  # type: ignore[arg-type]
        copied = smooth_calibration_error(p[twice], y[twice], method=method)  # type: ignore[arg-type]
        assert weighted.value == pytest.approx(copied.value, rel=1e-5)


@pytest.mark.parametrize("over", [0.0, 0.1])
def test_interval_covers(over: float) -> None:
    rng = np.random.default_rng(3)
    large = rng.beta(5, 2, 400_000)
    truth = smooth_calibration_error(large, np.clip(large - over, 0, 1)).value
    covered = 0
    for _ in range(40):
        p = rng.beta(5, 2, 300)
        y = rng.random(300) < np.clip(p - over, 0, 1)
        covered += truth in smooth_calibration_error(p, y).interval()
    assert covered >= 35


def test_interval_of_clusters_is_wider() -> None:
    rng = np.random.default_rng(4)
    p = np.repeat(rng.random(50), 8)
    y = np.repeat(rng.random(50), 8) < p
    rows = smooth_calibration_error(p, y).interval()
    groups = smooth_calibration_error(p, y, clusters=np.repeat(np.arange(50), 8))
    assert groups.n == 50
    assert groups.interval().high > rows.high + 0.03
    # With clusters of one row, both ways of drawing agree.
    single = smooth_calibration_error(p[::8], y[::8]).interval().high
    same = smooth_calibration_error(p[::8], y[::8], clusters=np.arange(50)).interval().high
    assert same == pytest.approx(single, rel=0.1)


def test_wrong_input_is_refused() -> None:
    assert np.isnan(smooth_calibration_error([], []).value)
    with pytest.raises(ValueError, match="method must be"):
        smooth_calibration_error([0.5], [1], method="logit")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bandwidth must be"):
        smooth_calibration_error([0.5], [1], bandwidth=0)
    with pytest.raises(ValueError, match="NaN"):
        smooth_calibration_error([np.nan], [1])
