"""Power of Tr-GoF against closed forms, brute force and figures published beside the test."""

from __future__ import annotations

import math

import numpy as np
import pytest

from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.edited import edited_law
from statllm.estimators.watermark.trgof_power import (
    trgof_critical,
    trgof_power,
    trgof_tokens_needed,
)


def statistics(y: np.ndarray, s: float, cut: float) -> np.ndarray:
    """The statistic of each row, straight from its definition."""
    n = y.shape[1]
    p, u = np.sort(1 - y, axis=1), np.arange(1, n + 1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        if s == 1:
            k = u * np.log(u / p) + np.where(u < 1, (1 - u) * np.log((1 - u) / (1 - p)), 0.0)
        else:
            k = (1 - u**s * p ** (1 - s) - (1 - u) ** s * (1 - p) ** (1 - s)) / (s * (1 - s))
    return np.asarray(n * np.where((p >= cut) & (u >= p), k, 0.0).max(axis=1))


def test_one_pivot() -> None:
    """S = K_2(1, p) = (1 - p) / (2 p) is at least x for p <= 1 / (2 x + 1)."""
    x = trgof_critical(1, 0.04, truncation=0.01)
    assert 1 / (2 * x + 1) == pytest.approx(0.05)  # P(.01 <= p <= .05) = .04
    law = ChosenLaw.least_favourable(0.5)  # P(Y <= y) = y^2
    exact = 0.99**2 - 0.95**2
    assert trgof_power(1, law, 0.04, truncation=0.01) == pytest.approx(exact, rel=1e-7)
    assert trgof_power(1, law, 0.04) == 0.0  # truncated at 1: nothing counts


@pytest.mark.parametrize(
    ("n", "delta", "kept", "s", "alpha"),
    [(20, 0.5, 0.6, 2.0, 0.05), (60, 0.3, 1.0, 1.5, 0.01), (200, 0.2, 0.4, 1.0, 0.01)],
)
def test_against_simulation(n: int, delta: float, kept: float, s: float, alpha: float) -> None:
    """Level and power of 40,000 texts, to 4 standard errors."""
    rng, texts = np.random.default_rng(3), 40_000
    law = edited_law(ChosenLaw.least_favourable(delta), kept)
    critical = trgof_critical(n, alpha, s)
    for pivots, exact in (
        (rng.random((texts, n)), alpha),
        (law.pivots((texts, n), rng), trgof_power(n, law, alpha, s)),
    ):
        share = float(np.mean(statistics(pivots, s, 1 / n) >= critical))
        error = math.sqrt(exact * (1 - exact) / texts)
        assert abs(share - exact) < 4 * error
    assert 0.1 < exact < 0.99  # otherwise it says nothing


def test_by_chance_power_is_the_level() -> None:
    chance = ChosenLaw(np.ones(1), np.ones(1))
    for n, alpha in ((50, 0.05), (300, 1e-6)):
        assert trgof_power(n, chance, alpha) == pytest.approx(alpha, rel=1e-5)


@pytest.mark.parametrize(
    ("largest", "kept", "s", "printed"),
    [
        (0.3, 0.2, 2.0, 0.956),
        (0.3, 0.2, 1.0, 0.929),
        (0.1, 0.5, 2.0, 0.91),
        (0.1, 0.5, 1.0, 0.84),
        (0.1, 0.2, 2.0, 0.40),
        (0.1, 0.2, 1.0, 0.24),
    ],
)
def test_replicated_figures(largest: float, kept: float, s: float, printed: float) -> None:
    """A simulation of 400 tokens at level .01, some 1,000 texts, written apart from ours.

    Delta is uniform from .001; beside the largest probability are 999 equal ones.
    """
    deltas = np.linspace(0.001, largest, 151)
    p = np.concatenate([1 - deltas, deltas / 999])
    masses = np.concatenate([1 - deltas, deltas]) / len(deltas)
    law = edited_law(ChosenLaw(p, masses), kept)
    assert trgof_power(400, law, 0.01, s) == pytest.approx(printed, abs=0.02)


def test_tokens_needed() -> None:
    law = ChosenLaw.least_favourable(0.5)
    needed = trgof_tokens_needed(law, 0.01, 0.9)
    assert trgof_power(needed - 1, law, 0.01) < 0.9 <= trgof_power(needed, law, 0.01)
    y = law.pivots((20_000, needed), 1)
    share = np.mean(statistics(y, 2.0, 1 / needed) >= trgof_critical(needed, 0.01))
    assert share == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 20_000) + 0.01)


def test_bad_numbers_are_named() -> None:
    law = ChosenLaw.least_favourable(0.5)
    with pytest.raises(ValueError, match="n must be at least 1"):
        trgof_power(0, law)
    with pytest.raises(ValueError, match="alpha must lie"):
        trgof_critical(10, 1.0)
    with pytest.raises(ValueError, match="truncation must lie"):
        trgof_power(10, law, 0.05, truncation=2.0)
    with pytest.raises(ValueError, match="s must be above 0"):
        trgof_power(10, law, 0.05, s=0.0)
