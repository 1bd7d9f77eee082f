"""MurmurHash3 of 32-bit words (Appleby), and SGLang's use of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_MASK = 0xFFFFFFFF


@njit(cache=True, nogil=True)
def _mixed(state: Any, word: Any) -> Any:
    mask = np.uint64(_MASK)
    value = (word & mask) * np.uint64(0xCC9E2D51) & mask
    value = (value << np.uint64(15) | value >> np.uint64(17)) & mask
    value = value * np.uint64(0x1B873593) & mask
    state ^= value
    state = (state << np.uint64(13) | state >> np.uint64(19)) & mask
    return (state * np.uint64(5) + np.uint64(0xE6546B64)) & mask


@njit(cache=True, nogil=True)
def _final(state: Any, n_words: Any) -> Any:
    mask = np.uint64(_MASK)
    state ^= np.uint64(4) * np.uint64(n_words)
    state ^= state >> np.uint64(16)
    state = state * np.uint64(0x85EBCA6B) & mask
    state ^= state >> np.uint64(13)
    state = state * np.uint64(0xC2B2AE35) & mask
    return state ^ state >> np.uint64(16)


@njit(cache=True, nogil=True)
def _context_hash(tokens: Any, start: int, stop: int) -> Any:
    state = np.uint64(0)
    for i in range(start, stop):
        state = _mixed(state, np.uint64(tokens[i]))
    return _final(state, stop - start)


@njit(cache=True, nogil=True)
def _token_hash(key: Any, context: Any, token: Any) -> Any:
    state = _mixed(_mixed(np.uint64(0), key), key >> np.uint64(32))
    return _final(_mixed(_mixed(state, context), token), 4)


@njit(cache=True, nogil=True)
def _coin(key: Any, key_b: Any, context: Any) -> Any:
    state = _mixed(_mixed(np.uint64(0), key), key >> np.uint64(32))
    state = _mixed(_mixed(state, key_b), key_b >> np.uint64(32))
    return _final(_mixed(state, context), 5)


@njit(cache=True, nogil=True)
def _uniform(key: Any, context: Any, token: Any) -> Any:
    return (np.float64(_token_hash(key, context, token)) + 0.5) / 4294967296.0


@njit(cache=True, nogil=True)
def context_hashes(tokens: Any, scored: Any, width: int) -> Any:
    """Hashes of the `width` tokens before each scored one."""
    out = np.empty(len(scored), np.uint64)
    for i in range(len(scored)):
        out[i] = _context_hash(tokens, scored[i] - width, scored[i])
    return out


@njit(cache=True, nogil=True)
def gumbel_pivots(contexts: Any, targets: Any, key: Any, key_b: Any, below: Any) -> Any:
    """Pivots of tokens after contexts with these hashes."""
    out = np.empty(len(contexts), np.float64)
    for i in range(len(contexts)):
        first = below > np.uint64(_MASK) or _coin(key, key_b, contexts[i]) < below
        out[i] = _uniform(key if first else key_b, contexts[i], np.uint64(targets[i]))
    return out


@njit(cache=True, nogil=True)
def gumbel_row(context: Any, vocabulary: int, key: Any, key_b: Any, below: Any) -> Any:
    """The numbers of all tokens after a context."""
    seed = _context_hash(context, 0, len(context))
    first = below > np.uint64(_MASK) or _coin(key, key_b, seed) < below
    chosen = key if first else key_b
    out = np.empty(vocabulary, np.float64)
    for token in range(vocabulary):
        out[token] = _uniform(chosen, seed, np.uint64(token))
    return out
