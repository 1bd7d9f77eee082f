"""Reward gaps prompt by prompt, against loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.estimators.reward_gaps import ensemble_gaps, laplace_gaps

ROWS = [[0.5, 2.0, 1.0], [1.0], [], [3.0, 3.0, 0.0, 0.0], [np.nan, 1.0]]


def covariance(d: int = 4) -> np.ndarray:
    root = np.random.default_rng(1).normal(size=(d, d))
    return root @ root.T


def features(n: int = 10, d: int = 4) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(n, d))


def test_laplace_by_loops() -> None:
    x, c = features(), covariance()
    found = laplace_gaps(ROWS, x, c)
    np.testing.assert_allclose(found.gap, [1.5, np.nan, np.nan, 3.0, np.nan])
    apart = x[1] - x[0]
    assert found.gap_var[0] == pytest.approx(apart @ c @ apart, rel=1e-12)
    pairs = [x[4 + a] - x[4 + b] for a, b in itertools.product((0, 1), (2, 3))]
    assert found.gap_var[3] == pytest.approx(np.mean([p @ c @ p for p in pairs]), rel=1e-12)
    assert np.isnan(found.gap_var[[1, 2, 4]]).all()
    for start, stop in ((0, 3), (3, 4), (4, 8)):
        centred = x[start:stop] - x[start:stop].mean(0)
        expected = [np.sqrt(each @ c @ each) for each in centred]
        np.testing.assert_allclose(found.sd.values[start:stop], expected, atol=1e-12)
    assert np.isnan(found.sd.values[8:]).all()


def test_levels_and_order_do_not_matter() -> None:
    """A common feature, however large, is in no gap; nor is the order of the samples."""
    x, c = features(3), covariance()
    plain = laplace_gaps([[0.5, 2.0, 1.0]], x, c)
    lifted = laplace_gaps([[0.5, 2.0, 1.0]], x + 1e6, c)
    np.testing.assert_allclose(lifted.gap_var, plain.gap_var, rtol=1e-7)
    turned = laplace_gaps([[1.0, 2.0, 0.5]], x[::-1], c)
    np.testing.assert_allclose(turned.gap_var, plain.gap_var, rtol=1e-12)


def test_laplace_is_the_limit_of_an_ensemble() -> None:
    rng = np.random.default_rng(0)
    x, c = features(3), covariance()
    members = rng.multivariate_normal([0.1, -0.2, 0.3, 2.0], c, size=100_000) @ x.T
    ensemble = ensemble_gaps(members, [[0, 0, 0]])
    laplace = laplace_gaps([members.mean(0)], x, c)
    np.testing.assert_allclose(ensemble.gap_var, laplace.gap_var, rtol=0.02)
    np.testing.assert_allclose(ensemble.sd.values, laplace.sd.values, rtol=0.02)


def test_ensemble_by_loops() -> None:
    members = np.random.default_rng(0).normal(size=(5, 6))
    found = ensemble_gaps(members, [[0, 0, 0, 0], [0, 0]])
    for row, (start, stop) in enumerate(((0, 4), (4, 6))):
        part = members[:, start:stop]
        mean = part.mean(0)
        gaps = part[:, mean.argmax()] - part[:, mean.argmin()]
        assert found.gap[row] == pytest.approx(np.ptp(mean))
        assert found.gap_var[row] == pytest.approx(gaps.var(ddof=1))
        centred = part - part.mean(1, keepdims=True)
        np.testing.assert_allclose(found.sd.row(row), centred.std(0, ddof=1))
    shifted = ensemble_gaps(members + np.arange(5)[:, None], [[0, 0, 0, 0], [0, 0]])
    np.testing.assert_allclose(shifted.gap_var, found.gap_var)  # members have levels of their own


def test_empty_tables() -> None:
    assert laplace_gaps([], np.empty((0, 2)), np.eye(2)).gap.shape == (0,)
    found = laplace_gaps([[], []], np.empty((0, 2)), np.eye(2))
    assert np.isnan(found.gap_var).all()
    assert len(found.to_frame()) == 2


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="don't fit together"):
        laplace_gaps([[1.0, 2.0]], features(3), covariance())
    with pytest.raises(ValueError, match="negative eigenvalue"):
        laplace_gaps([[1.0, 2.0]], features(2), -covariance())
    with pytest.raises(ValueError, match="two or more models"):
        ensemble_gaps([[1.0, 2.0]], [[0, 0]])
    with pytest.raises(ValueError, match="3 rewards per model for 2 responses"):
        ensemble_gaps(np.ones((2, 3)), [[0, 0]])
    with pytest.raises(InputError, match="rewards must be one list of numbers per row"):
        laplace_gaps([["a"]], features(1), covariance())
