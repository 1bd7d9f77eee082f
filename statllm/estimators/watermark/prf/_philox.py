"""Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011), and vLLM's use of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64

_CONTEXT = 0x574D4358
_TOKEN = 0x574D544B
_LANES = 256  # contexts that are absorbed side by side


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
def _permute(words: Any) -> None:
    """Philox of every lane: words 0 to 3 of it are the counter, then the output; 4 and 5 the key.

    One array with distances known to the compiler: it takes several lanes at a time.
    """
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    for i in range(_LANES):
        c0, c1 = np.uint64(words[i]), np.uint64(words[_LANES + i])
        c2, c3 = np.uint64(words[2 * _LANES + i]), np.uint64(words[3 * _LANES + i])
        k0, k1 = np.uint64(words[4 * _LANES + i]), np.uint64(words[5 * _LANES + i])
        for _ in range(10):
            p0 = np.uint64(0xD2511F53) * c0
            p1 = np.uint64(0xCD9E8D57) * c2
            c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & low, (p0 >> shift) ^ c3 ^ k1, p0 & low
            k0 = (k0 + np.uint64(0x9E3779B9)) & low
            k1 = (k1 + np.uint64(0xBB67AE85)) & low
        words[i], words[_LANES + i] = np.uint32(c0), np.uint32(c1)
        words[2 * _LANES + i], words[3 * _LANES + i] = np.uint32(c2), np.uint32(c3)


@njit(cache=True, nogil=True)
def _absorb(words: Any, tokens: Any, scored: Any, starts: Any, width: int, key: Any) -> None:
    """States after the `width` tokens before each scored one; before `starts` they are -1."""
    low = np.uint64(0xFFFFFFFF)
    words[:_LANES], words[_LANES : 2 * _LANES] = np.uint32(_CONTEXT), np.uint32(width)
    words[2 * _LANES : 4 * _LANES] = np.uint32(0)
    for offset in range(0, width, 4):
        for j in range(4):
            back = width - offset - j
            for i in range(len(scored)):
                place = scored[i] - back
                if back <= 0:
                    token = low - np.uint64(j)
                elif place < starts[i]:
                    token = low
                else:
                    token = np.uint64(tokens[place])
                words[j * _LANES + i] ^= np.uint32(token)
        words[4 * _LANES : 5 * _LANES] = np.uint32((key & low) ^ np.uint64(offset))
        words[5 * _LANES :] = np.uint32(key >> np.uint64(32))
        _permute(words)


@njit(cache=True, nogil=True)
def _draw(words: Any, targets: Any, key: Any, out: Any) -> None:
    """Numbers in (0, 1) of tokens after the states in `words`: 24 bits in single precision."""
    low = np.uint64(0xFFFFFFFF)
    k0, k1 = np.uint32(key & low), np.uint32(key >> np.uint64(32)) ^ np.uint32(_TOKEN)
    for i in range(len(targets)):
        words[4 * _LANES + i] = words[3 * _LANES + i] ^ k0
        words[5 * _LANES + i] = k1
        words[3 * _LANES + i] = words[2 * _LANES + i]
        words[2 * _LANES + i] = words[_LANES + i]
        words[_LANES + i] = words[i]
        words[i] = np.uint32(np.uint64(targets[i]) >> np.uint64(2))
    _permute(words)
    for i in range(len(targets)):
        word = words[(targets[i] & 3) * _LANES + i]
        out[i] = np.float64(np.float32((np.float64(word >> np.uint32(8)) + 1.0) / 16777217.0))


@njit(cache=True, nogil=True)
def gumbel_marks(tokens: Any, scored: Any, starts: Any, width: int, keys: Any) -> Any:
    """Pivots of scored tokens under every key, shape (n, n_keys), and the first key's seeds."""
    n = len(scored)
    values = np.empty((n, len(keys)), np.float64)
    seeds = np.empty(n, np.uint64)
    words = np.zeros(6 * _LANES, np.uint32)
    for first in range(0, n, _LANES):
        some = slice(first, min(first + _LANES, n))
        targets = tokens[scored[some]]
        for k in range(len(keys)):
            _absorb(words, tokens, scored[some], starts[some], width, keys[k])
            if k == 0:
                for i in range(len(targets)):
                    upper = np.uint64(words[_LANES + i]) << np.uint64(32)
                    seeds[first + i] = np.uint64(words[i]) | upper
            _draw(words, targets, keys[k], values[some, k])
    return values, seeds


@njit(cache=True, nogil=True)
def gumbel_row(prefix: Any, width: int, key: Any, vocabulary: int) -> Any:
    """The numbers of all tokens after a prefix."""
    words = np.zeros(6 * _LANES, np.uint32)
    _absorb(words, prefix, np.array([len(prefix)]), np.array([0]), width, key)
    state = words.reshape(6, _LANES)[:4, 0].copy()
    tokens = np.arange(vocabulary)
    out = np.empty(vocabulary, np.float64)
    for first in range(0, vocabulary, _LANES):
        for j in range(4):
            words[j * _LANES : (j + 1) * _LANES] = state[j]
        _draw(words, tokens[first : first + _LANES], key, out[first : first + _LANES])
    return out


@njit(cache=True, nogil=True)
def context_names(tokens: Any, scored: Any, starts: Any, width: int) -> Any:
    """64 bits that name the `width` tokens before each scored one, as `gumbel_marks` sees them.

    Two contexts of n share a name with probability n^2 / 2^65.
    """
    out = np.empty(len(scored), np.uint64)
    for i in range(len(scored)):
        name = np.uint64(0)
        for place in range(scored[i] - width, scored[i]):
            token = np.uint64(0xFFFFFFFF) if place < starts[i] else np.uint64(tokens[place])
            name ^= token * np.uint64(0x9E3779B97F4A7C15)
            name = (name ^ (name >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
            name ^= name >> np.uint64(32)
        out[i] = name
    return out
