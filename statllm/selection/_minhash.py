"""Shingle sets of texts, their similarity, and MinHash: hashes that like sets share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.ragged import FloatArray, IntArray
from statllm.selection._draws import Words, _mix
from statllm.selection._words import Normalisation, Texts, word_rows

_BLOCK = 1 << 16  # shingles hashed, or pairs compared, at a time: stays in the cache
_GATHERED = 1 << 22  # shingles of the pairs compared at a time


def missed(jaccard: float, bands: int, rows: int) -> float:
    """Return the probability that a pair agrees in no band: (1 - J^rows)^bands.

    Examples
    --------
    >>> f"{missed(0.55, bands=64, rows=4):.4f}"
    '0.0022'
    """
    return float((1 - jaccard**rows) ** bands)


def banding(
    threshold: float, permutations: int, max_miss: float = 0.01, rows: int | None = None
) -> tuple[int, int]:
    """Return (rows, bands): the longest bands that miss few pairs at the threshold.

    Longer bands make fewer candidates of unlike texts.

    Raises
    ------
    InputError
        If too many pairs are missed even with bands of one value, or a number is out of range.

    Examples
    --------
    >>> banding(0.55, 256), banding(0.8, 256)
    ((4, 64), (8, 32))
    """
    if permutations < 1:
        raise InputError(f"permutations must be at least 1, not {permutations}")
    if not 0 < max_miss < 1:
        raise InputError(f"max_miss must lie between 0 and 1, not {max_miss:g}")
    if rows is not None:
        if not 1 <= rows <= permutations:
            raise InputError(f"rows must lie between 1 and {permutations}, not {rows}")
        return rows, permutations // rows
    for length in range(permutations, 0, -1):
        if missed(threshold, permutations // length, length) <= max_miss:
            return length, permutations // length
    raise InputError(
        f"{permutations} permutations miss more than {max_miss:g} of the pairs at {threshold:g}; "
        "give more permutations, or a larger max_miss"
    )


@dataclass(frozen=True, eq=False)
class ShingleSets:
    """Shingle sets: rising hashes without repeats, text after text; they may lie on disk."""

    hashes: NDArray[np.int64]
    offsets: IntArray

    @classmethod
    def of(cls, texts: Texts, shingle: int, normalisation: Normalisation) -> ShingleSets:
        """Hash runs of `shingle` words; a shorter text is one run."""
        words = word_rows(texts, normalisation)
        hashes, of, _ = words.runs(shingle)
        short = np.flatnonzero((words.lengths > 0) & (words.lengths < shingle))
        hashes, of = np.append(hashes, words.wholes(short)), np.append(of, short)
        values = (hashes >> np.uint64(1)).astype(np.int64)
        order = np.lexsort((values, of))
        values, of = values[order], of[order]
        new = np.ones(len(values), dtype=bool)
        new[1:] = (values[1:] != values[:-1]) | (of[1:] != of[:-1])
        lengths = np.bincount(of[new], minlength=len(words.lengths))
        return cls(values[new], np.concatenate(([0], np.cumsum(lengths))))

    @property
    def lengths(self) -> IntArray:
        return np.diff(self.offsets)

    @property
    def nonempty(self) -> IntArray:
        return np.flatnonzero(self.lengths)

    def digests(self) -> tuple[Words, Words]:
        """Two words for each set that isn't empty; equal sets have equal ones."""
        starts = self.offsets[self.nonempty]
        if not len(starts):
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        mixed = _mix(self.hashes.astype(np.uint64))
        return np.add.reduceat(mixed, starts), np.bitwise_xor.reduceat(mixed, starts)

    def jaccard(self, left: IntArray, right: IntArray) -> FloatArray:
        """Similarity of pairs of sets."""
        from scipy import sparse

        similarity = np.empty(len(left))
        ends = np.cumsum(self._lengths(left) + self._lengths(right))
        for part in _blocks(ends, _GATHERED):
            sides = []
            for rows in (left[part], right[part]):
                hashes, starts = self.gather(rows)
                ones = np.ones(len(hashes), dtype=np.int32)
                shape = (len(rows), np.iinfo(np.int64).max)
                sides.append(sparse.csr_array((ones, hashes, starts), shape=shape))
            common: FloatArray = (sides[0] * sides[1]).sum(axis=1)
            total = self._lengths(left[part]) + self._lengths(right[part]) - common
            similarity[part] = common / total
        return similarity

    def gather(self, rows: IntArray) -> tuple[NDArray[np.int64], IntArray]:
        """Return the hashes of these sets, and offsets of each among them."""
        lengths = self._lengths(rows)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        take = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return self.hashes[take], offsets

    def _lengths(self, rows: IntArray) -> IntArray:
        lengths: IntArray = self.offsets[rows + 1] - self.offsets[rows]
        return lengths


def band_keys(
    sets: ShingleSets, nodes: IntArray, rows: int, bands: int, seed: int
) -> NDArray[np.uint64]:
    """One word per band and node, shape (bands, n_nodes): a hash of the band's MinHash values.

    A permutation is h -> a h + b mod 2^32 with odd a, on shingle hashes that are random already.
    """
    rng = np.random.default_rng(seed)
    shape = (bands, rows)
    factor = rng.integers(0, 1 << 31, shape).astype(np.uint32) * np.uint32(2) + np.uint32(1)
    shift = rng.integers(0, 1 << 32, shape).astype(np.uint32)
    keys = np.zeros((bands, len(nodes)), dtype=np.uint64)
    for part in _blocks(np.cumsum(sets.lengths[nodes]), _BLOCK):
        hashes, offsets = sets.gather(nodes[part])
        low, starts = hashes.astype(np.uint32), offsets[:-1]
        for band in range(bands):
            key = np.full(len(starts), band, dtype=np.uint64)
            for a, b in zip(factor[band], shift[band], strict=True):
                key = _mix(key ^ np.minimum.reduceat(low * a + b, starts))
            keys[band, part] = key
    return keys


def _blocks(ends: IntArray, size: int) -> Iterator[slice]:
    """Consecutive items of at most `size` shingles together, at least one item."""
    begin = 0
    while begin < len(ends):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + size)))
        yield slice(begin, end)
        begin = end
