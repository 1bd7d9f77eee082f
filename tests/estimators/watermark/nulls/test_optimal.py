"""The optimal score and its tail against published values, quadrature and simulation."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from scipy import integrate, optimize

from statllm.estimators.watermark import nulls


@pytest.mark.parametrize(
    ("delta", "golden"),
    [
        (0.1, [-0.255843, -0.074909, 0.319022, 0.648360, 0.693147]),
        (0.2, [-0.575468, -0.101594, 0.488644, 0.671968, 0.693147]),
        (0.7, [-4.274086, -0.515455, 1.005605, 1.346509, 1.386294]),
    ],
)
def test_optimal_score(delta: float, golden: list[float]) -> None:
    found = nulls.optimal_score([0.1, 0.5, 0.9, 0.99, 1.0], delta)
    assert found == pytest.approx(golden, abs=1e-6)
    mass = mpmath.quad(
        lambda y: mpmath.exp(float(nulls.optimal_score(float(y), delta))), [0, 0.5, 1]
    )
    assert float(mass) == pytest.approx(1, abs=1e-6)  # exp(h) is a density


@pytest.mark.parametrize("delta", [0.001, 0.05, 0.3, 0.5])
@pytest.mark.parametrize("n", [5, 50, 400])
def test_optimal_tail_against_simulation(n: int, delta: float) -> None:
    """Plain down to 1 %; far out by importance sampling from the tilted law, built here."""
    rng = np.random.default_rng(n)
    sums = nulls.optimal_score(rng.uniform(size=(30_000, n)), delta).sum(axis=1)
    for p in (0.5, 0.1, 0.01):
        s = float(np.quantile(sums, 1 - p))
        share = float(np.mean(sums >= s))
        error = math.sqrt(share / len(sums))
        found = math.exp(float(nulls.optimal_log_tail(s, n, delta)))
        assert abs(found - share) < 4 * error + 0.01 * share
    # exp(h) is itself a density, so with theta = 1 the weights are exp(-S)
    grid = np.linspace(0, 1, 200_001)[1:-1]
    law = np.exp(nulls.optimal_score(grid, delta))
    draws = rng.choice(grid, size=(5_000, n), p=law / law.sum())
    tilted = nulls.optimal_score(draws, delta).sum(axis=1)
    s = float(np.quantile(tilted, 0.5))
    weights = np.where(tilted >= s, np.exp(-(tilted - s)), 0.0)
    expected = math.log(weights.mean()) - s
    error = float(weights.std() / weights.mean() / math.sqrt(len(weights)))
    assert abs(float(nulls.optimal_log_tail(s, n, delta)) - expected) < 5 * error + 0.01


@pytest.mark.parametrize("delta", [0.001, 0.05, 0.1, 0.3, 0.5, 0.7])
def test_one_pivot_is_exact_and_two_are_by_quadrature(delta: float) -> None:
    y = np.array([0.01, 0.2, 0.5, 0.9, 0.9999, 1 - 1e-6])
    found = nulls.optimal_log_tail(nulls.optimal_score(y, delta), 1, delta)
    np.testing.assert_allclose(np.exp(found), 1 - y, rtol=1e-6)

    def score(y: float) -> float:
        return float(nulls.optimal_score(y, delta))

    def inverse(value: float) -> float:
        if value <= score(1e-300):
            return 0.0
        return float(optimize.brentq(lambda z: score(z) - value, 1e-300, 1.0, xtol=1e-14))

    def partner(y: float, s: float) -> float:
        return 1 - inverse(s - score(y)) if s - score(y) < score(1.0) else 0.0

    for pair in ((0.4, 0.7), (0.95, 0.6), (0.99, 0.98)):
        s = score(pair[0]) + score(pair[1])
        lowest = inverse(s - score(1.0))
        cuts = [lowest + (1 - lowest) * share for share in (0, 1e-4, 1e-2, 0.5, 0.9, 0.99, 1)]
        tail = sum(
            integrate.quad(partner, low, high, (s,), epsrel=1e-7)[0]
            for low, high in itertools.pairwise(cuts)
        )
        assert math.exp(nulls.optimal_log_tail(s, 2, delta)) == pytest.approx(tail, rel=0.01)


def test_short_documents_near_the_largest_sum_have_a_large_enough_p() -> None:
    delta, top = 0.5, math.log(2)  # h = log 2 + log y: the deficit is Gamma(n)
    for n in (1, 2, 3, 10):
        for deficit in (1e-9, 1e-4, 0.01, 0.5):
            found = float(nulls.optimal_log_tail(n * top - deficit, n, delta))
            exact = float(nulls.gamma_log_cdf(deficit, n))
            assert exact - 0.01 <= found <= 0
