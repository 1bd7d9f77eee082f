"""Graph scores against the published formulas written out, and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm, logm

from statllm.estimators.semantic.graph import (
    degree_uncertainty,
    eccentricity,
    eigenvalue_uncertainty,
    nli_similarity,
)
from statllm.estimators.semantic.kernel_entropy import kernel_language_entropy
from statllm.estimators.semantic.pairwise import Pairwise

SCORES: dict[str, Any] = {
    "eigenvalue": eigenvalue_uncertainty,
    "eccentricity": eccentricity,
    "degree": lambda pairs: degree_uncertainty(pairs).value,
    "kernel": kernel_language_entropy,
}


@pytest.fixture
def blocks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((k, k)) for k in (4, 2, 7, 4, 3, 5, 4)]


def prepared(block: np.ndarray) -> np.ndarray:
    w = (block + block.T) / 2
    np.fill_diagonal(w, 1.0)
    return w


def laplacian(w: np.ndarray) -> np.ndarray:
    root = np.linalg.inv(np.sqrt(np.diag(w.sum(axis=1))))
    return np.eye(len(w)) - root @ w @ root


def test_eigenvalues_written_out(blocks: list[np.ndarray]) -> None:
    found = eigenvalue_uncertainty(Pairwise.from_blocks(blocks))
    expected = [
        np.maximum(0, 1 - np.linalg.eigvals(laplacian(prepared(b))).real).sum() for b in blocks
    ]
    np.testing.assert_allclose(found, expected)


def test_eccentricity_written_out(blocks: list[np.ndarray]) -> None:
    found = eccentricity(Pairwise.from_blocks(blocks))
    for value, block in zip(found, blocks, strict=True):
        values, vectors = np.linalg.eigh(laplacian(prepared(block)))
        kept = vectors[:, values < 0.9]  # a row per sample
        assert value == pytest.approx(np.linalg.norm(kept - kept.mean(axis=0)))


def test_degree_written_out(blocks: list[np.ndarray]) -> None:
    table = Pairwise.from_blocks(blocks)
    for number, block in enumerate(blocks):
        w = prepared(block)
        k = len(w)
        trace = np.trace(k * np.eye(k) - np.diag(w.sum(axis=1)))
        assert degree_uncertainty(table, "lm_polygraph").value[number] == pytest.approx(
            trace / k**2
        )
        assert degree_uncertainty(table, "uq_nlg").value[number] == pytest.approx(
            (1 - w).sum(axis=1).mean()
        )
        pairs = [1 - w[i, j] for i in range(k) for j in range(i)]
        ours = degree_uncertainty(table)
        assert ours.value[number] == pytest.approx(np.mean(pairs))
        if k < 3:
            assert np.isnan(ours.se[number])
            continue
        left_out = []
        for i in range(k):
            rest = np.delete(np.delete(w, i, 0), i, 1)
            left_out.append((1 - rest).sum() / ((k - 1) * (k - 2)))
        assert ours.se[number] == pytest.approx(np.sqrt((k - 1) * np.var(left_out)))


def test_kernel_entropy_written_out(blocks: list[np.ndarray]) -> None:
    table = Pairwise.from_blocks(blocks)
    nats = kernel_language_entropy(table, scale="nats")
    shares = kernel_language_entropy(table, scale="log_k")
    for number, block in enumerate(blocks):
        w = block + block.T
        kernel = expm(-0.3 * (np.diag(w.sum(axis=1)) - w))
        root = np.sqrt(np.diag(kernel))
        kernel = kernel / np.outer(root, root) / len(w)
        expected = -np.trace(kernel @ logm(kernel)).real
        assert nats[number] == pytest.approx(expected, rel=1e-8)
        assert shares[number] == pytest.approx(expected / np.log(len(w)), rel=1e-8)


def test_kernel_entropy_depends_on_the_number_of_samples() -> None:
    def alike(k: int, **options: Any) -> float:
        return float(kernel_language_entropy(Pairwise.from_stack(np.ones((1, k, k))), **options)[0])

    # The authors' code gives 0.42 for five equal answers. In closed form: L has eigenvalue 0
    # once and 2k (k - 1) times.
    assert alike(5, scale="log_k") == pytest.approx(0.42, abs=0.005)
    for k in (2, 5, 10):
        spread = np.exp(-0.3 * 2 * k)
        p = np.array([1.0] + [spread] * (k - 1)) / (1 + (k - 1) * spread)
        assert alike(k, scale="nats") == pytest.approx(-(p * np.log(p)).sum())
        assert alike(k) == pytest.approx(0.0, abs=1e-12)
        apart = Pairwise.from_stack(np.eye(k)[None])
        assert kernel_language_entropy(apart)[0] == pytest.approx(1.0)
        assert kernel_language_entropy(apart, scale="nats")[0] == pytest.approx(np.log(k))


@pytest.mark.parametrize("sizes", [(5,), (3, 3), (4, 1, 2)])
def test_clean_groups_have_closed_forms(sizes: tuple[int, ...]) -> None:
    group = np.repeat(np.arange(len(sizes)), sizes)
    pairs = Pairwise.from_blocks([np.equal.outer(group, group).astype(float)])
    k, m = len(group), len(sizes)
    assert eigenvalue_uncertainty(pairs)[0] == pytest.approx(m)
    # The kept eigenvectors are the groups' indicators: m - Σ sizes/k = m - 1.
    assert eccentricity(pairs)[0] == pytest.approx(np.sqrt(m - 1), abs=1e-7)
    unlike = 1 - sum(s * (s - 1) for s in sizes) / (k * (k - 1))
    assert degree_uncertainty(pairs).value[0] == pytest.approx(unlike)


@pytest.mark.parametrize("name", SCORES)
def test_order_of_samples_and_prompts_is_irrelevant(name: str, blocks: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    score = SCORES[name]
    found = score(Pairwise.from_blocks(blocks))
    orders = [rng.permutation(len(b)) for b in blocks]
    moved = [b[np.ix_(o, o)] for b, o in zip(blocks, orders, strict=True)][::-1]
    np.testing.assert_allclose(score(Pairwise.from_blocks(moved))[::-1], found, atol=1e-10)


@pytest.mark.parametrize("name", SCORES)
def test_missing_never_looks_certain(name: str) -> None:
    broken = np.ones((1, 3, 3))
    broken[0, 0, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        SCORES[name](Pairwise.from_stack(broken))
    with pytest.raises(ValueError, match="between 0 and 1"):
        SCORES[name](Pairwise.from_stack(np.full((1, 2, 2), 1.5)))
    assert np.isnan(SCORES[name](Pairwise(np.empty(0), np.array([0]))))
    # Less similar samples are never less uncertain.
    ladder = Pairwise.from_stack([np.full((4, 4), s) for s in (1.0, 0.7, 0.4, 0.0)])
    assert (np.diff(SCORES[name](ladder)) >= -1e-9).all()


def test_one_sample() -> None:
    one = Pairwise.from_stack(np.ones((1, 1, 1)))
    assert eigenvalue_uncertainty(one)[0] == 1
    assert eccentricity(one)[0] == 0
    assert kernel_language_entropy(one, scale="nats")[0] == pytest.approx(0)
    assert np.isnan(kernel_language_entropy(one)[0])
    assert np.isnan(degree_uncertainty(one).value[0])
    assert degree_uncertainty(one, "lm_polygraph").value[0] == 0


def test_degree_is_unbiased_and_its_error_is_right() -> None:
    # Answers a, b, c with probabilities .5, .3, .2: two differ with probability 0.62.
    p = np.array([0.5, 0.3, 0.2])
    answers = np.random.default_rng(2).choice(3, p=p, size=(4000, 10))
    same = (answers[:, :, None] == answers[:, None, :]).astype(float)
    found = degree_uncertainty(Pairwise.from_stack(same))
    assert found.value.mean() == pytest.approx(1 - (p**2).sum(), abs=0.008)  # 4 standard errors
    # The jackknife variance is biased upwards for U-statistics (Efron and Stein 1981).
    ratio = (found.se**2).mean() / found.value.var(ddof=1)
    assert 1.0 < ratio < 1.6
    short = degree_uncertainty(Pairwise.from_stack(same[:, :3, :3])).value
    assert short.mean() == pytest.approx(1 - (p**2).sum(), abs=0.025)


def test_nli_similarities() -> None:
    logits = np.broadcast_to([0.0, 1.0, 3.0], (1, 2, 2, 3)).copy()
    logits[0, 0, 0] = np.nan  # nobody asks whether a text entails itself
    p = np.exp(np.array([0.0, 1.0, 3.0]) / 3)
    p /= p.sum()
    nli = Pairwise.from_stack(logits)
    options: dict[str, Any] = {"logits": True, "temperature": 3.0}
    for affinity, value in {
        "entailment": p[2],
        "no_contradiction": 1 - p[0],
        "graded": p[2] + p[1] / 2,
    }.items():
        found = nli_similarity(nli, affinity, **options).block(0)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, [[1, value], [value, 1]])
    with pytest.raises(ValueError, match="logits=True"):
        nli_similarity(nli)
    with pytest.raises(ValueError, match="affinity"):
        nli_similarity(nli, "agreement", logits=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NaN"):
        nli_similarity(Pairwise.from_stack(np.full((1, 2, 2, 3), np.nan)))


@pytest.mark.parametrize("name", SCORES)
def test_the_diagonal_is_not_looked_at(name: str, blocks: list[np.ndarray]) -> None:
    clean = SCORES[name](Pairwise.from_blocks(blocks))
    for filler in (0.0, np.nan):
        filled = [np.where(np.eye(len(b), dtype=bool), filler, b) for b in blocks]
        np.testing.assert_array_equal(SCORES[name](Pairwise.from_blocks(filled)), clean)
