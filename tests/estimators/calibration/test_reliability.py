"""Reliability curves: values, limits, and how often the bands hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression

from statllm.estimators.calibration.binned import calibration_error
from statllm.estimators.calibration.reliability import isotonic_reliability, reliability_curve


def test_curve_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p = np.append(rng.random(300), [0.0, 1.0, 0.1, 0.2])
    y = rng.random(304) < p
    curve = reliability_curve(p, y, n_bins=10)
    frequency, confidence = calibration_curve(y, p, n_bins=10)
    assert curve.frequency == pytest.approx(frequency)
    assert curve.confidence == pytest.approx(confidence)
    assert curve.count.sum() == 304
    # The curve holds what the expected calibration error sums up.
    error = np.abs(curve.frequency - curve.confidence) @ curve.count / 304
    assert calibration_error(p, y, 10).value == pytest.approx(error)
    frame = curve.to_frame()
    assert len(frame) == 10
    assert "low_all" in frame


def test_limits_are_those_of_the_beta_law() -> None:
    p, y = np.repeat([0.3, 0.8], [12, 20]), np.repeat([0, 1, 0, 1], [9, 3, 5, 15])
    curve = reliability_curve(p, y, n_bins=2, level=0.9)
    assert curve.low == pytest.approx(stats.beta.ppf(0.05, [3, 15], [10, 6]))
    assert curve.high == pytest.approx(stats.beta.ppf(0.95, [4, 16], [9, 5]))
    tail = (1 - np.sqrt(0.9)) / 2  # two independent bins hold together with probability 0.9
    assert curve.low_all == pytest.approx(stats.beta.ppf(tail, [3, 15], [10, 6]))
    assert curve.high_all == pytest.approx(stats.beta.ppf(1 - tail, [4, 16], [9, 5]))
    # Clusters of one row change the simultaneous level only, and the variance by n / (n - 1).
    single = reliability_curve(p, y, n_bins=2, level=0.9, clusters=np.arange(32))
    assert single.effective == pytest.approx(curve.count * 31 / 32)
    assert single.low == pytest.approx(curve.low, abs=0.01)


def test_bands_hold_together() -> None:
    rng = np.random.default_rng(1)
    held, each, n_each = 0, 0, 0
    for _ in range(600):
        p = rng.beta(5, 2, 200)
        truth = np.clip(p - 0.1, 0, 1)
        curve = reliability_curve(p, rng.random(200) < truth, n_bins=8)
        mean = reliability_curve(p, truth, n_bins=8).frequency
        held += bool(np.all((curve.low_all <= mean) & (mean <= curve.high_all)))
        each += int(((curve.low <= mean) & (mean <= curve.high)).sum())
        n_each += len(mean)
    assert held / 600 >= 0.95 - 0.02
    assert each / n_each >= 0.95 - 0.01


def test_clusters_and_weights_count_for_less() -> None:
    rng = np.random.default_rng(2)
    held = {"rows": 0, "clusters": 0}
    for _ in range(150):
        p = np.repeat(rng.random(60), 5)
        y = np.repeat(rng.random(60), 5) < p
        group = np.repeat(np.arange(60), 5)
        clustered = reliability_curve(p, y, n_bins=4, clusters=group)
        plain = reliability_curve(p, y, n_bins=4)
        for name, curve in (("rows", plain), ("clusters", clustered)):
            inside = (curve.low_all <= curve.confidence) & (curve.confidence <= curve.high_all)
            held[name] += bool(np.all(inside))
        assert np.all(clustered.effective < 0.5 * plain.effective)
    assert held["clusters"] / 150 > 0.9
    assert held["rows"] / 150 < 0.6
    weights = np.where(rng.random(300) < 0.1, 10.0, 1.0)
    weighted = reliability_curve(p, y, n_bins=4, weights=weights)
    assert np.all(weighted.effective < 0.7 * weighted.count)
    assert reliability_curve(p, y, n_bins=4, weights=np.full(300, 3.0)).effective == pytest.approx(
        plain.count, rel=0.01
    )
    zero = reliability_curve([0.1, 0.9], [1, 1], weights=[0, 1])
    assert zero.frequency.shape == (1,)


def test_isotonic_curve_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    p = np.round(rng.random(150), 2)
    y = rng.random(150) < p**2
    curve = isotonic_reliability(p, y)
    known = IsotonicRegression().fit(p, y).predict(curve.confidence)
    assert curve.frequency == pytest.approx(known)
    assert np.array_equal(curve.confidence, np.unique(p))
    assert np.all((curve.low <= curve.high) & (np.diff(curve.low, prepend=0) >= 0))
    order = rng.permutation(150)
    again = isotonic_reliability(p[order], y[order])
    assert np.array_equal(again.low, curve.low)
    assert again.frequency == pytest.approx(curve.frequency)
    assert len(curve.to_frame()) == len(curve.confidence)


def test_consistency_band_holds_point_by_point() -> None:
    rng = np.random.default_rng(4)
    inside = []
    for seed in range(60):
        p = rng.random(100)
        curve = isotonic_reliability(p, rng.random(100) < p, n_resamples=100, rng=seed)
        inside.append(np.mean((curve.low <= curve.frequency) & (curve.frequency <= curve.high)))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)


def test_many_confidences_are_pooled() -> None:
    p = np.random.default_rng(5).random(20_000)
    curve = isotonic_reliability(p, p > 0.5, n_resamples=2)
    assert len(curve.confidence) <= 4096
    assert curve.count.sum() == 20_000


def test_no_rows_and_wrong_input() -> None:
    assert reliability_curve([], []).frequency.shape == (0,)
    assert isotonic_reliability([], []).frequency.shape == (0,)
    for function in (reliability_curve, isotonic_reliability):
        with pytest.raises(ValueError, match="level must lie"):
            function([0.5], [1], level=1.0)
        with pytest.raises(ValueError, match="NaN"):
            function([np.nan], [1])
    with pytest.raises(ValueError, match="n_resamples"):
        isotonic_reliability([0.5], [1], n_resamples=0)
