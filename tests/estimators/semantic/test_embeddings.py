"""Scores of embeddings against scikit-learn's kernels and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise as sklearn_pairwise

from statllm.estimators.semantic.embeddings import bert_score, predictive_kernel_entropy

KERNELS = {
    "rbf": lambda x: sklearn_pairwise.rbf_kernel(x, gamma=0.7),
    "laplacian": lambda x: sklearn_pairwise.laplacian_kernel(x, gamma=0.7),
    "cosine": sklearn_pairwise.cosine_similarity,
}


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_predictive_kernel_entropy(kernel: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [4, 0, 1, 6]
    vectors = rng.normal(size=(11, 3))
    found = predictive_kernel_entropy(vectors, sizes, kernel, gamma=0.7)  # type: ignore[arg-type]
    for prompt, rows in ((0, vectors[:4]), (3, vectors[5:])):
        k = KERNELS[kernel](rows)
        n = len(rows)
        value = (np.trace(k) - k.sum()) / (n * (n - 1))
        assert found.value[prompt] == pytest.approx(value)
        without = []
        for i in range(n):
            rest = np.delete(np.delete(k, i, 0), i, 1)
            without.append((np.trace(rest) - rest.sum()) / ((n - 1) * (n - 2)))
        assert found.se[prompt] == pytest.approx(np.sqrt((n - 1) * np.var(without)))
    assert np.isnan(found.value[1:3]).all()


def plain_bert_score(a: np.ndarray, b: np.ndarray, wa: np.ndarray, wb: np.ndarray) -> float:
    """Zhang et al. (2020), equations 1 to 3."""
    cosine = sklearn_pairwise.cosine_similarity(a, b)
    recall = wa @ cosine.max(axis=1) / wa.sum()
    precision = wb @ cosine.max(axis=0) / wb.sum()
    return float(2 * recall * precision / (recall + precision))


@pytest.mark.parametrize("weighted", [False, True])
def test_bert_score(weighted: bool) -> None:
    rng = np.random.default_rng(1)
    lengths = [3, 5, 2, 4, 1]
    tokens = rng.normal(1, 1, size=(15, 6))
    weights = rng.uniform(0.5, 2, 15) if weighted else np.ones(15)
    found = bert_score(tokens, lengths, [3, 0, 2], weights if weighted else None)
    cuts = np.cumsum([0, *lengths])
    parts = [slice(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]  # noqa: RUF007
    for prompt, members in ((0, parts[:3]), (2, parts[3:])):
        for i, one in enumerate(members):
            for j, two in enumerate(members):
                expected = plain_bert_score(tokens[one], tokens[two], weights[one], weights[two])
                assert found.block(prompt)[i, j] == pytest.approx(expected)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        bert_score([[1.0]], [1, 0], [2])
    with pytest.raises(ValueError, match="not 0"):
        bert_score([[0.0]], [1], [1])
    with pytest.raises(ValueError, match="one row for each"):
        bert_score([[1.0]], [2], [1])
    with pytest.raises(ValueError, match="kernel must be"):
        predictive_kernel_entropy([[1.0]], [1], "linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gamma"):
        predictive_kernel_entropy([[1.0]], [1], gamma=0.0)
