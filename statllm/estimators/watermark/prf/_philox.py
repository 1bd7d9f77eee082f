"""Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011), and vLLM's use of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64

_CONTEXT = 0x574D4358
_TOKEN = 0x574D544B


@njit(uint64(uint64, uint64, uint64, uint64, uint64, uint64, uint64), cache=True, nogil=True)
def philox_word(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, word: Any) -> Any:
    """One of the four output words; arguments are 32-bit values."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & low, (p0 >> shift) ^ c3 ^ k1, p0 & low
        k0 = (k0 + np.uint64(0x9E3779B9)) & low
        k1 = (k1 + np.uint64(0xBB67AE85)) & low
    if word == np.uint64(0):
        return c0
    if word == np.uint64(1):
        return c1
    if word == np.uint64(2):
        return c2
    return c3


@njit(cache=True, nogil=True)
def absorb(state: Any, block: Any, k0: Any, k1: Any) -> None:
    """Philox of state xor block, into the state."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c0, c1, c2, c3 = (
        state[0] ^ block[0],
        state[1] ^ block[1],
        state[2] ^ block[2],
        state[3] ^ block[3],
    )
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & low, (p0 >> shift) ^ c3 ^ k1, p0 & low
        k0 = (k0 + np.uint64(0x9E3779B9)) & low
        k1 = (k1 + np.uint64(0xBB67AE85)) & low
    state[0], state[1], state[2], state[3] = c0, c1, c2, c3


@njit(cache=True, nogil=True)
def context_state(tokens: Any, start: int, at: int, width: int, key: Any, state: Any) -> None:
    """Absorb the `width` tokens before `at`, 4 at a time; before `start` they are -1."""
    low = np.uint64(0xFFFFFFFF)
    k0, k1 = key & low, key >> np.uint64(32)
    block = np.empty(4, np.uint64)
    state[0], state[1] = np.uint64(_CONTEXT), np.uint64(width)
    state[2], state[3] = np.uint64(0), np.uint64(0)
    for offset in range(0, width, 4):
        for i in range(4):
            if offset + i < width:
                place = at - width + offset + i
                block[i] = low if place < start else np.uint64(tokens[place])
            else:
                block[i] = low - np.uint64(i)
        absorb(state, block, k0 ^ np.uint64(offset), k1)


@njit(cache=True, nogil=True)
def token_uniform(token: Any, state: Any, key: Any) -> Any:
    """The number in (0, 1), of 24 bits in single precision, of a token after a context."""
    low = np.uint64(0xFFFFFFFF)
    word = philox_word(
        token >> np.uint64(2),
        state[0],
        state[1],
        state[2],
        (key & low) ^ state[3],
        (key >> np.uint64(32)) ^ np.uint64(_TOKEN),
        token & np.uint64(3),
    )
    return np.float64(np.float32((np.float64(word >> np.uint64(8)) + 1.0) / 16777217.0))


@njit(cache=True, nogil=True)
def gumbel_marks(tokens: Any, offsets: Any, width: int, keys: Any) -> Any:
    """Pivots of every token under every key, shape (n, n_keys), and the contexts' seeds."""
    n = len(tokens)
    values = np.empty((n, len(keys)), np.float64)
    seeds = np.empty(n, np.uint64)
    state = np.empty(4, np.uint64)
    for d in range(len(offsets) - 1):
        for at in range(offsets[d], offsets[d + 1]):
            for k in range(len(keys)):
                context_state(tokens, offsets[d], at, width, keys[k], state)
                if k == 0:
                    seeds[at] = state[0] | (state[1] << np.uint64(32))
                values[at, k] = token_uniform(np.uint64(tokens[at]), state, keys[k])
    return values, seeds


@njit(cache=True, nogil=True)
def gumbel_row(prefix: Any, width: int, key: Any, vocabulary: int) -> Any:
    """The numbers of all tokens after a prefix."""
    state = np.empty(4, np.uint64)
    context_state(prefix, 0, len(prefix), width, key, state)
    out = np.empty(vocabulary, np.float64)
    for token in range(vocabulary):
        out[token] = token_uniform(np.uint64(token), state, key)
    return out
