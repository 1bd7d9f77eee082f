"""How often a mark has occurred before in its document."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def earlier_in_document(
    seeds: NDArray[np.uint64], targets: NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many equal (seed, target) come before each in its document, shape (n,).

    Of a pair that occurs c times the numbers are 0, 1, ... c - 1, whose sum is c (c - 1) / 2.

    Parameters
    ----------
    seeds, targets : ndarray, shape (n,)
    offsets : ndarray of int64, shape (n_documents + 1,)
    """
    found: NDArray[np.int64] = _earlier(
        np.ascontiguousarray(seeds, np.uint64),
        np.ascontiguousarray(targets, np.int64),
        np.ascontiguousarray(offsets, np.int64),
    )
    return found


def first_in_document(
    seeds: NDArray[np.uint64], targets: NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return a mask of the first (seed, target) of every kind, document by document."""
    first: NDArray[np.bool_] = earlier_in_document(seeds, targets, offsets) == 0
    return first


@njit(cache=True, nogil=True)
def _earlier(seeds: Any, targets: Any, offsets: Any) -> Any:
    """Open addressing; a slot belongs to the document that wrote it, so nothing is cleared."""
    longest = 1
    for d in range(len(offsets) - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    bits = 1
    while (1 << bits) < 2 * longest:
        bits += 1
    slots = np.zeros(1 << bits, np.int64)
    owner = np.full(1 << bits, -1, np.int64)
    times = np.zeros(1 << bits, np.int64)
    mask = (1 << bits) - 1
    shift = np.uint64(64 - bits)
    out = np.zeros(len(seeds), np.int64)
    for d in range(len(offsets) - 1):
        for i in range(offsets[d], offsets[d + 1]):
            mixed = seeds[i] ^ (np.uint64(targets[i]) * np.uint64(0x9E3779B97F4A7C15))
            mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
            at = np.int64(mixed >> shift)
            while True:
                if owner[at] != d:
                    owner[at] = d
                    slots[at] = i
                    times[at] = 1
                    break
                j = slots[at]
                if seeds[j] == seeds[i] and targets[j] == targets[i]:
                    out[i] = times[at]
                    times[at] += 1
                    break
                at = (at + 1) & mask
    return out
