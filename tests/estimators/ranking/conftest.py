"""Battles to fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from statllm.estimators.ranking import Battles, battles


def _simulate(
    rng: np.random.Generator, n: int, k: int = 5, tie: float = 0.2, groups: int = 20, q: int = 0
) -> Battles:
    """Battles of k models, a share of them ties, in groups, with q style covariates."""
    strength = np.linspace(-0.8, 0.8, k)
    i = rng.integers(0, k, n)
    j = (i + rng.integers(1, k, n)) % k
    z = rng.normal(size=(n, q))
    win = rng.random(n) < special.expit(strength[i] - strength[j] + z @ np.full(q, 0.4))
    outcome = np.where(rng.random(n) < tie, 0.5, win.astype(float))
    clusters = rng.integers(0, groups, n)
    return battles(i, j, outcome, clusters=clusters, style=z if q else None)


@pytest.fixture
def simulate() -> Callable[..., Battles]:
    """Draw battles."""
    return _simulate
