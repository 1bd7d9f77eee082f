"""Kernel calibration error against all pairs written out; its test's draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from statllm.estimators.calibration import kernel as kernel_module
from statllm.estimators.calibration.kernel import (
    kernel_calibration_error,
    kernel_calibration_test,
)


def plain(p: np.ndarray, label: np.ndarray, kernel: str, h: float) -> tuple[float, float]:
    """Unbiased and biased estimates by a double loop."""
    d = np.eye(p.shape[1])[label] - p
    total = own = 0.0
    for i in range(len(p)):
        for j in range(len(p)):
            distance = np.sqrt(((p[i] - p[j]) ** 2).sum())
            k = np.exp(-(distance**2) / (2 * h**2) if kernel == "gaussian" else -distance / h)
            total += k * (d[i] @ d[j])
            own += k * (d[i] @ d[j]) * (i == j)
    n = len(p)
    return (total - own) / (n * (n - 1)), total / n**2


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian"])
@pytest.mark.parametrize("h", [0.2, 1.0])
def test_error_equals_all_pairs(kernel: Any, h: float) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 2], 40)
    p[20:30] = p[:10]  # equal rows are added up first
    label = rng.integers(0, 3, 40)
    unbiased, biased = plain(p, label, kernel, h)
    assert kernel_calibration_error(p, label, "unbiased", kernel, h) == pytest.approx(unbiased)
    assert kernel_calibration_error(p, label, "biased", kernel, h) == pytest.approx(biased)
    order = rng.permutation(40)
    again = kernel_calibration_error(p[order], label[order], "unbiased", kernel, h)
    assert again == pytest.approx(unbiased)
    # A vector is two classes, with the distance of one coordinate: h and h sqrt(2) agree.
    q, y = np.round(rng.random(30), 1), rng.integers(0, 2, 30)
    two = np.column_stack([1 - q, q])
    scale = h * np.sqrt(2)
    assert kernel_calibration_error(q, y, "biased", kernel, h) == pytest.approx(
        kernel_calibration_error(two, y, "biased", kernel, scale)
    )


def test_long_input_is_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    p, y = rng.random(300), rng.integers(0, 2, 300)
    whole = kernel_calibration_error(p, y)
    monkeypatch.setattr(kernel_module, "_BLOCK", 1000)
    assert kernel_calibration_error(p, y) == pytest.approx(whole)


def test_class_probabilities_are_tested() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(60):
        p = rng.dirichlet([1, 1, 1], 60)
        u = rng.random((60, 1))
        label = (u >= np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
        p_values.append(kernel_calibration_test(p, label, n_resamples=99).p_value)
    assert np.mean(np.array(p_values) <= 0.1) < 0.25
    assert 0.35 < np.mean(p_values) < 0.65
    # All of class 2, as in the tests of CalibrationTests.jl.
    p = rng.dirichlet([1, 1], 500)
    assert kernel_calibration_test(p, np.ones(500)).p_value == 0.001


def test_vector_and_table_agree() -> None:
    rng = np.random.default_rng(1)
    q = rng.random(150)
    y = rng.random(150) < 0.75 * q
    vector = kernel_calibration_test(q, y, bandwidth=0.5)
    table = kernel_calibration_test(
        np.column_stack([1 - q, q]), y, bandwidth=0.5 * np.sqrt(2), rng=1
    )
    assert vector.statistic == pytest.approx(table.statistic)
    assert vector.statistic == pytest.approx(150 * kernel_calibration_error(q, y, bandwidth=0.5))
    assert vector.p_value == pytest.approx(table.p_value, abs=0.02)


def test_pooling_many_confidences_changes_little() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(5000)
    y = rng.random(5000) < p
    test = kernel_calibration_test(p, y, n_resamples=19)
    assert test.statistic == pytest.approx(5000 * kernel_calibration_error(p, y), abs=2e-3)


def test_few_rows_and_wrong_input() -> None:
    assert np.isnan(kernel_calibration_error([], []))
    assert np.isnan(kernel_calibration_error([0.5], [1]))
    assert kernel_calibration_error([0.5], [1], "biased") == pytest.approx(0.5)
    for wrong, words in (
        ({"kernel": "box"}, "kernel must be"),
        ({"bandwidth": 0.0}, "bandwidth must be positive"),
        ({"n_resamples": 0}, "n_resamples must be"),
    ):
        with pytest.raises(ValueError, match=words):
            kernel_calibration_test([0.5, 0.2], [1, 0], **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="estimator must be"):
        kernel_calibration_error([0.5], [1], "block")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="up to 5,000 rows"):
        kernel_calibration_test(np.full((5001, 2), 0.5), np.ones(5001))
    with pytest.raises(ValueError, match="1 of 2 rows have a NaN"):
        kernel_calibration_error([[0.5, 0.5], [np.nan, 1]], [0, 1])
