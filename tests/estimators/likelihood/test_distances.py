"""Scores of whole distributions against closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.likelihood.distances import (
    boosted_probability,
    fisher_rao,
    semantic_token_entropy,
    tsallis_entropy,
)
from statllm.estimators.likelihood.predictive_entropy import predictive_entropy, sequence_tsallis
from statllm.estimators.likelihood.token_entropy import token_entropy


def random_rows(n: int, vocabulary: int, seed: int = 0) -> np.ndarray:
    return np.log(np.random.default_rng(seed).dirichlet(np.full(vocabulary, 0.4), n))


def test_fisher_rao_is_an_angle_between_square_roots() -> None:
    table = random_rows(50, 7)
    for row, found in zip(np.exp(table), fisher_rao(table), strict=True):
        angle = np.arccos(np.sqrt(row) @ np.full(7, np.sqrt(1 / 7)))
        assert found == pytest.approx(2 * angle / np.pi)
    # Uniform: 0. One token: arccos(V^-1/2). Larger where one is surer, so it's a confidence.
    v = 9
    certain = np.where(np.eye(v)[0] == 1, 0.0, -np.inf)
    assert fisher_rao([certain])[0] == pytest.approx(2 / np.pi * np.arccos(v**-0.5))
    assert fisher_rao(np.log(np.full((1, v), 1 / v)))[0] == pytest.approx(0, abs=1e-7)
    sharper = [fisher_rao(table, temperature=t).mean() for t in (0.5, 1.0, 2.0)]
    assert sharper[0] > sharper[1] > sharper[2]


def test_tsallis_has_its_known_members() -> None:
    table = random_rows(20, 6)
    p = np.exp(table)
    np.testing.assert_allclose(tsallis_entropy(table, 2.0), 1 - (p**2).sum(axis=1))
    np.testing.assert_allclose(tsallis_entropy(table, 1.0), stats.entropy(p, axis=1))
    np.testing.assert_allclose(
        tsallis_entropy(table, 1 + 1e-7), tsallis_entropy(table, 1.0), rtol=1e-5
    )
    certain = [[0.0, -np.inf]]
    assert tsallis_entropy(certain, 0.5)[0] == 0
    with pytest.raises(ValueError, match="q must be positive"):
        tsallis_entropy(certain, 0.0)


def test_semantic_token_entropy_merges_classes() -> None:
    table = random_rows(30, 8)
    classes = np.array([2, 0, 1, 1, 0, 2, 2, 0])
    for row, found in zip(np.exp(table), semantic_token_entropy(table, classes), strict=True):
        merged = [row[classes == c].sum() for c in range(3)]
        assert found == pytest.approx(stats.entropy(merged))
    np.testing.assert_allclose(
        semantic_token_entropy(table, classes, "lm_polygraph") * 3,
        semantic_token_entropy(table, classes),
    )
    np.testing.assert_allclose(semantic_token_entropy(table, np.arange(8)), token_entropy(table))
    with pytest.raises(ValueError, match="classes"):
        semantic_token_entropy(table, [0, 1])


def plain_boosted(p: np.ndarray, said: int, jump: float = 0.3, floor: float = 0.005) -> float:
    order = np.argsort(-p, kind="stable")
    cut = -1
    for k in range(len(p) - 1):
        drop = p[order[k]] - p[order[k + 1]]
        if drop > jump * p[order[k]] and drop > floor:
            cut = k
    dominant = set(order[: cut + 1].tolist())
    return float(p[list(dominant)].sum() if said in dominant else p[said])


def test_boosted_probability_equals_the_loop() -> None:
    rng = np.random.default_rng(3)
    table = random_rows(300, 12, 4)
    table[:50] = np.log(rng.multinomial(20, np.full(12, 1 / 12), 50) / 20 + 1e-12)
    table -= np.logaddexp.reduce(table, axis=1)[:, None]
    said = rng.integers(0, 12, 300)
    expected = [plain_boosted(p, s) for p, s in zip(np.exp(table), said, strict=True)]
    np.testing.assert_allclose(boosted_probability(table, said), expected)
    assert boosted_probability(np.log([[0.25] * 4]), [2])[0] == 0.25  # no drop: its own
    with pytest.raises(ValueError, match="tokens must hold"):
        boosted_probability(table[:1], [12])


def test_sequence_tsallis_is_unbiased_for_the_chance_that_two_answers_differ() -> None:
    rng = np.random.default_rng(1)
    p = np.array([0.5, 0.2, 0.2, 0.1])
    draws = rng.choice(4, (4000, 6), p=p)
    found = sequence_tsallis(np.log(p)[draws].tolist())
    truth = 1 - (p**2).sum()
    assert found.entropy.mean() == pytest.approx(truth, abs=0.005)
    assert np.sqrt((found.se**2).mean()) == pytest.approx(found.entropy.std(), rel=0.05)
    near = sequence_tsallis(np.log(p)[draws].tolist(), q=1 + 1e-6)
    shannon = predictive_entropy(np.log(p)[draws].tolist())
    np.testing.assert_allclose(near.entropy, shannon.entropy, rtol=1e-4)
    with pytest.raises(ValueError, match="q must be above 1"):
        sequence_tsallis([[-1.0]], q=1.0)


def test_nan_stays_with_its_token() -> None:
    table = np.log([[0.5, 0.5], [0.5, 0.5]])
    table[0, 0] = np.nan
    for score in (fisher_rao(table), tsallis_entropy(table), boosted_probability(table, [0, 0])):
        assert np.isnan(score).tolist() == [True, False]
