"""Tails of sums of exponential scores against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

from statllm.estimators.watermark import nulls


@pytest.mark.parametrize("shape", [1, 3.5, 200, 5000])
def test_gamma_against_mpmath(shape: float) -> None:
    values = shape * np.array([0.01, 0.3, 0.9, 1.0, 1.3, 3.0, 8.0])
    upper, lower = nulls.gamma_log_tail(values, shape), nulls.gamma_log_cdf(values, shape)
    with mpmath.workdps(50):
        for value, high, low in zip(values, upper, lower, strict=True):
            q = mpmath.gammainc(shape, value, mpmath.inf, regularized=True)
            p = mpmath.gammainc(shape, 0, value, regularized=True)
            assert high == pytest.approx(float(mpmath.log(q)), rel=1e-10, abs=1e-15)
            assert low == pytest.approx(float(mpmath.log(p)), rel=1e-10, abs=1e-15)


def test_published_gamma_thresholds() -> None:
    assert np.exp(nulls.gamma_log_tail([223.816, 234.362], 200)) == pytest.approx(
        [0.05, 0.01], abs=1e-5
    )
    assert np.exp(nulls.gamma_log_cdf([177.320, 168.578], 200)) == pytest.approx(
        [0.05, 0.01], abs=1e-5
    )


@pytest.mark.parametrize("n", [1, 5, 50, 200])
def test_two_gammas_against_mpmath(n: int) -> None:
    a, b = 0.9, 0.1
    values = n * np.array([0.3, 1.0, 1.5, 3.0, 6.0])
    found = nulls.two_gamma_log_tail(values, n, (a, b))
    with mpmath.workdps(40):
        # residues of exp(-x t) / ((1 - a t)^n (1 - b t)^n t): a finite sum (Amari, Misra 1997)
        for value, log_p in zip(values, found, strict=True):
            tail = mpmath.mpf(0)
            for scale, other in ((mpmath.mpf(a), mpmath.mpf(b)), (mpmath.mpf(b), mpmath.mpf(a))):
                ratio = scale / (scale - other)
                for k in range(n):
                    weight = ratio**n * (-other / (scale - other)) ** k
                    weight *= mpmath.binomial(n + k - 1, k)
                    tail += weight * mpmath.gammainc(
                        n - k, mpmath.mpf(float(value)) / scale, mpmath.inf, regularized=True
                    )
            assert log_p == pytest.approx(float(mpmath.log(tail)), rel=1e-8, abs=1e-9)


def test_hypoexponential_against_partial_fractions() -> None:
    rates = [mpmath.mpf(r) for r in ("0.7", "1", "1.9", "4.2")]
    for value in (0.5, 3.0, 40.0, 900.0):
        with mpmath.workdps(60):
            tail = mpmath.fsum(
                mpmath.fprod(r / (r - rate) for r in rates if r != rate) * mpmath.exp(-rate * value)
                for rate in rates
            )
            expected = float(mpmath.log(tail))
        found = nulls.hypoexponential_log_tail(value, [float(r) for r in rates])
        assert found == pytest.approx(expected, rel=1e-9)
    equal = nulls.hypoexponential_log_tail(90.0, np.ones(30))
    assert equal == pytest.approx(float(nulls.gamma_log_tail(90.0, 30)), rel=1e-9)


@pytest.mark.parametrize(("n", "decades"), [(4, 1.0), (60, 3.0), (10, 8.0), (150, 2.0)])
def test_hypoexponential_rates_of_many_sizes(n: int, decades: float) -> None:
    weights = 10 ** np.random.default_rng(n).uniform(-decades, 0, n)
    statistics = weights.sum() * np.array([0.05, 0.5, 1.0, 2.0, 10.0, 80.0])
    found = nulls.hypoexponential_log_tail(statistics, 1 / weights)
    with mpmath.workdps(400):
        rates = [1 / mpmath.mpf(w) for w in weights]
        factors = [mpmath.fprod(r / (r - rate) for r in rates if r != rate) for rate in rates]
        for statistic, value in zip(statistics, found, strict=True):
            tail = mpmath.fsum(
                factor * mpmath.exp(-rate * mpmath.mpf(statistic))
                for factor, rate in zip(factors, rates, strict=True)
            )
            assert value == pytest.approx(float(mpmath.log(tail)), rel=1e-10)


def test_two_gammas_of_a_broken_shape_against_quadrature() -> None:
    a, b, shape = 0.8, 0.3, 2.5
    for statistic in (0.2, 2.0, 9.0, 40.0):

        def integrand(x: float, s: float = statistic) -> float:
            return float(stats.gamma.pdf(x, shape) * stats.gamma.sf((s - a * x) / b, shape))

        expected = integrate.quad(integrand, 0, statistic / a, epsabs=0, epsrel=1e-11)[0]
        expected += float(stats.gamma.sf(statistic / a, shape))
        found = nulls.two_gamma_log_tail(statistic, shape, (a, b))
        assert found == pytest.approx(np.log(expected), rel=1e-9)


def test_extreme_statistics_of_exponential_scores() -> None:
    # the larger weight alone decides far out: P = exp(-s / a) a / (a - b) for one score each
    found = nulls.two_gamma_log_tail([1e-300, 1e-12, 1e12, 1e300], 1, (0.9, 0.1))
    expected = [0.0, -1e-24 / (2 * 0.9 * 0.1), -1e12 / 0.9, -1e300 / 0.9]
    assert found == pytest.approx(expected, rel=1e-10)
    tiny = nulls.two_gamma_log_tail([0.5, 3.0, 30.0], 3, (1.0, 1e-12))
    assert tiny == pytest.approx(nulls.gamma_log_tail([0.5, 3.0, 30.0], 3), rel=1e-10)
