"""Bayesian binning against the products of gamma functions, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from statllm.estimators.calibrators import BayesianBinning, Histogram, calibration_report


def by_definition(score: np.ndarray, y: np.ndarray, x: float) -> float:
    """Naeini, Cooper and Hauskrecht 2015, equations 3 to 5, for scores without ties."""
    n, order = len(score), np.argsort(score)
    fewest = max(int(n ** (1 / 3) / 10), 1)
    values, logs = [], []
    for b in range(fewest, int(min(n / 5, 10 * n ** (1 / 3))) + 1):
        # The cuts: the lowest scores up to which a share k / b lies.
        cuts = [score[order[math.ceil(n * k / b - 1e-9) - 1]] for k in range(1, b)]
        ends, log = [0.0, *cuts, 1.0], 0.0
        for k in range(b):
            low = -1.0 if k == 0 else ends[k]
            inside = (score > low) & (score <= ends[k + 1])
            right, count = int(y[inside].sum()), int(inside.sum())
            middle = (ends[k] + ends[k + 1]) / 2
            alpha, beta = 2 / b * middle, 2 / b * (1 - middle)
            log += math.lgamma(2 / b) - math.lgamma(count + 2 / b)
            log += math.lgamma(right + alpha) - math.lgamma(alpha)
            log += math.lgamma(count - right + beta) - math.lgamma(beta)
            if low < x <= ends[k + 1]:
                value = (right + alpha) / (count + 2 / b)
        values.append(value)
        logs.append(log)
    chance = np.exp(np.array(logs) - max(logs))
    return float(chance @ values / chance.sum())


@pytest.mark.parametrize("seed", range(4))
def test_average_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.random(120)
    y = rng.random(120) < score**2
    grid = np.append(rng.random(20), [0.0, 1.0])
    found = BayesianBinning().fit(score, y).predict_proba(grid)[:, 1]
    assert found == pytest.approx([by_definition(score, y, x) for x in grid])


def test_ties_and_order() -> None:
    rng = np.random.default_rng(5)
    score = rng.choice([0.1, 0.4, 0.8, 1.0], 300)
    y = rng.random(300) < score
    model = BayesianBinning().fit(score, y)
    assert model.n_bins_.max() <= 4
    assert model.posterior_.sum() == pytest.approx(1)
    order = rng.permutation(300)
    again = BayesianBinning().fit(score[order], y[order]).predict_proba(score)
    assert again == pytest.approx(model.predict_proba(score))
    few = BayesianBinning().fit([0.2, 0.9], [0, 1]).predict_proba([0.0, 1.0])[:, 1]
    assert few == pytest.approx([0.5, 0.5])  # one bin: (1 + 2 / 2) / (2 + 2)
    with pytest.raises(ValueError, match="probabilities in"):
        BayesianBinning().fit([2.0, 0.1], [1, 0])


def test_it_beats_one_histogram() -> None:
    rng, gains = np.random.default_rng(6), []
    for _ in range(20):
        score, test = rng.beta(5, 2, 500), rng.beta(5, 2, 2000)
        y, answers = rng.random(500) < score**2, rng.random(2000) < test**2
        before = Histogram(50).fit(score, y).predict_proba(test)[:, 1]
        after = BayesianBinning().fit(score, y).predict_proba(test)[:, 1]
        gains.append(calibration_report(before, after, answers).brier_change.value)
    assert np.mean(gains) < -0.002
