"""Which sets are alike: pairs that share a hash are compared, and pairs that are near connected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import IntArray
from statllm.selection._draws import Words
from statllm.selection._minhash import ShingleSets

_BLOCK = 1 << 16  # pairs compared at a time
_RANGE = 1 << 22  # keys sorted at a time


def first_equal(one: Words, two: Words) -> IntArray:
    """For each pair of digests the place of the first that equals it."""
    label = np.arange(len(one))
    places, starts = _repeated(one)
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(places))))
    order = np.lexsort((places, two[places], group))
    places, group = places[order], group[order]
    second = two[places]
    new = np.ones(len(places), dtype=bool)
    new[1:] = (second[1:] != second[:-1]) | (group[1:] != group[:-1])
    label[places] = places[new][np.cumsum(new) - 1]
    return label


def connect(
    sets: ShingleSets,
    nodes: IntArray,
    bands: Iterable[Words],
    keys: NDArray[np.uint64],
    threshold: float,
) -> tuple[IntArray, int, int]:
    """Components of the nodes (as their first node), pairs compared, pairs near enough.

    Pairs that are connected already aren't compared: it would change nothing.

    Parameters
    ----------
    sets : ShingleSets
    nodes : ndarray of int64, shape (n_nodes,)
        Sets to compare.
    bands : iterable of ndarray, each of shape (n_nodes,)
        The rows of `keys`, which are read one after the other.
    keys : ndarray of uint64, shape (bands, n_nodes)
        Read here and there.
    threshold : float
    """
    label = np.arange(len(nodes))
    compared = near = 0
    for band, key in enumerate(bands):
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
                _union(label, left[similar], right[similar])
    return label, compared, near


def _repeated(key: Words) -> tuple[IntArray, IntArray]:
    """Places whose key occurs again, by rising key and place, and where each key starts.

    Keys are hashes: ranges of their values, sorted one after the other, are of like size.
    """
    ranges = np.uint64(len(key) // _RANGE + 1)
    order, starts, n = [], [], 0
    for number in range(int(ranges)):
        found = [
            begin + np.flatnonzero((part >> np.uint64(32)) * ranges >> np.uint64(32) == number)
            for begin in range(0, len(key), _RANGE)
            for part in [key[begin : begin + _RANGE]]
        ]
        places = np.concatenate(found) if found else np.empty(0, np.int64)
        by_key = np.argsort(key[places], kind="stable")
        places = places[by_key]
        values = key[places]
        again = np.zeros(len(values), dtype=bool)
        again[1:] = values[1:] == values[:-1]
        several = again.copy()
        several[:-1] |= again[1:]
        order.append(places[several])
        starts.append(n + np.flatnonzero(~again[several]))
        n += len(order[-1])
    return np.concatenate(order), np.concatenate(starts)


def _same_key(key: Words, label: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Pairs of nodes with one key, in blocks: first the neighbours, which connect most.

    `label` may change between blocks; groups that have become one component are left alone.
    """
    order, starts = _repeated(key)
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


def _union(label: IntArray, left: IntArray, right: IntArray) -> None:
    """Union-find of all links at once, in place; a component is called by its first node."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    roots, ends = np.unique(np.append(label[left], label[right]), return_inverse=True)
    ones = np.ones(len(left), dtype=np.int8)
    shape = (len(roots), len(roots))
    links = sparse.coo_array((ones, (ends[: len(left)], ends[len(left) :])), shape=shape)
    _, component = connected_components(links, directed=False)
    _, first = np.unique(component, return_index=True)
    label[roots] = roots[first][component]
    for start in range(0, len(label), _RANGE):
        part = slice(start, start + _RANGE)
        label[part] = label[label[part]]
