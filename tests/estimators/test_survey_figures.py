"""Figures that were computed elsewhere for the survey's methods, by simulation or quadrature."""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial

import numpy as np
import pytest
from scipy import integrate, special

from statllm.estimators.entropies import entropy
from statllm.estimators.ppi import ppi_mean
from statllm.estimators.watermark.nulls.optimal import optimal_score

LAW = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])  # of answers; entropy 1.4286 nats


def counts_of(m: int, k: int) -> Iterator[tuple[int, ...]]:
    """All ways to give m votes to k answers."""
    if k == 1:
        yield (m,)
        return
    for first in range(m + 1):
        for rest in counts_of(m - first, k - 1):
            yield (first, *rest)


@pytest.fixture(scope="module")
def eight() -> tuple[np.ndarray, np.ndarray]:
    """Every outcome of 8 votes, and its probability."""
    counts = np.array(list(counts_of(8, len(LAW))))
    log_p = special.gammaln(9) - special.gammaln(counts + 1).sum(1) + counts @ np.log(LAW)
    assert np.exp(log_p).sum() == pytest.approx(1)
    assert factorial(8) == pytest.approx(np.exp(special.gammaln(9)))
    return counts, np.exp(log_p)


@pytest.mark.parametrize(("estimator", "mean"), [("plugin", 1.089), ("miller_madow", 1.255)])
def test_bias_of_entropies_of_eight_votes(
    eight: tuple[np.ndarray, np.ndarray], estimator: str, mean: float
) -> None:
    """Simulated means, here summed over all outcomes; the truth is 1.4286."""
    assert -(LAW * np.log(LAW)).sum() == pytest.approx(1.4286, abs=5e-5)
    counts, p = eight
    found = entropy([row[row > 0].tolist() for row in counts], estimator, se="none").value
    assert p @ found == pytest.approx(mean, abs=4e-3)


def test_how_often_the_mode_of_eight_votes_is_the_true_one(
    eight: tuple[np.ndarray, np.ndarray],
) -> None:
    """.872, where the first answer wins its ties."""
    counts, p = eight
    assert p @ (counts[:, 0] == counts.max(axis=1)) == pytest.approx(0.872, abs=4e-3)


@pytest.mark.parametrize(
    ("delta", "mean", "variance"), [(0.1, -0.028785, 0.053554), (0.2, -0.080695, 0.168276)]
)
def test_null_moments_of_the_optimal_watermark_score(
    delta: float, mean: float, variance: float
) -> None:
    """And the likelihood ratio's own: its mean over the null is 1."""

    def moment(of: object) -> float:
        assert callable(of)
        found, _ = integrate.quad(
            lambda y: float(of(float(optimal_score(np.array([y]), delta)[0]))), 0, 1, limit=400,
            epsabs=1e-9,
        )  # fmt: skip
        return float(found)

    first = moment(lambda h: h)
    assert first == pytest.approx(mean, abs=2e-6)
    assert moment(lambda h: h * h) - first**2 == pytest.approx(variance, abs=5e-6)
    assert moment(np.exp) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("correlation", "width"), [(0.9, 0.159), (0.5, 0.285), (0.0, 0.326)])
def test_width_of_prediction_powered_intervals(correlation: float, width: float) -> None:
    """100 labels, 2,000 predictions, 90 % intervals, simulated with normal quantiles; ours has t's.

    They are wider by t(99) / z = 1.0094, and for the error of lambda.
    """
    rng, found, covered = np.random.default_rng(0), [], 0
    for _ in range(200):
        judged = rng.normal(size=2100)
        noise = rng.normal(size=100)
        true = correlation * judged[:100] + np.sqrt(1 - correlation**2) * noise
        interval = ppi_mean(true, judged[:100], judged[100:]).estimate.interval(0.9)
        found.append(interval.high - interval.low)
        covered += 0.0 in interval
    assert np.mean(found) == pytest.approx(1.0094 * width, rel=0.025)
    assert 0.84 <= covered / 200 <= 0.96
