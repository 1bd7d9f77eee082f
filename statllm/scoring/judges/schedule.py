"""Which responses meet: all pairs, or a round robin with few opponents each."""

from __future__ import annotations

import numpy as np


def pairings(
    n_responses: int, opponents: int | None = None, seed: int = 0
) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of one prompt's responses that meet.

    Parameters
    ----------
    n_responses : int
    opponents : int, optional
        How many others each response meets; default all. Where there are as many, or fewer, all
        pairs meet. Else responses stand in a circle in random order, and each meets the
        ``opponents // 2`` next to it on either side. Of an odd number the last is the one
        opposite; an odd number of responses can't have that, and takes one opponent more. So all
        fight equally often, and a chain of battles joins any two.
    seed : int
        Of the order.

    Returns
    -------
    list of (int, int)
        Sorted.

    Raises
    ------
    ValueError
        If `opponents` is below 2, unless everybody meets.

    Examples
    --------
    >>> pairings(3)
    [(0, 1), (0, 2), (1, 2)]
    >>> len(pairings(8, opponents=2)), len(pairings(8, opponents=3)), len(pairings(8))
    (8, 12, 28)
    """
    k = n_responses
    if opponents is None or opponents >= k - 1:
        return [(i, j) for i in range(k) for j in range(i + 1, k)]
    if opponents < 2:
        raise ValueError(f"each response needs 2 opponents at least, not {opponents}")
    opponents += opponents % 2 * (k % 2)
    circle = np.random.default_rng(seed).permutation(k)
    steps = list(range(1, opponents // 2 + 1)) + ([k // 2] if opponents % 2 else [])
    met = {
        (min(i, j), max(i, j))
        for place in range(k)
        for step in steps
        for i, j in [(int(circle[place]), int(circle[(place + step) % k]))]
    }
    return sorted(met)
