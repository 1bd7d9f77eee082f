"""Sums of falling terms, many at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from statllm.ragged import FloatArray, IntArray


def ratio_series(ratio: Callable[[int, IntArray], FloatArray], n: int) -> FloatArray:
    """Return log(1 + r_0 + r_0 r_1 + ...) for `n` series.

    Parameters
    ----------
    ratio : callable
        ``(i, at) -> r_i`` of the series with the numbers `at`; a series ends where it is 0.
    n : int
    """
    total = np.ones(n)
    term = np.ones(n)
    at = np.arange(n)
    i = 0
    while len(at):
        term[at] *= ratio(i, at)
        total[at] += term[at]
        at = at[term[at] > 1e-17 * total[at]]
        i += 1
    return np.log(total)
