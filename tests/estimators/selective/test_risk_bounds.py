"""P-values and upper bounds of a risk: MAPIE's values, scipy, definitions, simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.selective.risk_bounds import (
    betting_p_value,
    betting_upper_bound,
    risk_p_value,
    risk_upper_bound,
)

# MAPIE 1.6.0, compute_hoeffding_bentkus_p_value(risk, n, alpha).
MAPIE = [
    (0.02, 100, 0.1, 0.005286744607654358),
    (0.05, 200, 0.1, 0.02193993208590663),
    (0.12, 500, 0.15, 0.0867182805834882),
    (0.3, 1000, 0.33, 0.0624457749144909),
    (0.0, 30, 0.1, 0.04239115827521614),
    (0.0, 29, 0.1, 0.04710128697246238),
    (0.4, 50, 0.3, 1.0),
]


@pytest.mark.parametrize(("risk", "n", "alpha", "expected"), MAPIE)
def test_hoeffding_bentkus_equals_mapie(risk: float, n: int, alpha: float, expected: float) -> None:
    assert risk_p_value(risk, n, alpha) == pytest.approx(expected, rel=1e-12)


def test_binomial_equals_scipy() -> None:
    for n, errors, alpha in [(30, 0, 0.1), (100, 4, 0.1), (1000, 250, 0.3), (5, 5, 0.2)]:
        p = risk_p_value(errors / n, n, alpha, "binomial")
        assert p == pytest.approx(stats.binom.cdf(errors, n, alpha))
        test = stats.binomtest(errors, n, alternative="less")
        limit = risk_upper_bound(errors / n, n, 0.05, "binomial")
        assert limit == pytest.approx(test.proportion_ci(0.95).high)


@pytest.mark.parametrize("method", ["binomial", "hoeffding-bentkus", "hoeffding"])
def test_bound_is_where_the_p_value_crosses_delta(method: str) -> None:
    for n, mean, delta in [(20, 0.0, 0.05), (100, 0.05, 0.1), (500, 0.3, 0.01)]:
        limit = float(risk_upper_bound(mean, n, delta, method))
        assert risk_p_value(mean, n, limit + 1e-9, method) <= delta
        assert risk_p_value(mean, n, limit - 1e-9, method) > delta
    assert risk_upper_bound(1.0, 10, 0.05, method) == pytest.approx(1)


def test_hoeffding_bound_of_no_loss_has_a_closed_form() -> None:
    # (1 - R)^n = delta
    bound = risk_upper_bound(0.0, 50, 0.05, "hoeffding")
    assert bound == pytest.approx(1 - 0.05 ** (1 / 50))


def test_sum_of_floats_is_not_rounded_up_to_the_next_count() -> None:
    mean = float(np.mean([1.0] * 15 + [0.0] * 85))
    assert risk_p_value(mean, 100, 0.3) == pytest.approx(risk_p_value(0.15, 100, 0.3))
    seven = sum([0.1] * 70) / 100  # 7.000000000000001 or so
    assert risk_p_value(seven, 100, 0.1) == pytest.approx(risk_p_value(0.07, 100, 0.1))


def slow_wealth(x: np.ndarray, risk: float, delta: float) -> float:
    """Largest wealth, bet by bet as in the paper."""
    n, wealth, largest = len(x), 1.0, 1.0
    seen: list[float] = []
    squares, variance = 0.0, 0.25
    for i, loss in enumerate(x, start=1):
        stake = min(1.0, np.sqrt(2 * np.log(1 / delta) / (n * variance)))
        wealth *= 1 - stake * (loss - risk)
        largest = max(largest, wealth)
        seen.append(loss)
        squares += (loss - (0.5 + sum(seen)) / (i + 1)) ** 2
        variance = (0.25 + squares) / (i + 1)
    return largest


def test_betting_equals_bets_one_by_one() -> None:
    losses = np.random.default_rng(1).beta(1, 6, 60)
    order = np.random.default_rng(7).permutation(losses)
    for risk in (0.1, 0.15, 0.2, 0.3):
        expected = 1 / slow_wealth(order, risk, 0.05)
        assert betting_p_value(losses, risk, 0.05, rng=7) == pytest.approx(expected)
    bound = betting_upper_bound(losses, 0.05, rng=7)
    assert slow_wealth(order, bound + 1e-6, 0.05) > 20 > slow_wealth(order, bound - 1e-6, 0.05)
    assert bound < risk_upper_bound(losses.mean(), 60)
    assert betting_upper_bound(losses, 0.05, rng=7) == bound


def test_edges() -> None:
    assert risk_p_value(0.0, 0, 0.1) == 1
    assert risk_upper_bound(0.0, 0) == 1
    assert risk_upper_bound(0.0, 0, method="binomial") == 1
    assert risk_p_value(np.nan, 0, 0.1) == 1  # the mean of nothing
    assert betting_upper_bound([]) == 1
    assert betting_p_value([], 0.1) == 1
    with pytest.raises(ValueError, match="mean_loss must lie"):
        risk_p_value(np.nan, 10, 0.1)
    with pytest.raises(ValueError, match="mean_loss must lie"):
        risk_p_value(1.2, 10, 0.1)
    with pytest.raises(ValueError, match="max_risk must lie"):
        risk_p_value(0.2, 10, 1.0)
    with pytest.raises(ValueError, match="0 or 1 for the binomial"):
        risk_p_value(0.25, 10, 0.1, "binomial")
    with pytest.raises(ValueError, match="method must be one of"):
        risk_p_value(0.2, 10, 0.1, "normal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="delta must lie"):
        risk_upper_bound(0.2, 10, 0.0)
    with pytest.raises(ValueError, match="losses must be"):
        betting_upper_bound([0.5, np.nan])


@pytest.mark.parametrize("binary", [True, False])
def test_bounds_hold_as_often_as_they_say(binary: bool) -> None:
    rng = np.random.default_rng(5)
    a, b = 1.0, 5.0
    missed = np.zeros(3)
    for _ in range(500):
        losses = rng.beta(a, b, 60)
        if binary:
            losses = (rng.uniform(size=60) < losses).astype(float)
        bounds = [
            risk_upper_bound(losses.mean(), 60, 0.1),
            betting_upper_bound(losses, 0.1, rng),
            risk_upper_bound(losses.mean(), 60, 0.1, "binomial") if binary else 1.0,
        ]
        missed += np.array(bounds) < a / (a + b)
    assert np.all(missed / 500 <= 0.1 + 2 * np.sqrt(0.09 / 500))
