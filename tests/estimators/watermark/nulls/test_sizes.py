"""P-values by simulation, and what isn't a number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.nulls.bernoulli_sums import whole_weights


def test_p_values_are_uniform() -> None:
    rng = np.random.default_rng(1)
    y = rng.uniform(size=(20_000, 60))
    p = np.exp(nulls.gamma_log_tail(-np.log1p(-y).sum(axis=1), 60))
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    p = np.exp(nulls.optimal_log_tail(nulls.optimal_score(y, 0.1).sum(axis=1), 60, 0.1))
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    a, b = -np.log1p(-y[:, :30]).sum(axis=1), -np.log1p(-y[:, 30:]).sum(axis=1)
    p = np.exp(nulls.two_gamma_log_tail(0.9 * a[:4000] + 0.1 * b[:4000], 30, (0.9, 0.1)))
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="p must lie"):
        nulls.binomial_log_tail(1, 2, 1.0)
    with pytest.raises(ValueError, match="population"):
        nulls.hypergeometric_log_tail(1, 5, 6, 2)
    with pytest.raises(ValueError, match="pmf"):
        nulls.lattice_log_tail(1, [0.5, 0.6], 2)
    with pytest.raises(ValueError, match="delta"):
        nulls.optimal_score(0.5, 1.0)
    with pytest.raises(ValueError, match="rates"):
        nulls.hypoexponential_log_tail(1.0, [1.0, 0.0])
    with pytest.raises(ValueError, match="weights"):
        nulls.weighted_bernoulli_log_tail(1.0, [-1.0], 0.5)


N_DOCUMENTS = 4_000


def _green(rng: np.random.Generator) -> np.ndarray:
    return nulls.binomial_log_tail(rng.binomial(150, 0.25, N_DOCUMENTS), 150, 0.25)


def _drawn_without_replacement(rng: np.random.Generator) -> np.ndarray:
    greens = rng.hypergeometric(100, 300, 120, N_DOCUMENTS)
    return nulls.hypergeometric_log_tail(greens, 400, 100, 120)


def _bits(rng: np.random.Generator) -> np.ndarray:
    layers = 290 - 9 * np.arange(30)
    bits = rng.integers(0, 2, (N_DOCUMENTS, 40, 30), np.uint8)
    return nulls.weighted_bits_log_tail(bits.sum(axis=1) @ layers, layers, 40)


def _weighted_green(rng: np.random.Generator) -> np.ndarray:
    weights = rng.uniform(0.1, 1, 40)
    whole, _ = whole_weights(weights)
    sums = (rng.uniform(size=(N_DOCUMENTS, 40)) < 0.25) @ whole
    distinct, place = np.unique(sums, return_inverse=True)
    tails = [nulls.weighted_bernoulli_log_tail(s, whole, 0.25) for s in distinct.tolist()]
    return np.array(tails)[place]


def _gumbel(rng: np.random.Generator) -> np.ndarray:
    return nulls.gamma_log_tail(rng.exponential(size=(N_DOCUMENTS, 80)).sum(axis=1), 80)


def _two_keys(rng: np.random.Generator) -> np.ndarray:
    scores = rng.exponential(size=(2, N_DOCUMENTS, 80)).sum(axis=2)
    return nulls.two_gamma_log_tail(0.9 * scores[0] + 0.1 * scores[1], 80, (0.9, 0.1))


def _entropy_weighted(rng: np.random.Generator) -> np.ndarray:
    weights = np.where(rng.uniform(size=50) < 0.1, 1.0, 0.1)  # where TextSeal's fit is 14 x off
    return nulls.hypoexponential_log_tail(
        rng.exponential(size=(N_DOCUMENTS, 50)) @ weights, 1 / weights
    )


def _optimal(rng: np.random.Generator) -> np.ndarray:
    scores = nulls.optimal_score(rng.uniform(size=(N_DOCUMENTS, 80)), 0.02)
    return nulls.optimal_log_tail(scores.sum(axis=1), 80, 0.02)


@pytest.mark.parametrize(
    ("mechanism", "steps"),
    [
        (_green, True),
        (_drawn_without_replacement, True),
        (_bits, False),
        (_weighted_green, False),
        (_gumbel, False),
        (_two_keys, False),
        (_entropy_weighted, False),
        (_optimal, False),
    ],
)
def test_sizes(mechanism: Callable[[np.random.Generator], np.ndarray], steps: bool) -> None:
    """Share of p <= alpha within 4 standard errors of alpha; at most that where p has steps."""
    p = np.exp(mechanism(np.random.default_rng(7)))
    for alpha in (0.01, 0.1):
        share, error = np.mean(p <= alpha), np.sqrt(alpha * (1 - alpha) / N_DOCUMENTS)
        assert share < alpha + 4 * error
        assert steps or share > alpha - 4 * error


@pytest.mark.parametrize(
    "tail",
    [
        lambda x: nulls.binomial_log_tail(x, 5, 0.5),
        lambda x: nulls.hypergeometric_log_tail(x, 10, 4, 3),
        lambda x: nulls.hypergeometric_sum_log_tail(x, 10, 4, [2, 2, 1]),
        lambda x: nulls.poisson_binomial_log_tail(x, [0.5, 0.2]),
        lambda x: nulls.weighted_bernoulli_log_tail(x, [0.5, 0.2], 0.5),
        lambda x: nulls.lattice_log_tail(x, [0.5, 0.5], 5),
        lambda x: nulls.gamma_log_tail(x, 5),
        lambda x: nulls.two_gamma_log_tail(x, 5, (0.9, 0.1)),
        lambda x: nulls.hypoexponential_log_tail(x, [1.0, 2.0]),
        lambda x: nulls.optimal_log_tail(x, 5, 0.1),
    ],
)
def test_what_is_missing_stays_missing(tail: Callable[[float], float]) -> None:
    assert np.isnan(tail(np.nan))
    assert tail(np.inf) == -np.inf
    assert tail(-np.inf) == pytest.approx(0, abs=1e-12)


def test_counts_between_whole_numbers_are_rounded_up() -> None:
    assert nulls.binomial_log_tail(2.5, 5, 0.5) == nulls.binomial_log_tail(3, 5, 0.5)
    assert nulls.hypergeometric_log_tail(1.5, 10, 4, 3) == nulls.hypergeometric_log_tail(
        2, 10, 4, 3
    )
