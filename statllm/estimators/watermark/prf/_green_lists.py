"""Green lists of PyTorch's CPU generator, drawn once per seed and looked up by token."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import IntArray, Seeds
from statllm.estimators.watermark.prf._mersenne import green_rows

Bits = NDArray[np.uint8]

CACHE_BYTES = 1 << 28


class GreenLists:
    """Green lists that were drawn before, as bits; as many as fit into the memory bound.

    Seeds are found by open addressing. Rows beyond those in use are never written, so that they
    take no memory.
    """

    def __init__(self, greens: int, vocabulary: int) -> None:
        width = (vocabulary + 7) // 8
        self.size = greens, vocabulary
        self.most = max(1, CACHE_BYTES // width)
        self._rows = np.zeros((self.most, width), np.uint8)
        self._used = 0
        self._seeds = np.zeros(1 << 10, np.uint64)
        self._slots = np.full(1 << 10, -1, np.int64)
        self._lock = Lock()

    def colours(self, seeds: Seeds, targets: IntArray) -> Bits:
        """Return 1 where a target is in the list of its seed, shape (n,)."""
        with self._lock:
            rows = self._rows_of(seeds)
        out: Bits = _bits(self._rows, rows, targets)
        rest = np.flatnonzero(rows < 0)
        if len(rest):
            out[rest] = self._drawn_again(seeds[rest], targets[rest])
        return out

    def _rows_of(self, seeds: Seeds) -> IntArray:
        """The row of each seed, drawn if it is new; -1 where it doesn't fit."""
        rows = np.empty(len(seeds), np.int64)
        done, before, used = 0, self._used, self._used
        while done < len(seeds):
            done, used = _seat(self._seeds, self._slots, seeds, done, used, self.most, rows)
            if done < len(seeds):
                self._widen()
        if used > before:
            try:
                at = np.flatnonzero(self._slots >= before)
                at = at[np.argsort(self._slots[at])]
                green_rows(self._seeds[at], *self.size, self._rows[before:used])
                self._used = used
            except BaseException:  # such as an interrupt: no seat without its list
                lists.cache_clear()
                raise
        return rows

    def _widen(self) -> None:
        """Twice the slots for the seeds."""
        taken = np.flatnonzero(self._slots >= 0)
        seeds, rows = self._seeds[taken], self._slots[taken]
        self._seeds = np.zeros(2 * len(self._seeds), np.uint64)
        self._slots = np.full(len(self._seeds), -1, np.int64)
        order = np.argsort(rows)
        _seat(self._seeds, self._slots, seeds[order], 0, 0, self.most, np.empty_like(rows))

    def _drawn_again(self, seeds: Seeds, targets: IntArray) -> Bits:
        """In pieces, so that the lists fit into memory."""
        distinct, inverse = np.unique(seeds, return_inverse=True)
        out = np.empty(len(targets), np.uint8)
        for start in range(0, len(distinct), self.most):
            rows = drawn(distinct[start : start + self.most], *self.size)
            here = np.flatnonzero((inverse >= start) & (inverse < start + self.most))
            out[here] = _bits(rows, inverse[here] - start, targets[here])
        return out


@lru_cache(maxsize=2)
def lists(greens: int, vocabulary: int) -> GreenLists:
    """Return the lists of one size, which are remembered."""
    return GreenLists(greens, vocabulary)


def drawn(seeds: Seeds, greens: int, vocabulary: int) -> Bits:
    """Return green lists as bits, shape (n, ceil(vocabulary / 8))."""
    rows = np.zeros((len(seeds), (vocabulary + 7) // 8), np.uint8)
    green_rows(seeds, greens, vocabulary, rows)
    return rows


@njit(cache=True, nogil=True)
def low_words(numbers: Any, key: Any) -> Any:
    """What PyTorch's CPU generator keeps of (key * number) mod (2^64 - 1): the low 32 bits.

    2^64 is 1 there, so that the upper half of a product of 128 bits is added to the lower one.
    """
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key & low, key >> half
    out = np.empty(len(numbers), np.uint64)
    for i in range(len(numbers)):
        negative = numbers[i] < 0
        size = np.uint64(-numbers[i]) if negative else np.uint64(numbers[i])
        a0, a1 = size & low, size >> half
        middle = ((k0 * a0) >> half) + ((k0 * a1) & low) + ((k1 * a0) & low)
        upper = k1 * a1 + ((k0 * a1) >> half) + ((k1 * a0) >> half) + (middle >> half)
        lower = key * size
        rest = lower + upper
        if rest < lower:
            rest += np.uint64(1)
        if rest == np.uint64(0xFFFFFFFFFFFFFFFF):
            rest = np.uint64(0)
        if negative and rest != np.uint64(0):
            rest = np.uint64(0xFFFFFFFFFFFFFFFF) - rest
        out[i] = rest & low
    return out


@njit(cache=True, nogil=True)
def _seat(
    known: Any, slots: Any, seeds: Any, done: int, used: int, most: int, rows: Any
) -> tuple[Any, Any]:
    """Rows of the seeds from number `done` on, new ones numbered from `used` on.

    Stops where half of the slots are taken; returns how many seeds are done, and rows in use.
    """
    mask = len(slots) - 1
    for i in range(done, len(seeds)):
        mixed = seeds[i] * np.uint64(0x9E3779B97F4A7C15)
        at = np.int64(mixed >> np.uint64(33)) & mask
        while slots[at] >= 0 and known[at] != seeds[i]:
            at = (at + 1) & mask
        if slots[at] < 0 and used < most:
            if 2 * used >= len(slots):
                return i, used
            known[at] = seeds[i]
            slots[at] = used
            used += 1
        rows[i] = slots[at]
    return len(seeds), used


@njit(cache=True, nogil=True)
def _bits(lists: Any, rows: Any, targets: Any) -> Any:
    """Bits of targets in their rows; 0 where there's no row."""
    out = np.zeros(len(rows), np.uint8)
    for i in range(len(rows)):
        if rows[i] >= 0:
            out[i] = lists[rows[i], targets[i] >> 3] >> np.uint8(targets[i] & 7) & np.uint8(1)
    return out
