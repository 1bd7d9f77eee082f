"""Mistakes that other packages have made; each test is named after the behaviour."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.calibration import (
    _bin_sums,
    calibration_error,
    classwise_calibration_error,
    debiased_squared_calibration_error,
    hosmer_lemeshow,
    kolmogorov_smirnov_calibration,
    reliability_curve,
    smooth_calibration_error,
    spiegelhalter,
)
from statllm.estimators.calibration._outcomes import checked


def test_confidence_of_one_and_zero_lands_in_the_last_and_first_bin() -> None:
    # torchmetrics opened a bin of its own for 1.0; half-open bins elsewhere lose 0.0.
    curve = reliability_curve([0.0, 0.05, 0.95, 1.0, 1.0], [0, 1, 1, 1, 0], n_bins=10)
    assert curve.count.tolist() == [2, 3]
    assert curve.confidence == pytest.approx([0.025, 2.95 / 3])
    error = calibration_error([0.0, 0.05, 0.95, 1.0, 1.0], [0, 1, 1, 1, 0], n_bins=10)
    assert error.value == pytest.approx((abs(1 - 0.05) + abs(2 - 2.95)) / 5)
    for p in (0.0, 1.0):
        assert calibration_error([p], [1 - p]).value == 1


def test_equal_mass_bins_ignore_the_order_of_rows() -> None:
    # MAPIE's "array split" cut the rows as they came: .0006 for a large error.
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    y = rng.random(4000) < np.clip(p + 0.2 * np.sin(2 * np.pi * p), 0, 1)
    values = []
    for order in (np.argsort(p), np.argsort(-p), rng.permutation(4000)):
        values.append(calibration_error(p[order], y[order], 10, "equal-mass").value)
    assert values == pytest.approx([values[0]] * 3)
    assert values[0] > 0.1


def test_ten_bins_are_ten() -> None:
    # `linspace(0, 1, n_bins)` makes one bin fewer: .1005 in place of .1257 for an S-shaped error.
    p = (np.arange(200_000) + 0.5) / 200_000
    s_shaped = p + 0.2 * np.sin(2 * np.pi * p)
    for n_bins in (9, 10):
        cosine = np.cos(2 * np.pi * np.linspace(0, 1, n_bins + 1))
        known = 0.1 / np.pi * np.abs(np.diff(cosine)).sum()
        assert calibration_error(p, s_shaped, n_bins).value == pytest.approx(known, rel=1e-6)
    for n_bins in (1, 2, 7, 10, 15, 50):
        assert len(reliability_curve(p, p, n_bins).count) == n_bins


@pytest.mark.parametrize("wrong", [-0.01, 1.0000001, 7.3, np.inf, -np.inf])
@pytest.mark.parametrize(
    "function",
    [
        calibration_error,
        debiased_squared_calibration_error,
        smooth_calibration_error,
        spiegelhalter,
        hosmer_lemeshow,
        kolmogorov_smirnov_calibration,
        reliability_curve,
    ],
)
def test_what_is_no_probability_is_refused(function: object, wrong: float) -> None:
    # One library takes any score above 1 for a logit (.1000 became .3693), another drops it.
    assert callable(function)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        function([0.2, 0.9, wrong], [0, 1, 1])


def test_counts_beyond_float32_do_not_saturate() -> None:
    # A float32 counter stops at 2^24: adding one more changes nothing.
    weight = 2.0**24
    assert np.float32(weight) + np.float32(1) == np.float32(weight)
    n = 100
    error = calibration_error(
        np.full(n + 1, 0.75), np.append(np.ones(n), 0), weights=[1.0] * n + [3 * weight]
    )
    total = n + 3 * weight
    assert error.value == pytest.approx(abs(n / total - 0.75), rel=1e-14)
    # And a count of bits is a sum of whole numbers: as many rows as memory allows.
    rows = checked(np.full(2**17, 0.5), np.arange(2**17) % 2 == 0)
    sums = _bin_sums.of(rows, np.zeros(2**17, dtype=np.int64), 1)
    assert sums.weight.dtype == sums.residual.dtype == np.float64
    assert sums.count.dtype == np.int64


@pytest.mark.slow
def test_twenty_million_rows_of_one_bin() -> None:
    n = 2**24 + 2**22
    p, y = np.full(n, 0.7), np.zeros(n, dtype=bool)
    y[: n // 2] = True
    assert calibration_error(p, y, 10).value == pytest.approx(0.2, rel=1e-6)


def test_an_underconfident_model_is_rejected() -> None:
    # One-sided, a model with Z = -37.4 had p = 1.
    rng = np.random.default_rng(1)
    truth = rng.beta(0.5, 0.5, 5000)
    y = rng.random(5000) < truth
    timid = 0.5 + 0.25 * (truth - 0.5)
    test = spiegelhalter(timid, y)
    assert test.statistic < -30
    assert test.p_value < 1e-200
    assert test.log_p_value == pytest.approx(np.log(2) + stats.norm.logsf(-test.statistic))
    clustered = spiegelhalter(timid, y, clusters=np.repeat(np.arange(1000), 5))
    assert clustered.statistic < -10
    assert clustered.p_value < 1e-50


def test_no_outcome_is_lost_between_bins_and_classes() -> None:
    # Uncertainties passed as negative numbers fell outside all bins: an error of 0.
    p = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    assert classwise_calibration_error(p, [1, 0, 0], 10).value == pytest.approx(2.5 / 3)


def test_interval_of_a_calibrated_model_contains_zero() -> None:
    # Percentile bootstrap intervals of the plug-in never do: 0 of 60 in one package.
    rng, held = np.random.default_rng(2), [0, 0]
    for _ in range(40):
        p = rng.beta(5, 2, 300)
        y = rng.random(300) < p
        held[0] += 0.0 in calibration_error(p, y).interval()
        held[1] += 0.0 in debiased_squared_calibration_error(p, y).interval()
    assert min(held) >= 35
