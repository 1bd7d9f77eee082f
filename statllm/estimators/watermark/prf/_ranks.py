"""Values of a random permutation at single places, without the permutation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from statllm.estimators.watermark.prf._mersenne import seeded, tempered, twist

_WORDS = 624


@njit(cache=True, nogil=True)
def _first_and_value(seed: Any, place: int, size: int, state: Any, steps: Any) -> Any:
    """The generator's first number, and ``randperm(size)[place]`` of those that follow.

    Step i swaps the places i and i + z_i, and place i is final after it. So the value at `place`
    came from place + z, and there from the last earlier step that swapped into it, and so on back.
    """
    seeded(seed, state)
    twist(state)
    first = np.int64(tempered(state[0])) & 0xFFFFFF
    word = 1
    for i in range(min(place + 1, size - 1)):
        if word == _WORDS:
            twist(state)
            word = 0
        steps[i] = i + np.int64(tempered(state[word])) % (size - i)
        word += 1
    at = steps[place] if place < size - 1 else place  # the last place has no step of its own
    for i in range(place - 1, -1, -1):
        if steps[i] == at:
            at = i
    return first, at


@njit(cache=True, nogil=True)
def firsts_and_values(seeds: Any, places: Any, size: int) -> Any:
    """For each seed the first number times 2^24 and the permutation's value at its place."""
    state = np.empty(_WORDS, np.uint32)
    steps = np.empty(size, np.int64)
    firsts = np.empty(len(seeds), np.int64)
    values = np.empty(len(seeds), np.int64)
    for i in range(len(seeds)):
        firsts[i], values[i] = _first_and_value(seeds[i], places[i], size, state, steps)
    return firsts, values


@njit(cache=True, nogil=True)
def first_and_permutation(seed: Any, size: int) -> Any:
    """The first number times 2^24 and the whole permutation of those that follow."""
    state = np.empty(_WORDS, np.uint32)
    seeded(seed, state)
    twist(state)
    first = np.int64(tempered(state[0])) & 0xFFFFFF
    word = 1
    order = np.arange(size)
    for i in range(size - 1):
        if word == _WORDS:
            twist(state)
            word = 0
        j = i + np.int64(tempered(state[word])) % (size - i)
        word += 1
        order[i], order[j] = order[j], order[i]
    return first, order
