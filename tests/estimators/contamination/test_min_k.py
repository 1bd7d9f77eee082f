"""Scores of membership against the published formulas, written out per document."""

from __future__ import annotations

import math

import numpy as np
import pytest

from statllm.estimators.contamination import (
    curvature,
    mean_log_p,
    min_k_percent,
    min_k_plus_plus,
    reference_ratio,
    zlib_ratio,
)
from statllm.ragged import Ragged


def laws(seed: int, lengths: list[int]) -> tuple[Ragged, Ragged, Ragged]:
    """Log p of drawn tokens, and the laws' moments, from logits over 30 tokens."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (sum(lengths), 30))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    mean = (p * log_p).sum(axis=1)
    sd = np.sqrt((p * log_p**2).sum(axis=1) - mean**2)
    own = log_p[np.arange(len(p)), rng.integers(0, 30, len(p))]
    return tuple(Ragged.from_lengths(x, lengths) for x in (own, mean, sd))  # type: ignore[return-value]


@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.3, 1.0])
def test_min_k_is_the_published_code_where_that_gives_a_number(ratio: float) -> None:
    log_p, mean, sd = laws(0, [1, 3, 10, 40, 0, 101])
    for i, (x, mu, sigma) in enumerate(
        zip(log_p.to_lists(), mean.to_lists(), sd.to_lists(), strict=True)
    ):
        count = int(len(x) * ratio)
        z = (np.array(x) - mu) / sigma
        published = [np.sort(v)[:count].mean() if count else math.nan for v in (np.array(x), z)]
        ours = [
            (min_k_percent(log_p, ratio, c)[i], min_k_plus_plus(log_p, mean, sd, ratio, c)[i])
            for c in ("published", "at-least-one")
        ]
        assert ours[0] == pytest.approx(published, nan_ok=True)
        if count or not x:
            assert ours[1] == pytest.approx(published, nan_ok=True)
        else:
            assert ours[1] == pytest.approx([min(x), min(z)])


def test_other_scores() -> None:
    log_p, mean, sd = laws(1, [5, 0, 8])
    other, _, _ = laws(2, [5, 0, 8])
    x, r, mu, s = (each.row(2) for each in (log_p, other, mean, sd))
    assert mean_log_p(log_p)[2] == pytest.approx(x.mean())
    assert reference_ratio(log_p, other)[2] == pytest.approx(x.mean() - r.mean())
    assert zlib_ratio(log_p, [9, 8, 40])[2] == pytest.approx(x.mean() / 40)
    published = (x.sum() - mu.sum()) / math.sqrt((s**2).sum())
    assert curvature(log_p, mean, sd)[2] == pytest.approx(published)
    for empty in (mean_log_p(log_p), reference_ratio(log_p, other), curvature(log_p, mean, sd)):
        assert np.isnan(empty[1])


def test_a_law_of_one_token_and_impossible_tokens() -> None:
    of = Ragged.from_lists
    log_p, mean, sd = of([[0.0], [-np.inf], [-1.0]]), of([[0.0], [0.0], [-2.0]]), of([[0.0]] * 3)
    sd = of([[0.0], [0.0], [2.0]])
    assert min_k_plus_plus(log_p, mean, sd).tolist() == [0.0, -np.inf, 0.5]
    assert curvature(log_p, mean, sd).tolist() == [0.0, -np.inf, 0.5]
    assert min_k_percent(of([[-1.0, -np.inf]])).tolist() == [-np.inf]


def test_nan_never_makes_a_document_look_better() -> None:
    of = Ragged.from_lists
    log_p = of([[-1.0, np.nan, -2.0], [-1.0, -2.0, -3.0]])
    ones = of([[1.0] * 3] * 2)
    for score in (
        min_k_percent(log_p),
        min_k_plus_plus(log_p, ones, ones),
        curvature(log_p, ones, ones),
    ):
        assert np.isnan(score).tolist() == [True, False]


def test_bad_input() -> None:
    of = Ragged.from_lists
    one = of([[-1.0]])
    with pytest.raises(ValueError, match="ratio"):
        min_k_percent(one, 0.0)
    with pytest.raises(ValueError, match="count"):
        min_k_percent(one, 0.5, "floor")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sd must have"):
        curvature(one, one, of([[1.0, 2.0]]))
    with pytest.raises(ValueError, match="sd is negative"):
        curvature(one, one, one)
    with pytest.raises(ValueError, match="document 0 has no"):
        zlib_ratio(one, [0])
    with pytest.raises(ValueError, match="1 documents, reference has 2"):
        reference_ratio(one, of([[1.0], [1.0]]))
