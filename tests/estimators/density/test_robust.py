"""Robust density estimation against scikit-learn's parts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import MinCovDet
from sklearn.decomposition import KernelPCA

from statllm.estimators.density.robust import (
    _best_half,
    minimum_covariance_determinant,
    robust_density,
)


def test_mcd_equals_sklearn() -> None:
    gaps, same = [], 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        good = rng.normal(size=(80, 3)) @ np.array([[1, 0.5, 0], [0, 2, 0], [0, 0, 0.3]])
        x = np.concatenate([good, rng.normal(8, 1, size=(20, 3))])
        expected = MinCovDet(random_state=0).fit(x)
        own = _best_half(x, np.random.default_rng(0))
        theirs = np.flatnonzero(expected.raw_support_)
        volume = [np.linalg.slogdet(np.cov(x[half].T))[1] for half in (own, theirs)]
        gaps.append(volume[0] - volume[1])
        if not np.array_equal(own, theirs):
            continue
        same += 1
        mean, covariance = minimum_covariance_determinant(x)
        np.testing.assert_allclose(mean, expected.location_)
        # Versions of scikit-learn before 1.8 don't scale up: a common factor.
        ratio = covariance / expected.covariance_
        np.testing.assert_allclose(ratio, ratio[0, 0])
    # Both search at random for the smallest volume: ours is no worse, and often the same.
    assert max(gaps) < 0.02
    assert np.mean(gaps) <= 0
    assert same >= 2


def test_outliers_do_not_reach_the_mcd() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=(1600, 2)), np.full((400, 2), 1000.0)])
    mean, covariance = minimum_covariance_determinant(x)
    assert np.abs(mean).max() < 0.1
    np.testing.assert_allclose(covariance, np.eye(2), atol=0.15)  # consistent for normal rows


def test_published_form_equals_sklearns_parts() -> None:
    rng = np.random.default_rng(4)
    train, test = rng.normal(size=(150, 4)), rng.normal(size=(12, 4))
    found = robust_density(train, test, n_components=5, residual=False, calibration=None)
    reduced = KernelPCA(n_components=5, kernel="rbf").fit(train)
    components = reduced.transform(train)
    mean, covariance = minimum_covariance_determinant(components)
    gap = reduced.transform(test) - mean
    expected = np.einsum("ij,jk,ik->i", gap, np.linalg.inv(covariance), gap)
    np.testing.assert_allclose(found.value, expected, rtol=1e-6)
    best = MinCovDet(random_state=0).fit(components)
    theirs = best.mahalanobis(reduced.transform(test))
    assert np.corrcoef(found.value, theirs)[0, 1] > 0.98


def test_far_rows_are_seen_only_with_the_residual() -> None:
    rng = np.random.default_rng(5)
    train = rng.normal(size=(300, 40))
    near, far = rng.normal(size=(100, 40)), 3 * rng.normal(size=(100, 40))
    published = robust_density(train, far, n_components=20, residual=False)
    ours = robust_density(train, np.concatenate([near, far]), n_components=20)
    assert published.p_value is not None
    assert ours.p_value is not None
    assert published.p_value.mean() > 0.3  # nothing to be seen
    assert (ours.p_value[100:] < 0.05).mean() > 0.95
    assert 0.35 < ours.p_value[:100].mean() < 0.65


def test_wrong_input_is_refused() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(ValueError, match="too few for"):
        robust_density(x, x)
    with pytest.raises(ValueError, match="no spread"):
        robust_density(np.ones((30, 3)), x, n_components=2)
    with pytest.raises(ValueError, match="gamma"):
        robust_density(x, x, n_components=2, gamma=0.0)
    with pytest.raises(ValueError, match="n_components"):
        robust_density(x, x, n_components=0)
    with pytest.raises(ValueError, match="too few for 3"):
        minimum_covariance_determinant(x[:3])
