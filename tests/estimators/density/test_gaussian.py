"""Mahalanobis distances against scipy, scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from statllm.estimators.density.gaussian import (
    ledoit_wolf,
    mahalanobis_distance,
    relative_mahalanobis_distance,
    token_mahalanobis_distance,
)


def rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize(("n", "d"), [(50, 4), (10, 30), (200, 3)])
def test_shrinkage_equals_sklearn(n: int, d: int) -> None:
    x = rows(n, d, n)
    x -= x.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(x)
    expected, weight = sklearn_ledoit_wolf(x, assume_centered=True)
    assert shrinkage == pytest.approx(weight)
    np.testing.assert_allclose(covariance, expected)


@pytest.mark.parametrize("covariance", ["empirical", "lm_polygraph", "ledoit_wolf"])
def test_distances_equal_scipy(covariance: str) -> None:
    train, test = rows(60, 5), rows(20, 5, 1)
    matrix = np.cov(train.T)
    if covariance == "ledoit_wolf":
        matrix = sklearn_ledoit_wolf(train)[0]
    inverse = np.linalg.inv(matrix)
    found = mahalanobis_distance(train, test, covariance, calibration=None)  # type: ignore[arg-type]
    expected = [mahalanobis(x, train.mean(axis=0), inverse) for x in test]
    np.testing.assert_allclose(found.value, expected, rtol=1e-9)
    assert found.p_value is None
    assert (found.n_fit, found.n_calibration) == (60, 0)


def test_turning_and_stretching_the_space_changes_nothing() -> None:
    train, test = rows(60, 4), rows(20, 4, 1)
    turn = np.random.default_rng(5).normal(size=(4, 4))
    a = mahalanobis_distance(train, test, "empirical", calibration=None)
    b = mahalanobis_distance(train @ turn + 3, test @ turn + 3, "empirical", calibration=None)
    np.testing.assert_allclose(a.value, b.value)
    order = np.random.default_rng(6).permutation(60)
    c = mahalanobis_distance(train[order], test, calibration=None)
    d = mahalanobis_distance(train, test, calibration=None)
    np.testing.assert_allclose(c.value, d.value)


def test_classes_take_the_nearest_mean_and_the_spread_within() -> None:
    train = np.concatenate([rows(40, 3), rows(40, 3) + 20])
    labels = np.repeat(["a", "b"], 40)
    test = rows(10, 3, 2) + 20
    found = mahalanobis_distance(train, test, "empirical", labels, calibration=None)
    means = [train[labels == c].mean(axis=0) for c in "ab"]
    within = sum(np.cov(train[labels == c].T) * 39 for c in "ab") / 78
    inverse = np.linalg.inv(within)
    expected = [min(mahalanobis(x, m, inverse) for m in means) for x in test]
    np.testing.assert_allclose(found.value, expected)


def test_p_values_are_uniform_for_data_of_the_same_kind_whatever_its_distribution() -> None:
    rng = np.random.default_rng(0)
    p = [
        mahalanobis_distance(
            rng.standard_t(2, size=(60, 8)), rng.standard_t(2, size=(1, 8)), rng=seed
        ).p_value
        for seed in range(300)
    ]
    flat = np.concatenate(p)  # type: ignore[arg-type]
    assert stats.kstest(flat, "uniform").pvalue > 0.01
    assert np.mean(flat <= 0.1) == pytest.approx(0.1, abs=0.05)
    far = mahalanobis_distance(rng.normal(size=(100, 20)), rng.normal(size=(50, 20)) + 5)
    assert far.p_value is not None
    assert far.p_value.max() < 0.05
    own = mahalanobis_distance(
        rng.normal(size=(50, 2)), rng.normal(size=(5, 2)), calibration=rng.normal(size=(30, 2))
    )
    assert (own.n_fit, own.n_calibration) == (50, 30)


def test_relative_distance() -> None:
    train, background, test = rows(60, 4), rows(80, 4, 3), rows(10, 4, 1)
    near = mahalanobis_distance(train, test, calibration=None).value
    far = mahalanobis_distance(background, test, calibration=None).value
    squared = relative_mahalanobis_distance(train, background, test, calibration=None)
    np.testing.assert_allclose(squared.value, near**2 - far**2)
    plain = relative_mahalanobis_distance(train, background, test, "lm_polygraph", calibration=None)
    np.testing.assert_allclose(plain.value, near - far)
    # The same data twice: nothing is left. And up to a constant it is a likelihood ratio.
    zero = relative_mahalanobis_distance(train, train, test, calibration=None)
    np.testing.assert_allclose(zero.value, 0, atol=1e-9)
    s, b = (sklearn_ledoit_wolf(x)[0] for x in (train, background))
    ratio = stats.multivariate_normal(background.mean(axis=0), b).logpdf(
        test
    ) - stats.multivariate_normal(train.mean(axis=0), s).logpdf(test)
    assert np.ptp(squared.value - 2 * ratio) == pytest.approx(0, abs=1e-6)


def test_tokens_are_averaged_within_responses() -> None:
    train, test = rows(50, 3), rows(9, 3, 1)
    per_token = mahalanobis_distance(train, test, calibration=None).value
    found = token_mahalanobis_distance(train, test, [4, 0, 5])
    np.testing.assert_allclose(found.value, [per_token[:4].mean(), np.nan, per_token[4:].mean()])
    background = rows(50, 3, 9)
    less = mahalanobis_distance(background, test, calibration=None).value
    relative = token_mahalanobis_distance(train, test, [9], background)
    assert relative.value[0] == pytest.approx((per_token - less).mean())
    known = token_mahalanobis_distance(
        train, test, [4, 0, 5], calibration=(rows(30, 3, 4), [10, 20])
    )
    assert known.p_value is not None
    assert np.isnan(known.p_value).tolist() == [False, True, False]
    assert known.n_calibration == 2


def test_wrong_input_is_refused() -> None:
    x = rows(10, 3)
    with pytest.raises(ValueError, match="too few for the covariance"):
        mahalanobis_distance(rows(4, 6), rows(2, 6), "empirical", calibration=None)
    with pytest.raises(ValueError, match="without NaN"):
        mahalanobis_distance(np.full((4, 2), np.nan), x[:, :2])
    with pytest.raises(ValueError, match="test must have shape"):
        mahalanobis_distance(x, x[:, :2])
    with pytest.raises(ValueError, match="no spread"):
        mahalanobis_distance(np.ones((10, 2)), np.ones((1, 2)), calibration=None)
    with pytest.raises(ValueError, match="calibration must be"):
        mahalanobis_distance(x, x, calibration=2.0)
    with pytest.raises(ValueError, match="covariance must be"):
        mahalanobis_distance(x, x, "oas")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_tokens"):
        token_mahalanobis_distance(x, x, [3])
    # Fewer rows than dimensions: shrinkage copes.
    assert np.isfinite(mahalanobis_distance(rows(6, 40), rows(3, 40, 1)).value).all()
