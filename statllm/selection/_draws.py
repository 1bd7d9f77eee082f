"""Random picks that depend on the seed and the names of things, never on the order of rows."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.ragged import IntArray, Ragged

Words = NDArray[np.uint64]


def words_of(names: pa.Array | pa.ChunkedArray, seed: int) -> Words:
    """Return a random word for each name (a hash keyed by the seed)."""
    key = seed.to_bytes(16, "little")
    digests = [
        blake2b(name.encode(), digest_size=8, key=key).digest() for name in names.to_pylist()
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def drawn(prompts: Words, purpose: int, items: NDArray[np.integer]) -> Words:
    """Return a random word for each (prompt, purpose, item); purposes are independent draws."""
    return _mix(_mix(prompts + np.uint64(purpose)) ^ _mix(items.astype(np.uint64)))


def _mix(words: Words) -> Words:
    """splitmix64 (Steele, Lea and Flood 2014): a bijection that looks random."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def ordered(indices: IntArray, groups: IntArray, order: Words, n_groups: int) -> Ragged:
    """Return the indices of each group in rising order of their words."""
    by_word = np.lexsort((order, groups))
    return Ragged.from_lengths(indices[by_word], np.bincount(groups, minlength=n_groups))


def first_of_each(groups: IntArray, n_groups: int, *rising: NDArray[np.generic]) -> IntArray:
    """Return the place that comes first in each group by `rising`, most important first; or -1."""
    order = np.lexsort((*rising[::-1], groups))
    sorted_groups = groups[order]
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    first = np.full(n_groups, -1, dtype=np.int64)
    first[sorted_groups[starts]] = order[starts]
    return first
