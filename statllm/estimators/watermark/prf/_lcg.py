"""The hash of SynthID-Text: a linear congruential generator over tokens and keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_MULTIPLIER = 6364136223846793005


@njit(cache=True, nogil=True)
def _step(state: Any, data: Any) -> Any:
    return (state + data) * np.uint64(_MULTIPLIER) + np.uint64(1)


@njit(cache=True, nogil=True)
def ngram_hashes(tokens: Any, scored: Any, width: int, start: Any) -> Any:
    """Hashes of the `width` tokens before each scored one, and with it."""
    contexts = np.empty(len(scored), np.uint64)
    ngrams = np.empty(len(scored), np.uint64)
    for i in range(len(scored)):
        state = start
        for j in range(scored[i] - width, scored[i]):
            state = _step(state, np.uint64(tokens[j]))
        contexts[i] = state
        ngrams[i] = _step(state, np.uint64(tokens[scored[i]]))
    return contexts, ngrams


@njit(cache=True, nogil=True)
def table_bits(ngrams: Any, keys: Any, table: Any) -> Any:
    """Bits of n-grams from a table, shape (n, n_keys)."""
    out = np.empty((len(ngrams), len(keys)), np.uint8)
    mask = np.uint64(len(table) - 1)
    for i in range(len(ngrams)):
        for k in range(len(keys)):
            out[i, k] = table[_step(ngrams[i], keys[k]) & mask]
    return out


@njit(cache=True, nogil=True)
def hashed_bits(ngrams: Any, keys: Any) -> Any:
    """Bits of n-grams by twelve more steps, each shifted right by 5 with its sign.

    All keys take a step before any takes the next: a step waits for the last one of its own key.
    """
    out = np.empty((len(ngrams), len(keys)), np.uint8)
    states = np.empty(len(keys), np.int64)
    for i in range(len(ngrams)):
        for k in range(len(keys)):
            states[k] = np.int64(_step(ngrams[i], keys[k]))
        for _ in range(12):
            for k in range(len(keys)):
                states[k] = np.int64(_step(np.uint64(states[k]), np.uint64(1))) >> np.int64(5)
        for k in range(len(keys)):
            out[i, k] = np.uint8((states[k] >> np.int64(30)) & np.int64(1))
    return out


@njit(cache=True, nogil=True)
def continuations(context: Any, start: Any, vocabulary: int) -> Any:
    """Hashes of a context followed by every token."""
    state = start
    for token in context:
        state = _step(state, np.uint64(token))
    out = np.empty(vocabulary, np.uint64)
    for token in range(vocabulary):
        out[token] = _step(state, np.uint64(token))
    return out
