"""Seeds and colours of stateless Bernoulli watermarks, token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from statllm.estimators.watermark.prf._philox import philox_word


@njit(cache=True, nogil=True)
def jenkins(token: Any) -> Any:
    """Jenkins' hash of token + 1 in 32 signed bits."""
    i = np.int32(token + 1)
    i = np.int32(i - np.int32(i << np.int32(6)))
    i = np.int32(i ^ (i >> np.int32(17)))
    i = np.int32(i - np.int32(i << np.int32(9)))
    i = np.int32(i ^ np.int32(i << np.int32(4)))
    i = np.int32(i - np.int32(i << np.int32(3)))
    i = np.int32(i ^ np.int32(i << np.int32(10)))
    i = np.int32(i ^ (i >> np.int32(15)))
    return np.int64(i)


@njit(cache=True, nogil=True)
def _seed(tokens: Any, start: int, at: int, token: Any, width: int, anchored: Any, key: Any) -> Any:
    """The 64 bits that seed `token` at place `at`; tokens before `start` are -1."""
    if not anchored:
        total = np.int64(0)
        for place in range(at - width, at):
            total += tokens[place] if place >= start else np.int64(-1)
        return np.uint64(key * total)
    own = jenkins(token)
    least = key * own * own
    for place in range(at - width + 1, at):
        other = jenkins(tokens[place]) if place >= start else np.int64(0)
        least = min(least, key * other * own)
    return np.uint64(least)


@njit(cache=True, nogil=True)
def _is_green(token: Any, seed: Any, threshold: Any) -> Any:
    none = np.uint64(0)
    word = philox_word(
        np.uint64(token) >> np.uint64(2),
        none,
        none,
        none,
        seed & np.uint64(0xFFFFFFFF),
        seed >> np.uint64(32),
        np.uint64(token) & np.uint64(3),
    )
    return (word & np.uint64(0x7FFFFFFF)) < threshold


@njit(cache=True, nogil=True)
def bernoulli_marks(
    tokens: Any, offsets: Any, width: int, anchored: Any, key: Any, threshold: Any
) -> Any:
    """Colours and seeds of all tokens; the key as int64, products wrap."""
    values = np.empty(len(tokens), np.uint8)
    seeds = np.empty(len(tokens), np.uint64)
    for d in range(len(offsets) - 1):
        for at in range(offsets[d], offsets[d + 1]):
            seeds[at] = _seed(tokens, offsets[d], at, tokens[at], width, anchored, key)
            values[at] = _is_green(tokens[at], seeds[at], threshold)
    return values, seeds


@njit(cache=True, nogil=True)
def bernoulli_row(
    prefix: Any, width: int, anchored: Any, key: Any, threshold: Any, vocabulary: int
) -> Any:
    """Colours of the whole vocabulary after a prefix."""
    out = np.empty(vocabulary, np.bool_)
    for token in range(vocabulary):
        seed = _seed(prefix, 0, len(prefix), np.int64(token), width, anchored, key)
        out[token] = _is_green(token, seed, threshold)
    return out
