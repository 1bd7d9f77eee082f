"""Three Bricks and permute-and-flip, against PyTorch's own generator and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import digamma

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf._torch_rand import context_seeds
from statllm.estimators.watermark.prf.three_bricks import PermuteFlip, ThreeBricksGumbel
from statllm.ragged import Ragged

V = 3000
LAW = np.array([0.5, 0.25, 0.15, 0.06, 0.04])


def numbers(context: list[int], key: int, start: int) -> np.ndarray:
    """The reference's description, in whole numbers of Python and PyTorch."""
    seed = start
    for token in context:
        seed = (seed * key + token) % (2**64 - 1)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(V, generator=generator).numpy().astype(np.float64)


@pytest.mark.parametrize(
    ("key", "start", "ngram"), [(35317, 0, 1), (35317, 7, 2), (2**32 - 1, 2**64 - 1, 5)]
)
def test_numbers_are_those_of_pytorch(key: int, start: int, ngram: int) -> None:
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, V, n).tolist() for n in (40, 0, 3, 25)]
    tokens = Ragged.from_lists(lists, np.int64)
    gumbel = ThreeBricksGumbel(V, key, start, ngram, payload=11).marks(tokens)
    flip = PermuteFlip(V, key, start, ngram, payload=11).marks(tokens)
    at = 0
    for document, row in enumerate(lists):
        for t in range(ngram, len(row)):
            expected = numbers(row[t - ngram : t], key, start)[(row[t] + 11) % V]
            assert gumbel.values[at] == pytest.approx(max(expected, 2**-25), abs=0)
            assert flip.values[at] == pytest.approx(1 - expected, abs=2**-23)
            assert (gumbel.documents[at], gumbel.positions[at]) == (document, t)
            at += 1
    assert at == len(gumbel.values)


def test_seeds_modulo_the_largest_number() -> None:
    """Seeds that need more than 64 bits on the way, against Python's whole numbers."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 2**32, 400)
    key, start = 4_294_967_291, 2**64 - 2
    found = context_seeds(tokens, np.arange(6, 400), 6, np.uint64(start), np.uint64(key))
    for at in range(6, 400):
        seed = start
        for token in tokens[at - 6 : at].tolist():
            seed = (seed * key + token) % (2**64 - 1)
        assert int(found[at - 6]) == seed & 0xFFFFFFFF


def chosen_by(scheme: ThreeBricksGumbel | PermuteFlip, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens drawn from LAW after n random contexts, and the pivots that they leave."""
    rng = np.random.default_rng(2)
    law = np.concatenate([LAW, np.zeros(V - 5)])
    contexts = rng.integers(0, V, (n, 2))
    tokens = [int(np.argmax(scheme.reweighted(law, context))) for context in contexts]
    texts = Ragged.from_lists(list(np.column_stack([contexts, tokens])), np.int64)
    marks = scheme.marks(texts)
    return np.array(tokens), marks.values[marks.positions == 2]


def test_gumbel_keeps_the_law_and_leaves_the_expected_score() -> None:
    """E[-log(1 - Y)] = sum_w p_w H(1 / p_w), H(x) = digamma(1 + x) + gamma."""
    n = 3000
    tokens, values = chosen_by(ThreeBricksGumbel(V, start=1, ngram=2, payload=3), n)
    assert stats.chisquare(np.bincount(tokens, minlength=5), n * LAW).pvalue > 1e-3
    scores = -np.log1p(-values)
    expected = float(np.sum(LAW * (digamma(1 + 1 / LAW) + np.euler_gamma)))
    assert abs(scores.mean() - expected) < 4 * scores.std() / math.sqrt(n)


def test_permute_and_flip_has_its_law() -> None:
    """Draw tokens in random order, keep one with probability p / max p (McKenna, Sheldon 2020)."""
    from itertools import permutations

    expected = np.zeros(5)
    for order in permutations(range(5)):
        left = 1 / math.factorial(5)
        for token in order:
            kept = LAW[token] / LAW.max()
            expected[token] += left * kept
            left *= 1 - kept
    n = 3000
    tokens, values = chosen_by(PermuteFlip(V, start=1, ngram=2), n)
    assert stats.chisquare(np.bincount(tokens, minlength=5), n * expected).pvalue > 1e-3
    assert -np.log1p(-values).mean() > 1.2


@pytest.mark.parametrize("kind", [ThreeBricksGumbel, PermuteFlip])
def test_written_text_is_found_and_other_text_is_not(kind: type) -> None:
    scheme = kind(V, key=99991, start=5, ngram=2)
    rng = np.random.default_rng(3)
    text = rng.integers(0, V, 2).tolist()
    for _ in range(150):
        weights = np.exp(2.5 * rng.normal(size=V))
        text.append(int(np.argmax(scheme.reweighted(weights / weights.sum(), np.array(text)))))
    tokens = Ragged.from_lists([text], np.int64)
    assert detect(scheme.marks(tokens)).log_p[0] < math.log(1e-9)
    assert detect(kind(V, key=99991, start=6, ngram=2).marks(tokens)).log_p[0] > math.log(1e-3)


def test_pivots_by_chance_are_uniform() -> None:
    rng = np.random.default_rng(4)
    tokens = Ragged.from_lists([rng.integers(0, V, 5000)], np.int64)
    for kind in (ThreeBricksGumbel, PermuteFlip):
        assert stats.kstest(kind(V, start=3, ngram=2).marks(tokens).values, "uniform").pvalue > 1e-3


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="ngram must be at least 1"):
        ThreeBricksGumbel(V, ngram=0)
    with pytest.raises(ValueError, match="payload must lie"):
        PermuteFlip(V, payload=V)
    with pytest.raises(ValueError, match="vocabulary must be at least 2"):
        ThreeBricksGumbel(1)
    with pytest.raises(ValueError, match="2\\^32"):
        ThreeBricksGumbel(V, key=2**32)
    with pytest.raises(ValueError, match="probabilities must have length 3000"):
        ThreeBricksGumbel(V).reweighted(LAW, np.array([1]))
