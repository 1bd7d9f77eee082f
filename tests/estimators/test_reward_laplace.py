"""Bradley-Terry on features: statsmodels, brute-force Hessians, evidence, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special

from statllm.estimators.reward_laplace import fit_bradley_terry


def draw(n: int, weights: list[float], seed: int = 0) -> np.ndarray:
    """Differences chosen minus rejected, with the preferences drawn from the model."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(weights)))
    prefers = rng.random(n) < special.expit(x @ weights)
    return np.where(prefers[:, None], x, -x)


def test_without_a_prior_it_is_logistic_regression_without_intercept() -> None:
    import statsmodels.api as sm

    x = draw(400, [1.0, -0.5, 0.2, 0.0])
    sign = np.random.default_rng(1).integers(0, 2, 400)  # which of the two comes first is a coin
    peer = sm.Logit(sign, np.where(sign[:, None] == 1, x, -x)).fit(disp=0, tol=1e-12)
    fit = fit_bradley_terry(x, prior_precision=0)
    np.testing.assert_allclose(fit.weights, peer.params, rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, peer.cov_params(), rtol=1e-5, atol=1e-9)
    assert fit.log_likelihood == pytest.approx(peer.llf, rel=1e-9)
    assert math.isnan(fit.log_evidence)
    gap = np.array([0.3, 1.0, -2.0, 0.5])
    x_var = gap @ peer.cov_params() @ gap
    assert fit.gap_variance(gap)[0] == pytest.approx(x_var, rel=1e-5)


def test_the_covariance_is_the_inverse_hessian_by_differences() -> None:
    x, precision = draw(60, [1.0, -1.0, 0.5]), 0.7
    fit = fit_bradley_terry(x, precision)

    def loss(w: np.ndarray) -> float:
        return float(np.log1p(np.exp(-x @ w)).sum() + precision / 2 * w @ w)

    step, eye = 1e-4, np.eye(3)
    hessian = np.array(
        [
            [
                sum(
                    a * b * loss(fit.weights + step * (a * eye[i] + b * eye[j]))
                    for a in (1, -1)
                    for b in (1, -1)
                )
                / (4 * step**2)
                for j in range(3)
            ]
            for i in range(3)
        ]
    )
    np.testing.assert_allclose(np.linalg.inv(fit.covariance), hessian, rtol=1e-5, atol=1e-5)
    slopes = [(loss(fit.weights + step * e) - loss(fit.weights - step * e)) for e in eye]
    np.testing.assert_allclose(slopes, 0, atol=1e-8)


def test_gap_variance_is_that_of_draws() -> None:
    fit = fit_bradley_terry(draw(80, [1.0, -1.0, 0.5]), 1.0)
    rng = np.random.default_rng(0)
    weights = rng.multivariate_normal(fit.weights, fit.covariance, size=200_000)
    a, b = rng.normal(size=(2, 3))
    rewards = weights @ np.stack([a, b]).T
    drawn = (rewards[:, 0] - rewards[:, 1]).var(ddof=1)
    # The relative standard error of a normal variance is sqrt(2 / n) = 0.3 %.
    assert fit.gap_variance(a - b)[0] == pytest.approx(drawn, rel=0.015)


def test_the_evidence_is_the_integral() -> None:
    x = draw(40, [0.8])
    for precision in (0.1, 1.0, 10.0):
        fit = fit_bradley_terry(x, precision)

        def density(w: float, precision: float = precision) -> float:
            prior = math.sqrt(precision / (2 * math.pi)) * math.exp(-precision * w * w / 2)
            return prior * math.exp(-np.log1p(np.exp(-x[:, 0] * w)).sum())

        exact = math.log(integrate.quad(density, -10, 10, epsabs=0, epsrel=1e-10)[0])
        assert fit.log_evidence == pytest.approx(exact, abs=0.02)


def test_the_prior_has_the_highest_evidence() -> None:
    x = draw(300, [0.5] * 8)
    best = fit_bradley_terry(x)
    for factor in (0.5, 0.9, 1.1, 2.0, 1e3, 1e-3):
        other = fit_bradley_terry(x, best.prior_precision * factor)
        assert best.log_evidence >= other.log_evidence - 1e-3
    # MacKay's fixed point, which takes the information for constant: (d - p tr C) / |w|^2.
    gamma = 8 - best.prior_precision * np.trace(best.covariance)
    assert best.prior_precision == pytest.approx(gamma / (best.weights @ best.weights), rel=0.1)


def test_noise_gets_a_strong_prior() -> None:
    x = np.random.default_rng(3).normal(size=(200, 5))
    assert np.abs(fit_bradley_terry(x).weights).max() < 0.1


def test_separable_and_unidentified_pairs_need_a_prior() -> None:
    x = np.abs(np.random.default_rng(0).normal(size=(30, 2)))
    with pytest.raises(ValueError, match="ordered without error"):
        fit_bradley_terry(x, 0)
    fit = fit_bradley_terry(x)
    assert np.isfinite(fit.covariance).all()
    assert (x @ fit.weights > 0).all()
    noisy = np.concatenate([x, -x[:10]])
    with pytest.raises(ValueError, match="don't identify"):
        fit_bradley_terry(np.concatenate([noisy, noisy], axis=1), 0)


@pytest.mark.parametrize(
    ("x", "prior", "message"),
    [
        ([], None, "pairs x features"),
        ([[np.nan]], None, "finite"),
        ([[1.0]], -1.0, "0 or more"),
        ([[1.0]], np.inf, "0 or more"),
    ],
)
def test_wrong_input(x: list[list[float]], prior: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_bradley_terry(x, prior)


def test_the_variance_is_that_over_data_sets() -> None:
    """800 data sets of one law: the gap's variance over them is the one that each estimates."""
    truth, x = [1.0, -0.5], np.array([1.0, 1.0])
    fits = [fit_bradley_terry(draw(400, truth, seed), 0) for seed in range(800)]
    gaps = np.array([fit.weights @ x for fit in fits])
    claimed = np.array([fit.gap_variance(x)[0] for fit in fits])
    assert claimed.mean() == pytest.approx(gaps.var(ddof=1), rel=0.15)  # 3 standard errors
    inside = np.abs(gaps - np.dot(truth, x)) < 1.96 * np.sqrt(claimed)
    assert inside.mean() == pytest.approx(0.95, abs=0.024)
