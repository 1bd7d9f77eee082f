"""Attention-based scores against plain loops in the papers' notation."""

from __future__ import annotations

import numpy as np
import pytest

from statllm.estimators.likelihood.attention import (
    attention_score,
    contextualised_likelihood,
    focus,
    rauq,
)


def plain_rauq(attention: np.ndarray, logprobs: np.ndarray, alpha: float) -> float:
    scores = []
    for layer in attention:
        back = layer[:, 1:]
        head = int(back.mean(axis=1).argmax()) if back.shape[1] else 0
        c = [np.exp(logprobs[0])]
        for t in range(1, len(logprobs)):
            c.append(alpha * np.exp(logprobs[t]) + (1 - alpha) * layer[head, t] * c[-1])
        scores.append(-np.mean(np.log(c)))
    return float(max(scores))


def test_rauq_equals_the_recursion() -> None:
    rng = np.random.default_rng(0)
    lengths = [5, 1, 9, 3]
    logprobs = [np.log(rng.uniform(0.05, 1, n)) for n in lengths]
    attention = [rng.uniform(0, 1, (3, 4, n)) for n in lengths]
    flat = np.concatenate(attention, axis=2)
    found = rauq(flat, [x.tolist() for x in logprobs], alpha=0.4)
    expected = [plain_rauq(a, x, 0.4) for a, x in zip(attention, logprobs, strict=True)]
    np.testing.assert_allclose(found, expected)
    shifted = rauq(flat, [x.tolist() for x in logprobs], alpha=0.4, offset=1.0)
    np.testing.assert_allclose(shifted, found + 1)
    # α = 1: attention is out of it, and the score is the mean of -ln p.
    np.testing.assert_allclose(
        rauq(flat, [x.tolist() for x in logprobs], alpha=1.0), [-x.mean() for x in logprobs]
    )


def test_rauq_on_odd_input() -> None:
    assert np.isnan(rauq(np.zeros((1, 1, 1)), [[], [-0.5]])[0])
    nan_first = np.full((1, 1, 2), np.nan)
    nan_first[0, 0, 1] = 0.5
    assert np.isfinite(rauq(nan_first, [[-0.5, -0.5]])[0])  # the first token looks at nothing
    with pytest.raises(ValueError, match="between 0 and 1"):
        rauq(np.full((1, 1, 2), 1.5), [[-0.5, -0.5]])
    with pytest.raises(ValueError, match="shape"):
        rauq(np.zeros((1, 1, 3)), [[-0.5, -0.5]])
    with pytest.raises(ValueError, match="alpha"):
        rauq(np.zeros((1, 1, 2)), [[-0.5, -0.5]], alpha=0.0)


def test_attention_score_is_a_log_determinant() -> None:
    rng = np.random.default_rng(1)
    maps = [np.tril(rng.uniform(0.1, 1, (2, n, n))) for n in (4, 6)]
    own = [np.einsum("hii->hi", each) for each in maps]
    found = attention_score(own, "sum")
    expected = [-np.linalg.slogdet(each)[1].mean() for each in maps]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(attention_score(own) * [4, 6], found)
    assert attention_score([]).shape == (0,)
    with pytest.raises(ValueError, match="n_heads"):
        attention_score([[0.5, 0.5]])


def test_csl_is_a_weighted_mean() -> None:
    assert contextualised_likelihood([[-1.0, -2.0]], [[3.0, 1.0]])[0] == pytest.approx(1.25)
    assert np.isnan(contextualised_likelihood([[-1.0]], [[0.0]])[0])


def plain_focus(
    p: np.ndarray, said: np.ndarray, attention: np.ndarray, idf: np.ndarray, key: np.ndarray
) -> list[float]:
    doubt: list[float] = []
    for t in range(len(p)):
        q = np.where(p[t] >= 0.01, p[t], 0) * idf
        q = q / q.sum()
        entropy = -sum(x * np.log2(x) for x in q if x > 0)
        score = -np.log(q[said[t]] + 1e-10) + 2**entropy
        if key[t]:
            paid = attention[t] / (attention[t].sum() + 1e-6)
            score += 0.9 * sum(paid[s] * doubt[s] for s in range(t))
        doubt.append(float(score))
    return doubt


def test_focus_equals_the_loop() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.full(8, 0.5), 6)
    said, key = p.argmax(axis=1), np.array([True, False, True, True, False, True])
    attention = np.tril(rng.uniform(0, 1, (6, 6)))
    idf = rng.uniform(0.5, 3, 8)
    found = focus(np.log(p), said, attention, idf, key)
    np.testing.assert_allclose(found, plain_focus(p, said, attention, idf, key), rtol=1e-9)
    with pytest.raises(ValueError, match="keyword"):
        focus(np.log(p), said, attention, idf, key.astype(int))
