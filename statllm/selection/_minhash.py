"""MinHash and its bands: which pairs of sets are alike, without comparing all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.ragged import FloatArray, IntArray
from statllm.selection._draws import _mix

_BLOCK = 1 << 16  # shingles hashed, or pairs compared, at a time: stays in the cache


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
    """Shingle sets: rising hashes without repeats, text after text."""

    hashes: NDArray[np.int64]
    offsets: IntArray

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], of: IntArray, n: int) -> ShingleSets:
        values = (hashes >> np.uint64(1)).astype(np.int64)
        order = np.lexsort((values, of))
        values, of = values[order], of[order]
        new = np.ones(len(values), dtype=bool)
        new[1:] = (values[1:] != values[:-1]) | (of[1:] != of[:-1])
        lengths = np.bincount(of[new], minlength=n)
        return cls(values[new], np.concatenate(([0], np.cumsum(lengths))))

    @property
    def lengths(self) -> IntArray:
        return np.diff(self.offsets)

    @property
    def nonempty(self) -> IntArray:
        return np.flatnonzero(self.lengths)

    def equal(self) -> IntArray:
        """For each set the first that equals it; an empty one stands for itself."""
        rows = self.nonempty
        mixed = _mix(self.hashes.astype(np.uint64))
        starts = self.offsets[rows]
        keys = np.stack(
            [np.add.reduceat(mixed, starts), np.bitwise_xor.reduceat(mixed, starts)], axis=1
        )
        _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        label = np.arange(len(self.lengths))
        label[rows] = rows[first[inverse.ravel()]]
        return label

    def jaccard(self, left: IntArray, right: IntArray) -> FloatArray:
        """Similarity of pairs of sets."""
        from scipy import sparse

        shape = (len(self.lengths), np.iinfo(np.int64).max)
        ones = np.ones(len(self.hashes), dtype=np.int32)
        matrix = sparse.csr_array((ones, self.hashes, self.offsets), shape=shape)
        common = np.empty(len(left))
        for start in range(0, len(left), _BLOCK):
            part = slice(start, start + _BLOCK)
            common[part] = (matrix[left[part]] * matrix[right[part]]).sum(axis=1)
        total = self.lengths[left] + self.lengths[right] - common
        similarity: FloatArray = common / total
        return similarity


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
    lengths = sets.lengths[nodes]
    ends = np.cumsum(lengths)
    begin = 0
    while begin < len(nodes):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK)))
        inside = lengths[begin:end]
        starts = np.cumsum(inside) - inside
        take = np.arange(inside.sum()) + np.repeat(sets.offsets[nodes[begin:end]] - starts, inside)
        low = sets.hashes[take].astype(np.uint32)
        for band in range(bands):
            key = np.full(end - begin, band, dtype=np.uint64)
            for a, b in zip(factor[band], shift[band], strict=True):
                key = _mix(key ^ np.minimum.reduceat(low * a + b, starts))
            keys[band, begin:end] = key
        begin = end
    return keys


def connect(
    sets: ShingleSets, nodes: IntArray, keys: NDArray[np.uint64], threshold: float
) -> tuple[IntArray, int, int]:
    """Components of the nodes (as their first node), pairs compared, pairs near enough.

    Pairs that are connected already aren't compared: it would change nothing.
    """
    label = np.arange(len(nodes))
    compared = near = 0
    for band, key in enumerate(keys):
        for left, right in _same_key(key, label):
            fresh = label[left] != label[right]
            left, right = left[fresh], right[fresh]
            for earlier in keys[:band]:  # a pair that an earlier band had compared
                seen = earlier[left] == earlier[right]
                left, right = left[~seen], right[~seen]
            similar = sets.jaccard(nodes[left], nodes[right]) >= threshold
            compared += len(left)
            near += int(similar.sum())
            if similar.any():
                label[:] = _union(label, left[similar], right[similar])
    return label, compared, near


def _same_key(key: NDArray[np.uint64], label: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Pairs of nodes with one key, in blocks: first the neighbours, which connect most.

    `label` may change between blocks; groups that have become one component are left alone.
    """
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=key[order[0]] ^ np.uint64(1)))
    sizes = np.diff(np.append(starts, len(order)))
    left: list[IntArray] = []
    right: list[IntArray] = []
    step = waiting = 0
    while True:
        if not left:  # at the start, and after each block
            labels = label[order]
            changes = np.append(0, np.cumsum(labels[1:] != labels[:-1]))
            several = changes[starts + sizes - 1] != changes[starts]
            starts, sizes = starts[several], sizes[several]
        step += 1
        active = sizes > step
        starts, sizes = starts[active], sizes[active]
        if not len(sizes):
            break
        counts = sizes - step
        before = np.cumsum(counts) - counts
        places = np.arange(counts.sum()) + np.repeat(starts - before, counts)
        one, other = order[places], order[places + step]
        fresh = label[one] != label[other]
        left.append(one[fresh])
        right.append(other[fresh])
        waiting += int(fresh.sum())
        if step == 1 or waiting >= _BLOCK:
            yield np.concatenate(left), np.concatenate(right)
            left, right, waiting = [], [], 0
    if waiting:
        yield np.concatenate(left), np.concatenate(right)


def _union(label: IntArray, left: IntArray, right: IntArray) -> IntArray:
    """Union-find of all links at once; a component is called by its first node."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n = len(label)
    ones = np.ones(len(left), dtype=np.int8)
    links = sparse.coo_array((ones, (label[left], label[right])), shape=(n, n))
    _, component = connected_components(links, directed=False)
    component = component[label]
    first = np.full(component.max() + 1, n)
    np.minimum.at(first, component, np.arange(n))
    joined: IntArray = first[component]
    return joined
