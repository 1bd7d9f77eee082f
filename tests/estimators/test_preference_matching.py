"""Optimal policies and the matching divergence: published numbers, brute force, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from statllm.estimators.preference_matching import (
    matching_divergence,
    matching_divergences,
    optimal_policy,
)


@pytest.mark.parametrize(("beta", "share"), [(1.0, 0.51), (0.5, 0.52), (0.1, 0.599), (0.02, 0.881)])
def test_collapse_of_a_preference_of_51_in_100(beta: float, share: float) -> None:
    """Two answers, a uniform reference: RLHF's shares as computed elsewhere."""
    found = optimal_policy([[np.log(0.51), np.log(0.49)]], beta=beta, entropy=0.0)
    assert found[0, 0] == pytest.approx(share, abs=5e-4)


@pytest.mark.parametrize(("beta", "entropy"), [(0.3, 0.0), (0.0, 1.0), (0.2, 0.7)])
def test_no_other_law_has_a_larger_objective(beta: float, entropy: float) -> None:
    rng = np.random.default_rng(0)
    r, ref = rng.normal(size=4), np.log(rng.dirichlet(np.ones(4)))

    def lost(logits: np.ndarray) -> float:
        log_pi = special.log_softmax(logits)
        gain = r - entropy * log_pi - beta * (log_pi - ref)
        return -float(np.exp(log_pi) @ gain)

    best = optimize.minimize(lost, np.zeros(4), tol=1e-12).x
    found = optimal_policy([r], [ref], beta, entropy)[0]
    assert found == pytest.approx(special.softmax(best), abs=1e-5)


def test_matching_is_the_raters_own_law() -> None:
    """softmax(r): any two responses have the odds with which raters prefer one to the other."""
    r = np.random.default_rng(1).normal(size=(5, 3))
    found = optimal_policy(r, reference_logps=-3 * r)  # of no influence where beta is 0
    odds = found[:, 0] / found[:, 1]
    assert odds == pytest.approx(np.exp(r[:, 0] - r[:, 1]))
    assert matching_divergences(r, np.log(found)) == pytest.approx(np.zeros(5), abs=1e-12)


def test_divergence_against_a_sum_written_out() -> None:
    rng = np.random.default_rng(2)
    r, logps = rng.normal(size=(6, 4)), rng.normal(size=(6, 4)) - 30.0
    expected = []
    for row, policy in zip(r, logps, strict=True):
        p, q = special.softmax(row), special.softmax(policy)
        expected.append(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))
    assert matching_divergences(r, logps) == pytest.approx(expected)
    whole = matching_divergence(r, logps)
    assert whole.value == pytest.approx(np.mean(expected))
    assert whole.se == pytest.approx(np.std(expected, ddof=1) / np.sqrt(6))
    twice = matching_divergence(np.repeat(r, 2, 0), np.repeat(logps, 2, 0), np.arange(12) // 2)
    assert twice.se == pytest.approx(whole.se)
    shifted = matching_divergences(r + 5, logps - 900.0)
    assert shifted == pytest.approx(expected)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="rewards is nan in row 1, column 0"):
        optimal_policy([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="rewards must have a row per prompt"):
        optimal_policy([0.0, 1.0])
    with pytest.raises(ValueError, match="reference_logps has shape"):
        optimal_policy([[0.0, 1.0]], [[0.0, 1.0, 2.0]])
    with pytest.raises(ValueError, match="beta must be at least 0"):
        optimal_policy([[0.0, 1.0]], beta=-1.0)
    with pytest.raises(ValueError, match="both 0"):
        optimal_policy([[0.0, 1.0]], beta=0.0, entropy=0.0)
    with pytest.raises(ValueError, match="logps is -inf in row 0, column 1"):
        matching_divergence([[0.0, 1.0]], [[0.0, -np.inf]])
