"""Tests of circuits: scipy's binomial test, and sizes under the least favourable null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.circuits import (
    circuit_equivalence,
    circuit_independence,
    circuit_minimality,
    circuit_necessity,
    circuit_sufficiency,
)


def test_sufficiency_is_the_binomial_test() -> None:
    random = np.arange(100) / 100
    for candidate in (0.5, 0.935, 2.0):
        beaten = int(np.sum(random < candidate))
        p = stats.binomtest(beaten, 100, 0.9, alternative="greater").pvalue
        assert circuit_sufficiency(candidate, random).p_value == pytest.approx(p)
        assert circuit_necessity(candidate, random).p_value == pytest.approx(p)


def test_equally_faithful_circuits_don_t_count() -> None:
    assert circuit_sufficiency(1.0, [1.0] * 100).statistic == 0


def test_minimality_is_adjusted_over_edges() -> None:
    random = np.arange(100) / 100
    found = circuit_minimality([0.981, 0.99, 0.3], random)
    raw = [stats.binomtest(k, 100, 0.9, alternative="greater").pvalue for k in (99, 99, 30)]
    np.testing.assert_allclose(np.exp(found.log_p), raw)
    np.testing.assert_allclose(np.exp(found.log_p_adjusted)[:2], 3 * raw[0])
    assert found.needed(0.05).tolist() == [True, True, False]


@pytest.mark.parametrize("n", [30, 101])
@pytest.mark.parametrize("equivalent", [False, True])
def test_equivalence_keeps_its_size_at_the_margin(n: int, equivalent: bool) -> None:
    """Exactly: the p-value of every number of wins, weighted by its probability at the margin."""
    total = dict.fromkeys((0.01, 0.05, 0.2), 0.0)
    for wins in range(n + 1):
        p = circuit_equivalence(
            [1.0] * wins + [0.0] * (n - wins), [0.5] * n, 0.1, equivalent
        ).p_value
        for level in total:
            total[level] += stats.binom.pmf(wins, n, 0.6) * (p <= level)
    for level, size in total.items():
        assert size <= level + 1e-12


def test_both_hypotheses_can_be_rejected() -> None:
    wins = np.random.default_rng(0).random(1000) < 0.5
    same = circuit_equivalence(wins.astype(float), np.full(1000, 0.5), equivalent=True)
    assert same.p_value < 1e-5
    worse = circuit_equivalence(np.zeros(40), np.ones(40))
    assert worse.p_value < 0.01  # a circuit that always loses differs as much as one that wins


def test_independence_keeps_its_size() -> None:
    rng = np.random.default_rng(1)
    rejected = sum(
        circuit_independence(rng.normal(size=30), rng.normal(size=30), 99, rng).p_value <= 0.05
        for _ in range(300)
    )
    assert abs(rejected / 300 - 0.05) < 0.038


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="quantile must lie"):
        circuit_sufficiency(1.0, [0.0], 1.0)
    with pytest.raises(ValueError, match="random is nan at place 0"):
        circuit_sufficiency(1.0, [np.nan])
    with pytest.raises(ValueError, match="margin"):
        circuit_equivalence([1.0], [1.0], 0.5)
