"""PyTorch's CPU generator without PyTorch, against PyTorch and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from statllm.estimators.watermark.prf._mersenne import (
    are_green,
    green_rows,
    permutation,
    seeded,
    tempered,
    twist,
    words,
)

SEEDS = [0, 1, 15485863, 2**31, 2**32 - 1, 2**40 + 5, 2**64 - 1]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 2, 623, 624, 625, 5000])
def test_permutation_is_randperm(seed: int, n: int) -> None:
    """PyTorch takes seeds from 2^63 on as negative numbers, and drops all but 32 bits."""
    generator = torch.Generator().manual_seed(seed)
    np.testing.assert_array_equal(
        permutation(seed, n), torch.randperm(n, generator=generator).numpy()
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("high", [2, 1000, 2**27 + 3])
def test_words_are_those_of_randint(seed: int, high: int) -> None:
    """A word modulo the range; from 2^28 on PyTorch takes two words instead."""
    generator = torch.Generator().manual_seed(seed)
    expected = torch.randint(0, high, (1500,), generator=generator).numpy()
    np.testing.assert_array_equal(words(seed, 1500) % np.uint32(high), expected)


def test_state_is_that_of_mt19937() -> None:
    """Against NumPy's generator: the first 1,248 words, over two twists."""
    for seed in (0, 5489, 2**32 - 1):
        state = np.empty(624, np.uint32)
        seeded(np.uint32(seed), state)
        found = []
        for _ in range(2):
            twist(state)
            found += [int(tempered(word)) for word in state]
        expected = np.random.RandomState(seed).randint(0, 2**32, 1248, dtype=np.uint64)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("greens", "vocabulary"), [(1, 2), (25, 100), (99, 100), (700, 701)])
def test_membership_without_a_list_is_membership_of_the_list(greens: int, vocabulary: int) -> None:
    seeds = np.array([3, 2**32 - 1, 15485863], np.uint64)
    rows = np.zeros((3, (vocabulary + 7) // 8), np.uint8)
    green_rows(seeds, greens, vocabulary, rows)
    for seed, row in zip(seeds, rows, strict=True):
        generator = torch.Generator().manual_seed(int(seed))
        expected = np.zeros(vocabulary, np.uint8)
        expected[torch.randperm(vocabulary, generator=generator)[:greens].numpy()] = 1
        found = are_green(np.full(vocabulary, seed), np.arange(vocabulary), greens, vocabulary)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.unpackbits(row, bitorder="little")[:vocabulary], expected)
