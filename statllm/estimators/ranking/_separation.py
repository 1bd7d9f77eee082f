"""Ford's condition (1957): is there a finite maximum of the likelihood?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def groups_of(k: int, winner: IntArray, loser: IntArray) -> tuple[int, IntArray]:
    """Number of strongly connected groups of models, and the group of each."""
    from scipy import sparse
    from scipy.sparse import csgraph

    wins = sparse.csr_array((np.ones(len(winner)), (winner, loser)), shape=(k, k))
    number, group = csgraph.connected_components(wins, directed=True, connection="strong")
    return int(number), group.astype(np.int64)


def pieces(k: int, i: IntArray, j: IntArray) -> int:
    """Number of parts that no battle connects."""
    from scipy import sparse
    from scipy.sparse import csgraph

    met = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(k, k))
    number, _ = csgraph.connected_components(met, directed=False)
    return int(number)


def limits(k: int, winner: IntArray, loser: IntArray) -> FloatArray:
    """Ratings where there's no finite maximum: +inf above, -inf below, NaN where undefined.

    +inf: wins lead from the model to others and none lead back to it from them, and no wins lead
    to it from elsewhere. -inf the other way round. All others are NaN.
    """
    number, group = groups_of(k, winner, loser)
    across = group[winner] != group[loser]
    above, below = np.zeros(number, bool), np.zeros(number, bool)
    above[group[winner[across]]] = True
    below[group[loser[across]]] = True
    by_group = np.where(above & ~below, np.inf, np.where(below & ~above, -np.inf, np.nan))
    return np.asarray(by_group[group])


def edges(i: IntArray, j: IntArray, counts: FloatArray) -> tuple[IntArray, IntArray]:
    """Who beat whom, a tie being both."""
    up = (counts[:, 0] > 0) | (counts[:, 1] > 0)
    down = (counts[:, 2] > 0) | (counts[:, 1] > 0)
    return np.concatenate([i[up], j[down]]), np.concatenate([j[up], i[down]])
