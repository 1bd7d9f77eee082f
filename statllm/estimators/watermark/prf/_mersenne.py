"""PyTorch's CPU generator without PyTorch: mt19937, and permutations drawn with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from statllm.ragged import IntArray

_N, _M = 624, 397


@njit(cache=True, nogil=True)
def seeded(seed: Any, state: Any) -> None:
    """Matsumoto and Nishimura's initialisation by 32 bits; PyTorch drops all higher ones."""
    state[0] = np.uint32(seed)
    for i in range(1, _N):
        last = np.uint64(state[i - 1])
        mixed = np.uint64(1812433253) * (last ^ (last >> np.uint64(30))) + np.uint64(i)
        state[i] = np.uint32(mixed & np.uint64(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def twist(state: Any) -> None:
    """Advance all 624 words."""
    for i in range(_N):
        y = (state[i] & np.uint32(0x80000000)) | (state[(i + 1) % _N] & np.uint32(0x7FFFFFFF))
        value = state[(i + _M) % _N] ^ (y >> np.uint32(1))
        if y & np.uint32(1):
            value ^= np.uint32(0x9908B0DF)
        state[i] = value


@njit(cache=True, nogil=True)
def tempered(y: Any) -> Any:
    """The number that a word gives."""
    y ^= y >> np.uint32(11)
    y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
    y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
    y ^= y >> np.uint32(18)
    return y


@njit(cache=True, nogil=True)
def _is_green(seed: Any, target: Any, greens: int, vocabulary: int, state: Any) -> Any:
    """Whether the target is among the first of a permutation, without the permutation.

    Step i swaps the places i and i + z; only the target's place is followed.
    """
    seeded(seed, state)
    place = target
    word = _N
    for i in range(greens):
        if word == _N:
            twist(state)
            word = 0
        z = np.int64(tempered(state[word])) % (vocabulary - i)
        word += 1
        if place == i + z:
            return True
        if place == i:
            place = i + z
    return False


@njit(cache=True, nogil=True)
def are_green(seeds: Any, targets: Any, greens: int, vocabulary: int) -> Any:
    """Whether each target is green under its seed, uint8."""
    state = np.empty(_N, np.uint32)
    out = np.empty(len(seeds), np.uint8)
    for i in range(len(seeds)):
        out[i] = _is_green(seeds[i], targets[i], greens, vocabulary, state)
    return out


@njit(cache=True, nogil=True)
def green_rows(seeds: Any, greens: int, vocabulary: int, rows: Any) -> None:
    """Green lists as bits, one row per seed, into `rows` of zeros."""
    state = np.empty(_N, np.uint32)
    order = np.arange(vocabulary)
    for s in range(len(seeds)):
        for i in range(vocabulary):
            order[i] = i
        seeded(seeds[s], state)
        word = _N
        for i in range(greens):
            if word == _N:
                twist(state)
                word = 0
            j = i + np.int64(tempered(state[word])) % (vocabulary - i)
            word += 1
            order[i], order[j] = order[j], order[i]
            token = order[i]
            rows[s, token >> 3] |= np.uint8(1 << (token & 7))


@njit(cache=True, nogil=True)
def _permutation(seed: Any, n: int) -> Any:
    state = np.empty(_N, np.uint32)
    seeded(seed, state)
    order = np.arange(n)
    word = _N
    for i in range(n - 1):
        if word == _N:
            twist(state)
            word = 0
        j = i + np.int64(tempered(state[word])) % (n - i)
        word += 1
        order[i], order[j] = order[j], order[i]
    return order


def permutation(seed: int, n: int) -> IntArray:
    """Return ``torch.randperm(n)`` of a CPU generator with this seed.

    Examples
    --------
    >>> permutation(0, 5)  # torch.randperm(5, generator=torch.Generator().manual_seed(0))
    array([4, 0, 1, 3, 2])
    """
    order: IntArray = _permutation(np.uint32(seed & 0xFFFFFFFF), n)
    return order


def words(seed: int, n: int) -> NDArray[np.uint32]:
    """Return the first n numbers of 32 bits of a generator with this seed."""
    raw = np.random.RandomState(seed & 0xFFFFFFFF).bytes(4 * n)
    return np.frombuffer(raw, "<u4")
