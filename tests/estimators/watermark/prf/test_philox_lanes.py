"""Philox of many contexts side by side, against the published rounds in whole numbers."""

from __future__ import annotations

import numpy as np
import pytest

from statllm.estimators.watermark.prf.vllm_gumbel import VllmGumbel
from statllm.ragged import Ragged

LOW = 2**32 - 1


def philox(counter: list[int], key: tuple[int, int]) -> list[int]:
    """Salmon et al. (2011), 4 words of 32 bits, 10 rounds."""
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(p1 >> 32) ^ counter[1] ^ k0, p1 & LOW, (p0 >> 32) ^ counter[3] ^ k1, p0 & LOW]
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return counter


def number(context: list[int], token: int, key: int) -> float:
    """vLLM's recipe: contexts are absorbed four tokens at a time, the last block is filled up."""
    k0, k1 = key & LOW, key >> 32
    state = [0x574D4358, len(context), 0, 0]
    for offset in range(0, len(context), 4):
        block = [token & LOW for token in context[offset : offset + 4]]
        block += [LOW - j for j in range(len(block), 4)]
        state = philox([a ^ b for a, b in zip(state, block, strict=True)], (k0 ^ offset, k1))
    s0, s1, s2, s3 = state
    word = philox([token >> 2, s0, s1, s2], (k0 ^ s3, k1 ^ 0x574D544B))[token & 3]
    return float(np.float32(((word >> 8) + 1) / (2**24 + 1)))


@pytest.mark.parametrize("width", [1, 2, 4, 5, 8, 9])
@pytest.mark.parametrize("key", [0, 42, 2**64 - 1])
def test_numbers_of_every_token(width: int, key: int) -> None:
    """Documents that end within, at and after a row of lanes, which are 256."""
    lengths = [0, 3, 252, 1, 0, 256, 258]
    rng = np.random.default_rng(width)
    ids = rng.integers(0, 2**32, sum(lengths))
    tokens = Ragged.from_lengths(ids, lengths)
    found = VllmGumbel(key, width).marks(tokens).values
    expected = [
        number(([-1] * width + row)[t : t + width], row[t], key)
        for row in tokens.to_lists()
        for t in range(len(row))
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize("prefix", [[], [7], [1, 2, 3, 4, 5, 6]])
def test_the_written_token_is_the_largest_of_all_numbers(prefix: list[int]) -> None:
    """A vocabulary of two and a half rows of lanes."""
    vocabulary, width, key = 640, 4, 2**63 + 9
    context = ([-1] * width + prefix)[-width:]
    expected = [number(context, token, key) for token in range(vocabulary)]
    law = np.full(vocabulary, 1 / vocabulary)
    chosen = VllmGumbel(key, width).reweighted(law, np.array(prefix, np.int64))
    assert np.argmax(chosen) == np.argmax(expected)
