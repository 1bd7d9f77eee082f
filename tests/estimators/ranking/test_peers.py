"""Against evalica and choix, where they are installed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from statllm.estimators.ranking import Battles, battles, bradley_terry, plackett_luce


def draw(n: int, tie: float) -> tuple[Battles, np.ndarray]:
    rng = np.random.default_rng(0)
    strength = np.linspace(-1, 1, 12)
    i = rng.integers(0, 12, n)
    j = (i + rng.integers(1, 12, n)) % 12
    won = (rng.random(n) < special.expit(strength[i] - strength[j])).astype(float)
    outcome = np.where(rng.random(n) < tie, 0.5, won)
    return battles(i, j, outcome), outcome


def test_evalica_bradley_terry() -> None:
    evalica = pytest.importorskip("evalica")
    data, outcome = draw(3000, 0.2)
    say = {1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}
    theirs = evalica.bradley_terry(
        data.first.tolist(),
        data.second.tolist(),
        [say[value] for value in outcome],
        tolerance=1e-12,
        limit=10_000,
    )
    rating = np.log(theirs.scores.sort_index().to_numpy())
    found = bradley_terry(data, scale=1).rating
    np.testing.assert_allclose(found, rating - rating.mean(), atol=1e-8)


def test_choix_pairs_and_rankings() -> None:
    choix = pytest.importorskip("choix")
    data, outcome = draw(3000, 0.0)
    winner = np.where(outcome == 1, data.first, data.second)
    loser = np.where(outcome == 1, data.second, data.first)
    pairs = list(zip(winner.tolist(), loser.tolist(), strict=True))
    rating = choix.ilsr_pairwise(12, pairs, tol=1e-12)
    found = bradley_terry(data, scale=1).rating
    np.testing.assert_allclose(found, rating - rating.mean(), atol=1e-8)

    rng = np.random.default_rng(1)
    strength = np.linspace(-1, 1, 12)
    rankings = []
    for _ in range(200):
        items = rng.choice(12, 5, replace=False)
        rankings.append(items[np.argsort(-(strength[items] + rng.gumbel(size=5)))].tolist())
    rating = choix.ilsr_rankings(12, rankings, tol=1e-12)
    found = plackett_luce(rankings, scale=1).rating
    np.testing.assert_allclose(found, rating - rating.mean(), atol=1e-8)
