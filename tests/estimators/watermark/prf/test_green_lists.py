"""Seeds in whole numbers of any size, and remembered lists against lists drawn for one token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from statllm.estimators.watermark.prf import _green_lists
from statllm.estimators.watermark.prf._green_lists import GreenLists, lists, low_words
from statllm.estimators.watermark.prf._mersenne import are_green

M = 2**64 - 1
GREENS, V = 30, 120


@pytest.mark.parametrize("key", [0, 1, 2, 15485863, 2**31 + 11, 2**32, 2**63 + 5, M - 1, M])
def test_low_words_of_products(key: int) -> None:
    """At the ends, at multiples of 2^64 - 1 and at random, of both signs."""
    rng = np.random.default_rng(0)
    numbers = [0, 1, -1, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, -(2**63), 3, -3]
    numbers += [5 * 17 * 257, 641 * 65537, 6700417]  # factors of 2^64 - 1
    numbers += rng.integers(-(2**63), 2**63 - 1, 2000).tolist()
    found = low_words(np.array(numbers, np.int64), np.uint64(key))
    assert found.tolist() == [key * number % M % 2**32 for number in numbers]


def test_a_product_that_is_a_multiple_of_the_modulus_is_0() -> None:
    assert M == 641 * 65537 * 6700417 * 3 * 5 * 17 * 257
    key, number = 641 * 65537 * 3 * 5, 6700417 * 17 * 257
    assert key * number == M
    found = low_words(np.array([number, -number, 2 * number], np.int64), np.uint64(key))
    assert found.tolist() == [0, 0, 0]


def pairs(n: int, distinct: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    seeds = rng.choice(rng.integers(0, 2**32, distinct, np.uint64), n)
    return seeds, rng.integers(0, V, n)


def test_colours_are_those_of_one_token_at_a_time() -> None:
    """5,000 seeds: the table of seeds grows on the way; known ones come again among new ones."""
    found = GreenLists(GREENS, V)
    for seed in range(3):
        seeds, targets = pairs(20_000, 5000, seed)
        for low, high in ((0, 10), (0, 400), (300, 20_000), (0, 20_000)):
            some, wanted = seeds[low:high], targets[low:high]
            np.testing.assert_array_equal(
                found.colours(some, wanted), are_green(some, wanted, GREENS, V)
            )
    assert found.colours(seeds[:0], targets[:0]).tolist() == []


def test_threads_share_lists() -> None:
    found = GreenLists(GREENS, V)
    parts = [pairs(3000, 2000, seed % 3) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        colours = list(pool.map(lambda part: found.colours(*part), parts))
    for part, colour in zip(parts, colours, strict=True):
        np.testing.assert_array_equal(colour, are_green(*part, GREENS, V))


def test_an_interrupt_leaves_no_seed_without_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    seeds, targets = pairs(500, 100)
    lists.cache_clear()
    monkeypatch.setattr(_green_lists, "green_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lists(GREENS, V).colours(seeds, targets)
    monkeypatch.undo()
    found = lists(GREENS, V).colours(seeds, targets)
    np.testing.assert_array_equal(found, are_green(seeds, targets, GREENS, V))
    lists.cache_clear()
