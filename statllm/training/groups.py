"""Segments of similar lengths, padded and attended to together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statllm.training.packing import Layout

# Padded places that a segment may cost before a call of its own is cheaper (measured on a CPU).
_WASTE = 2048


@dataclass(frozen=True)
class Group:
    """Some segments, each padded to the longest of them.

    Attributes
    ----------
    shape : tuple of int
        Segments, queries and keys of each.
    mask : Tensor or None
        Shape (n, 1, queries, keys), 0 where a query sees a key and −inf elsewhere; None where
        every segment is whole and sees only itself.
    """

    shape: tuple[int, int, int]
    mask: Tensor | None


@dataclass(frozen=True)
class Groups:
    """All segments of a layout.

    Attributes
    ----------
    groups : list of Group
    queries, keys : Tensor
        Places in the line of what is attended to, group after group, segment after segment.
    back : Tensor
        Where each position of the line is among the queries.
    """

    groups: list[Group]
    queries: Tensor
    keys: Tensor
    back: Tensor


_known: WeakKeyDictionary[Layout, Groups] = WeakKeyDictionary()


def padded_groups(layout: Layout) -> Groups:
    """Return the groups of a layout, which are made once for all layers."""
    found = _known.get(layout)
    if found is None:
        found = _known[layout] = _made(layout)
    return found


def _made(layout: Layout) -> Groups:
    q, k = layout.q_lengths, layout.k_lengths
    q_starts, k_starts = np.cumsum(q) - q, np.cumsum(k) - k
    key_places = np.arange(int(k.sum())) if layout.keys is None else layout.keys.cpu().numpy()
    groups: list[Group] = []
    queries, keys = [], []
    back = np.empty(int(q.sum()), dtype=np.int64)
    done = 0
    for members in _similar(q, k):
        n_q, n_k = int(q[members].max()), int(k[members].max())
        groups.append(Group((len(members), n_q, n_k), _mask(q[members], k[members], n_q, n_k)))
        queries.append(_padded(q_starts[members], q[members], n_q).ravel())
        keys.append(key_places[_padded(k_starts[members], k[members], n_k)].ravel())
        for row, member in enumerate(members):
            own = slice(q_starts[member], q_starts[member] + q[member])
            back[own] = done + row * n_q + np.arange(q[member])
        done += len(members) * n_q
    return Groups(
        groups,
        torch.from_numpy(np.concatenate(queries)),
        torch.from_numpy(np.concatenate(keys)),
        torch.from_numpy(back),
    )


def _similar(q: NDArray[np.int64], k: NDArray[np.int64]) -> list[list[int]]:
    """Divide segments into groups in which padding costs less than calls would."""
    found: list[list[int]] = []
    order = np.lexsort((-q, -k)).tolist()
    n_q = n_k = 0
    for member in order:
        longest = max(n_q, int(q[member]))
        more = (
            longest * n_k - q[member] * k[member] + (longest - n_q) * n_k * len(found[-1])
            if found
            else 0
        )
        if not found or more > _WASTE:
            found.append([])
            longest, n_k = int(q[member]), int(k[member])
        found[-1].append(member)
        n_q = longest
    return found


def _padded(starts: NDArray[np.int64], lengths: NDArray[np.int64], to: int) -> NDArray[np.int64]:
    """Places from each start on; beyond a length, its first place."""
    places = np.arange(to)
    found: NDArray[np.int64] = starts[:, None] + np.where(places < lengths[:, None], places, 0)
    return found


def _mask(q: NDArray[np.int64], k: NDArray[np.int64], n_q: int, n_k: int) -> Tensor | None:
    """What each query sees: keys up to its own, which is the segment's last for the last query."""
    if (q == n_q).all() and (k == n_k).all() and n_q == n_k:
        return None
    rows, columns = np.arange(n_q)[:, None], np.arange(n_k)
    ends = rows + (k - q)[:, None, None]
    hidden: NDArray[Any] = columns > np.minimum(ends, (k - 1)[:, None, None])
    return torch.zeros(hidden.shape).masked_fill_(torch.from_numpy(hidden), -torch.inf)[:, None]
