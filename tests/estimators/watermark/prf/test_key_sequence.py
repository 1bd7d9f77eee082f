"""Key sequences: the authors' generators, the alignment by brute force, validity and edits."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from statllm.estimators.watermark.prf._alignment import least_cost
from statllm.estimators.watermark.prf.key_sequence import KeySequence

LAW = np.array([0.5, 0.25, 0.15, 0.06, 0.04])


def levenshtein(costs: np.ndarray, gap: float) -> float:
    """The recursion itself on costs of shape (text, key)."""

    @cache
    def best(a: int, b: int) -> float:
        if a == 0 or b == 0:
            return (a + b) * gap
        return min(
            best(a - 1, b) + gap, best(a, b - 1) + gap, best(a - 1, b - 1) + costs[a - 1, b - 1]
        )

    return best(*costs.shape)


@pytest.mark.parametrize("gap", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("block", [1, 4, 9])
def test_alignment_against_brute_force(block: int, gap: float) -> None:
    rng = np.random.default_rng(0)
    n, text = 7, rng.integers(0, 4, 9)
    for costs in (np.log(rng.random((n, 4))), rng.random((n, 4))):
        pieces = [
            costs[(j + np.arange(block)) % n][:, text[i : i + block]].T
            for i in range(len(text) - block + 1)
            for j in range(n)
        ]
        found = least_cost(costs, text, block, gap, True)
        assert found == pytest.approx(min(levenshtein(piece, gap) for piece in pieces), abs=1e-12)
        one_by_one = least_cost(costs, text, block, gap, False)
        assert one_by_one == pytest.approx(min(np.trace(piece) for piece in pieces), abs=1e-12)


def test_exponential_numbers_are_those_of_the_standard_twister() -> None:
    """Row by row; NumPy seeds its old generator in the same way."""
    watermark = KeySequence(100, key=12345, length=30)
    generator = np.random.RandomState(12345)
    raw = generator.randint(0, 2**32, 3000, dtype=np.uint32)
    np.testing.assert_array_equal(watermark._uniforms.ravel(), raw)
    # the published first number of mt19937ar under its own seed
    assert KeySequence(2, key=5489, length=1)._uniforms[0, 0] == 3499211612


def test_transform_numbers_are_those_of_pytorch() -> None:
    generator = torch.Generator().manual_seed(77)
    order = torch.randperm(500, generator=generator).numpy()
    numbers = torch.rand((40, 1), generator=generator).numpy().ravel()
    found = KeySequence(500, key=77, length=40, kind="transform")._transform
    np.testing.assert_array_equal(found[0], order)
    np.testing.assert_array_equal(found[1], numbers.astype(np.float64))


@pytest.mark.parametrize("kind", ["exponential", "transform"])
def test_over_a_sequence_the_law_is_kept(kind: str) -> None:
    watermark = KeySequence(5, key=3, length=4000, kind=kind)  # type: ignore[arg-type]
    tokens = [int(np.argmax(watermark.reweighted(LAW, place))) for place in range(4000)]
    assert stats.chisquare(np.bincount(tokens, minlength=5), 4000 * LAW).pvalue > 1e-3


def written(watermark: KeySequence, n: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    shift = int(rng.integers(watermark.length))
    tokens = []
    for t in range(n):
        weights = np.exp(2 * rng.normal(size=watermark.vocabulary))
        law = watermark.reweighted(weights / weights.sum(), shift + t)
        tokens.append(int(np.argmax(law)))
    return tokens


@pytest.mark.parametrize("kind", ["exponential", "transform"])
def test_written_text_is_found_and_another_key_finds_nothing(kind: str) -> None:
    watermark = KeySequence(300, key=9, length=64, kind=kind)  # type: ignore[arg-type]
    text = written(watermark, 40, 1)
    assert watermark.test(text, runs=199, rng=0).p_value == pytest.approx(1 / 200)
    assert watermark.test(text, runs=199, edits=False, rng=0).p_value == pytest.approx(1 / 200)
    other = KeySequence(300, key=10, length=64, kind=kind)  # type: ignore[arg-type]
    assert other.test(text, runs=199, rng=0).p_value > 0.01


def test_edits_spoil_one_by_one_alignment_alone() -> None:
    """A third of the tokens deleted, in six texts."""
    watermark = KeySequence(300, key=9, length=64)
    with_edits, without = [], []
    for seed in range(6):
        text = [token for t, token in enumerate(written(watermark, 40, seed)) if t % 3 != 2]
        with_edits.append(watermark.test(text, runs=99, rng=0).p_value)
        without.append(watermark.test(text, runs=99, edits=False, rng=0).p_value)
    assert max(with_edits) == pytest.approx(0.01)
    assert np.mean(without) > 0.1


@pytest.mark.parametrize("kind", ["exponential", "transform"])
def test_p_is_valid_by_chance(kind: str) -> None:
    """P(p <= k / 20) = k / 20 exactly where nothing ties: a rank among 20 sequences is uniform."""
    rng = np.random.default_rng(5)
    counts = np.zeros(20, int)
    for key in range(600):
        watermark = KeySequence(50, key=key, length=8, kind=kind)  # type: ignore[arg-type]
        found = watermark.test(rng.integers(0, 50, 10), block=6, runs=19, rng=rng)
        counts[round(found.p_value * 20) - 1] += 1
        assert found.log_p_value == pytest.approx(math.log(found.p_value))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_bad_arguments_are_named() -> None:
    watermark = KeySequence(10, length=5)
    with pytest.raises(ValueError, match="at least one token"):
        watermark.test([])
    with pytest.raises(ValueError, match="block must lie between 1 and the text's 3"):
        watermark.test([1, 2, 3], block=4)
    with pytest.raises(ValueError, match="gap"):
        watermark.test([1], gap=math.nan)
    with pytest.raises(ValueError, match="runs"):
        watermark.test([1], runs=0)
    with pytest.raises(ValueError, match="position 1"):
        watermark.test([1, 10])
    with pytest.raises(ValueError, match="kind"):
        KeySequence(10, kind="both")  # type: ignore[arg-type]
    assert "42" not in repr(KeySequence(10, key=42))
