"""SAR, semantic density, LUQ, EigenScore and cosines against their formulas written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity as sklearn_cosine

from statllm.estimators.semantic.clusters import semantic_clusters
from statllm.estimators.semantic.embeddings import cosine_similarity, eigenscore
from statllm.estimators.semantic.pairwise import Pairwise
from statllm.estimators.semantic.relevance import luq, semantic_density, sentence_sar
from statllm.ragged import Ragged

SIZES = [3, 1, 4, 0, 3, 2]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def blocks_of(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.random((k, k)) for k in SIZES]


def rows_of(rng: np.random.Generator, low: float, high: float) -> list[list[float]]:
    return [rng.uniform(low, high, k).tolist() for k in SIZES]


def test_sentence_sar_written_out(rng: np.random.Generator) -> None:
    lps, blocks = rows_of(rng, -30, 0), blocks_of(rng)
    found = sentence_sar(lps, Pairwise.from_blocks(blocks))
    for value, lp, block in zip(found, lps, blocks, strict=True):
        if not lp:
            assert np.isnan(value)
            continue
        p = np.exp(lp)
        terms = [
            -np.log(p[i] + sum(block[i, j] * p[j] for j in range(len(p)) if j != i) / 0.001)
            for i in range(len(p))
        ]
        assert value == pytest.approx(np.mean(terms))
    # Long responses: only differences of log-probabilities matter.
    far = [(np.array(lp) - 2000).tolist() for lp in lps]
    np.testing.assert_allclose(sentence_sar(far, Pairwise.from_blocks(blocks)), found + 2000)


def test_unrelated_responses_have_the_mean_log_probability(rng: np.random.Generator) -> None:
    lps = rows_of(rng, -5, 0)
    apart = Pairwise.from_blocks([np.eye(k) for k in SIZES])
    np.testing.assert_allclose(sentence_sar(lps, apart), -Ragged.from_lists(lps).mean())


def test_semantic_density_written_out(rng: np.random.Generator) -> None:
    lps, blocks = rows_of(rng, -30, 0), blocks_of(rng)
    tokens = [rng.integers(1, 9, k).tolist() for k in SIZES]
    counts = [[1.0] * k for k in SIZES]
    counts[2] = [1.0, 0.0, 1.0, 1.0]
    found = semantic_density(lps, tokens, Pairwise.from_blocks(blocks), counts)
    for number, block in enumerate(blocks):
        similar = (block + block.T) / 2
        np.fill_diagonal(similar, 1.0)
        p = np.exp(np.array(lps[number]) / np.array(tokens[number])) * np.array(counts[number])
        np.testing.assert_allclose(found.row(number), similar @ p / p.sum() if len(p) else [])
    assert (found.values > 0).all()
    assert (found.values <= 1 + 1e-12).all()
    unweighted = semantic_density(lps, tokens, Pairwise.from_blocks(blocks))
    np.testing.assert_allclose(unweighted.row(0), found.row(0))


def test_luq_written_out(rng: np.random.Generator) -> None:
    entail, contra = blocks_of(rng), blocks_of(rng)
    tables = Pairwise.from_blocks(entail), Pairwise.from_blocks(contra)
    for scale, weigh in (("logits", np.exp), ("probabilities", np.asarray)):
        found = luq(*tables, scale)  # type: ignore[arg-type]
        for value, e, c in zip(found, entail, contra, strict=True):
            k = len(e)
            if k < 2:
                assert np.isnan(value)
                continue
            score = weigh(e) / (weigh(e) + weigh(c))
            agreement = (score.sum(axis=1) - score.diagonal()) / (k - 1)
            assert value == pytest.approx(1 - agreement.mean())


def test_eigenscore_written_out(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(sum(SIZES), 6))
    found = eigenscore(vectors, SIZES)
    ends = np.cumsum(SIZES)
    for value, k, end in zip(found, SIZES, ends, strict=True):
        if not k:
            assert np.isnan(value)
            continue
        z = vectors[end - k : end]
        centring = np.eye(6) - np.ones((6, 6)) / 6
        eigenvalues = np.linalg.eigvalsh(z @ centring @ z.T + 0.001 * np.eye(k))
        assert value == pytest.approx(np.log(eigenvalues).mean())


def test_equal_embeddings_have_the_closed_form_of_the_docstring() -> None:
    z = np.array([1.0, -2.0, 1.0])
    for k in (1, 2, 5):
        value = eigenscore(np.tile(z, (k, 1)), [k])[0]
        assert value == pytest.approx(((k - 1) * np.log(0.001) + np.log(0.001 + k * 6.0)) / k)


def test_cosines_equal_sklearn(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(sum(SIZES), 5))
    table = cosine_similarity(vectors, SIZES)
    for number, (k, end) in enumerate(zip(SIZES, np.cumsum(SIZES), strict=True)):
        if k:
            expected = sklearn_cosine(vectors[end - k : end])
            np.testing.assert_allclose(table.block(number), expected, atol=1e-12)
    same = cosine_similarity([[1.0, 0.1], [0.0, 1.0], [3.0, 0.2]], [3])
    assert semantic_clusters(same, threshold=0.9).to_lists() == [[0, 1, 0]]


PAIRS = Pairwise.from_stack(np.ones((1, 2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sentence_sar([[-1.0, np.nan]], PAIRS), "logprobs holds NaN"),
        (lambda: sentence_sar([[-1.0]], PAIRS), "as many values per prompt"),
        (lambda: sentence_sar([[-1.0, -1.0]], PAIRS, 0.0), "temperature must be positive"),
        (lambda: semantic_density([[-1.0, -1.0]], [[1, 0]], PAIRS), "n_tokens must be at least 1"),
        (lambda: luq(PAIRS, PAIRS.with_values(np.full(4, np.nan))), "mustn't be NaN"),
        (lambda: luq(*[PAIRS.with_values(np.zeros(4))] * 2, "probabilities"), "not both 0"),
        (lambda: luq(PAIRS, PAIRS, "odds"), "scale must be"),  # type: ignore[arg-type]
        (lambda: cosine_similarity([[0.0, 0.0]], [1]), "embedding 0 is 0"),
        (lambda: eigenscore([[1.0, np.nan]], [1]), "finite"),
        (lambda: eigenscore([[1.0, 2.0]], [2]), "one row per sample"),
        (lambda: eigenscore([[1.0, 2.0]], [1], 0.0), "alpha must be positive"),
    ],
)
def test_wrong_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
