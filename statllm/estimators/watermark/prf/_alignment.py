"""Least cost of aligning a stretch of text with a stretch of a circular key sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def least_cost(costs: Any, codes: Any, block: int, gap: float, edits: bool) -> Any:
    """Smallest cost over all stretches of `block` tokens and all places of the sequence.

    `costs` has shape (n_key, n_distinct), `codes` says which distinct token each token is. With
    `edits`, tokens and key elements may be skipped at `gap` each (Levenshtein); without, they
    are paired one by one.
    """
    n, m = len(costs), len(codes)
    # row t: costs of token t along the sequence, which goes on from its beginning
    along = np.empty((m, n + block))
    for t in range(m):
        for j in range(n + block):
            along[t, j] = costs[j % n, codes[t]]
    best = np.inf
    row = np.empty(block + 1)
    for i in range(m - block + 1):
        for j in range(n):
            if edits:
                found = _edit_cost(along, i, j, block, gap, row)
            else:
                found = 0.0
                for a in range(block):
                    found += along[i + a, j + a]
            best = min(best, found)
    return best


@njit(cache=True, nogil=True)
def _edit_cost(along: Any, i: int, j: int, block: int, gap: float, row: Any) -> Any:
    """One row of the table at a time; `diagonal` is the entry above and to the left."""
    for b in range(block + 1):
        row[b] = b * gap
    for a in range(block):
        diagonal = row[0]
        row[0] = (a + 1) * gap
        for b in range(block):
            paired = diagonal + along[i + a, j + b]
            diagonal = row[b + 1]
            row[b + 1] = min(paired, min(diagonal, row[b]) + gap)
    return row[block]
