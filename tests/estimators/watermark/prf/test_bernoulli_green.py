"""Green tokens by their own coins, against vLLM's code, PyTorch's arithmetic and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Scheme
from statllm.estimators.watermark.prf._sbw import jenkins
from statllm.estimators.watermark.prf.bernoulli_green import Sbw, VllmRedGreen
from statllm.ragged import Ragged

TOKENS = [
    127593, 95544, 76670, 40468, 46174, 6146, 11286, 2479, 26290, 121990, 97412, 136913, 75544,
    90995, 145611, 109424, 94840, 81543, 83987, 140260, 41602, 122378, 100631, 410, 59122, 128610,
    83147, 5037, 114733, 109448, 126986, 26348, 13393, 129476, 3315, 81219, 12059, 44956, 72159,
    63403, 60485, 4247, 802, 18642, 1242, 100593, 78842, 97078,
]  # fmt: skip
#: vLLM's scoring functions of SBW (commit caaac7c; left-hash by its generator's seeds), share .4.
SBW = [
    (42, 4, "selfhash", "111000011001000100000111000000011101011001000101"),
    (42, 1, "selfhash", "110000110000000001011101000010011110010111000101"),
    (42, 1, "lefthash", "000110101000010000001001001110100101101110010001"),
    (42, 3, "lefthash", "100001110000111100100110100010011110110000011011"),
    (2**64 - 59, 4, "selfhash", "010000010000100110011101111010100110011000010100"),
    (2**64 - 59, 1, "selfhash", "010000110111100010000101011110001110101010010111"),
    (2**64 - 59, 1, "lefthash", "100010110000110001110101100000001100100101001000"),
    (2**64 - 59, 3, "lefthash", "111001001101110000010010110001010000000000001010"),
]
#: PhiloxPRF of vLLM 0.33, its numbers below the share as its red-green watermark compares them.
RED_GREEN = [
    (42, 4, 0.25, "111000001000000000100000111100001001001000000010"),
    (2**64 - 59, 6, 0.3, "100000110111000000001000000100001000101101100000"),
    (7, 1, 0.7, "011110111110011110111111111110110101111111010001"),
]


def colours(scheme: Scheme, tokens: list[int]) -> str:
    values = scheme.marks(Ragged.from_lists([tokens], np.int64)).values
    return "".join(map(str, values))


@pytest.mark.parametrize(("key", "width", "seeding", "expected"), SBW)
def test_sbw_is_that_of_vllm(key: int, width: int, seeding: str, expected: str) -> None:
    assert colours(Sbw(key, width, seeding, 0.4), TOKENS) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("key", "width", "share", "expected"), RED_GREEN)
def test_red_green_is_that_of_vllm(key: int, width: int, share: float, expected: str) -> None:
    assert colours(VllmRedGreen(key, width, share), TOKENS) == expected


def test_hash_against_pytorch_in_32_bits() -> None:
    tokens = np.random.default_rng(0).integers(0, 2**31 - 1, 2000)
    i = torch.from_numpy(tokens + 1).to(torch.int32)
    i = i - (i << 6)
    i = i ^ (i >> 17)
    i = i - (i << 9)
    i = i ^ (i << 4)
    i = i - (i << 3)
    i = i ^ (i << 10)
    i = i ^ (i >> 15)
    assert [int(jenkins(token)) for token in tokens] == i.to(torch.long).tolist()


def schemes() -> list[Scheme]:
    return [VllmRedGreen(5), Sbw(5), Sbw(5, 1, "lefthash", 0.25)]


NAMES = ["red-green", "sbw-self", "sbw-left"]


@pytest.mark.parametrize("scheme", schemes(), ids=NAMES)
def test_p_is_the_binomial_tail(scheme: Scheme) -> None:
    """Distinct pairs (or contexts) of one document, with the exact share of green words."""
    ids = np.random.default_rng(1).integers(0, 50_000, 400).tolist()
    marks = scheme.marks(Ragged.from_lists([ids + ids], np.int64))
    first: dict[tuple[int, ...], int] = {}
    by_context = scheme.name == "vllm-red-green"
    for seed, target, value in zip(marks.seeds, marks.targets, marks.values, strict=True):
        first.setdefault((int(seed),) if by_context else (int(seed), int(target)), int(value))
    found = detect(marks)
    assert (found.n_scored[0], found.statistic[0]) == (len(first), sum(first.values()))
    share = 0.5 if scheme.name == "sbw" and scheme.context_width == 4 else 0.25  # type: ignore[attr-defined]
    expected = stats.binom.logsf(sum(first.values()) - 1, len(first), share)
    assert found.log_p[0] == pytest.approx(expected, rel=1e-6)


def test_share_is_that_of_all_words() -> None:
    """All 2^24 numbers of a word, rounded as vLLM rounds them, are counted."""
    k = np.arange(1 << 24)
    numbers = ((k + 1.0) / (2**24 + 1)).astype(np.float32)
    empty = Ragged.from_lists([[]], np.int64)
    for share in (1e-6, 0.1, 0.25, 0.3, 0.7):
        expected = np.count_nonzero(numbers < np.float32(share)) / 2**24
        assert VllmRedGreen(1, share=share).marks(empty).null.share == expected


@pytest.mark.parametrize("scheme", schemes(), ids=NAMES)
def test_written_law_raises_what_is_read_as_green(scheme: Scheme) -> None:
    rng = np.random.default_rng(2)
    law = rng.dirichlet(np.ones(60))
    for n in (0, 1, 3, 9):
        prefix = rng.integers(0, 60, n).tolist()
        texts = Ragged.from_lists([[*prefix, token] for token in range(60)], np.int64)
        marks = scheme.marks(texts)
        green = marks.values[marks.positions == n]
        logits = np.log(law) + 2.0 * green
        expected = np.exp(logits) / np.exp(logits).sum()
        found = scheme.reweighted(law, np.array(prefix, np.int64))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_and_keys_by_chance(name: str) -> None:
    def scheme(key: int) -> Scheme:
        made: dict[str, Scheme] = {
            "red-green": VllmRedGreen(key),
            "sbw-self": Sbw(key),
            "sbw-left": Sbw(key, 1, "lefthash"),
        }
        return made[name]

    rng = np.random.default_rng(3)
    text: list[int] = []
    for _ in range(300):
        law = np.exp(2 * rng.normal(size=500))
        law = scheme(2**63 + 7).reweighted(law / law.sum(), np.array(text, np.int64))
        text.append(int(rng.choice(500, p=law)))
    tokens = Ragged.from_lists([text], np.int64)
    assert detect(scheme(2**63 + 7).marks(tokens)).log_p[0] < math.log(1e-6)
    keys = rng.integers(1, 2**63, 1000).tolist()
    p = np.exp([detect(scheme(key).marks(tokens)).log_p[0] for key in keys])
    for alpha in (0.1, 0.01):
        assert np.mean(p <= alpha) < alpha + 3 * math.sqrt(alpha * (1 - alpha) / len(p))


def test_bad_parameters_are_named() -> None:
    for scheme in (Sbw, VllmRedGreen):
        with pytest.raises(ValueError, match="context_width must be at least 1"):
            scheme(1, 0)
        with pytest.raises(ValueError, match="share must lie between 0 and 1"):
            scheme(1, share=1.0)
        assert "987654321" not in repr(scheme(987654321))
    with pytest.raises(ValueError, match="seeding must be"):
        Sbw(1, seeding="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="share must be at least"):
        Sbw(1, share=1e-10)
    with pytest.raises(ValueError, match="position 0 of document 1 is negative"):
        Sbw(1).marks(Ragged.from_lists([[], [-1]], np.int64))
