"""The Gumbel-max watermarks of vLLM and SGLang, against their own detectors and closed forms."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.utils import murmurhash3_32

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Scheme
from statllm.estimators.watermark.prf._murmur import _context_hash
from statllm.estimators.watermark.prf._philox import philox_word
from statllm.estimators.watermark.prf.sglang_gumbel import SglangGumbel
from statllm.estimators.watermark.prf.vllm_gumbel import VllmDualGumbel, VllmGumbel
from statllm.ragged import Ragged

REFERENCES = json.loads(
    (Path(__file__).parents[3] / "references" / "watermark_gumbel.json").read_text()
)
TOKENS = Ragged.from_lists(REFERENCES["tokens"], np.int64)
SCHEMES = {
    "vllm": lambda key, other, width: VllmGumbel(key, width),
    "vllm_dual": lambda key, other, width: VllmDualGumbel(key, width, alpha=0.2),
    "sglang": lambda key, other, width: SglangGumbel(key, context_width=width),
    "sglang_dual": lambda key, other, width: SglangGumbel(key, other, 0.3, width),
}


@pytest.mark.parametrize("case", REFERENCES["cases"], ids=lambda case: case["key"])
@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_scores_are_those_of_the_engines_detectors(name: str, case: dict) -> None:  # type: ignore[type-arg]
    key, other, width = int(case["key"], 16), int(case["key_b"], 16), case["context_width"]
    found = detect(SCHEMES[name](key, other, width).marks(TOKENS))
    for document, (n, score, *p) in enumerate(case[name]):
        assert found.n_scored[document] == n
        if n == 0:
            continue
        assert found.statistic[document] == pytest.approx(score, rel=1e-14)
        if name == "vllm":
            assert math.exp(found.log_p[document]) == pytest.approx(p[0], rel=1e-12)
        elif p:  # SGLang's log p; near p = 1 its sum of terms loses digits
            assert found.log_p[document] == pytest.approx(p[0], rel=1e-9, abs=1e-12)


def test_philox_against_its_authors_vectors() -> None:
    """Known answers of Random123 (Salmon et al.), kat_vectors, philox4x32 10."""
    ones = 0xFFFFFFFF
    for counter, key, expected in (
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 4, (ones,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ):
        words = [np.uint64(word) for word in (*counter, *key)]
        assert tuple(int(philox_word(*words, np.uint64(i))) for i in range(4)) == expected


def test_murmur_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 4, 9):
        tokens = rng.integers(0, 2**32, n)
        expected = murmurhash3_32(tokens.astype("<u4").tobytes(), seed=0, positive=True)
        assert int(_context_hash(tokens, 0, n)) == int(expected)


def schemes() -> list[Scheme]:
    return [
        VllmGumbel(key=5),
        VllmDualGumbel(key=5),
        SglangGumbel(key=5),
        SglangGumbel(key=5, key_b=6),
    ]


@pytest.mark.parametrize("scheme", schemes(), ids=["vllm", "vllm-dual", "sglang", "sglang-dual"])
def test_pivots_are_uniform_and_independent_of_their_neighbours(scheme: Scheme) -> None:
    """Token ids that only count up are the hardest for a hash; 200,000 of them."""
    tokens = Ragged.from_lists([np.arange(200_000)], np.int64)
    values = scheme.marks(tokens).values
    columns = values.reshape(len(values), -1).T
    for column in columns:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
        for lag in (1, 2, 4, 8):
            # a correlation of independent values has standard deviation n^(-1/2)
            assert abs(np.corrcoef(column[lag:], column[:-lag])[0, 1]) < 4 / len(column) ** 0.5
    if len(columns) == 2:
        assert abs(np.corrcoef(*columns)[0, 1]) < 4 / len(values) ** 0.5


LAW = np.array([0.5, 0.25, 0.15, 0.06, 0.04])


def written(scheme: Scheme, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens drawn from LAW after n random contexts, and the marks that they leave."""
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, 50_000, (n, 4))
    chosen = np.empty(n, np.int64)
    for i, context in enumerate(contexts):
        chosen[i] = rng.choice(len(LAW), p=scheme.reweighted(LAW, context))
    texts = Ragged.from_lists(list(np.column_stack([contexts, chosen])), np.int64)
    marks = scheme.marks(texts)
    return chosen, marks.values[marks.positions == 4]


@pytest.mark.parametrize("scheme", schemes(), ids=["vllm", "vllm-dual", "sglang", "sglang-dual"])
def test_writing_keeps_the_law_and_leaves_the_expected_score(scheme: Scheme) -> None:
    """E[-log(1 - Y)] = sum_w p_w H(1 / p_w), H the harmonic numbers (digamma(1 + 1 / p) + gamma).

    Where key B was used, key A's score is that of chance, 1.
    """
    n = 4000
    chosen, values = written(scheme, n, 1)
    assert stats.chisquare(np.bincount(chosen, minlength=5), n * LAW).pvalue > 1e-3
    from scipy.special import digamma

    full = float(np.sum(LAW * (digamma(1 + 1 / LAW) + np.euler_gamma)))
    columns = -np.log1p(-values.reshape(n, -1).T)
    shares = (1.0,) if len(columns) == 1 else (0.9, 0.1)
    for column, share in zip(columns, shares, strict=True):
        expected = share * full + (1 - share)
        assert abs(column.mean() - expected) < 4 * column.std() / math.sqrt(n)


@pytest.mark.parametrize("scheme", [VllmGumbel(5, 6), SglangGumbel(5, 6, context_width=2)])
def test_what_is_written_is_what_is_read(scheme: Scheme) -> None:
    """With equal probabilities the chosen token has the largest number, also near the start."""
    rng = np.random.default_rng(7)
    for n in range(10):
        prefix = rng.integers(0, 40, n)
        token = int(np.argmax(scheme.reweighted(np.full(40, 1 / 40), prefix)))
        texts = Ragged.from_lists([[*prefix, other] for other in range(40)], np.int64)
        marks = scheme.marks(texts)
        last = marks.values[marks.positions == n]
        if len(last):  # SGLang's first contexts are partly the prompt's, which isn't given
            assert int(np.argmax(last)) == token
            assert len(last) == 40


def test_sglang_leaves_a_token_without_context_alone() -> None:
    np.testing.assert_array_equal(SglangGumbel(key=5).reweighted(LAW, np.zeros(0, np.int64)), LAW)


def test_dual_p_is_exact() -> None:
    """vLLM's own approximation errs by a third at 1e-6; ours against simulated sums at 1e-3."""
    scheme = VllmDualGumbel(key=9, alpha=0.3)
    rng = np.random.default_rng(4)
    texts = Ragged.from_lengths(rng.integers(0, 100_000, 8 * 8000), [8] * 8000)
    p = np.exp(detect(scheme.marks(texts)).log_p)
    for alpha in (0.5, 0.1, 0.01, 0.001):
        error = math.sqrt(alpha * (1 - alpha) / len(p))
        assert abs(np.mean(p <= alpha) - alpha) < 4 * error


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="context_width must be at least 1"):
        VllmGumbel(key=1, context_width=0)
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        VllmDualGumbel(key=1, alpha=1.0)
    with pytest.raises(ValueError, match="mixing_probability"):
        SglangGumbel(key=1, key_b=2, mixing_probability=0.0)
    with pytest.raises(ValueError, match="context_width must lie between 1 and 64"):
        SglangGumbel(key=1, context_width=65)
    with pytest.raises(ValueError, match="position 1 of document 0"):
        VllmGumbel(key=1).marks(Ragged.from_lists([[1, -1]], np.int64))
