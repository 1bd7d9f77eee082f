"""Resamples as counts: how often each distinct unit was drawn, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Numbers that a batch may hold: 16 MB.
BATCH = 2**21
#: The same where units are only added up: a processor's cache holds 2 MB.
UNITS = 2**18
# A binomial draw takes as long as drawing and counting this many single units.
_UNITS_PER_BINOMIAL = 25


def collapse(rows: FloatArray) -> tuple[FloatArray, IntArray]:
    """Distinct rows, sorted, and how often each occurs; rows (n,) or (n, k)."""
    if rows.ndim == 1:
        ones = np.count_nonzero(rows)
        if np.count_nonzero(rows == 1) == ones and 0 < ones < len(rows):  # spares the sort
            return np.array([0.0, 1.0]), np.array([len(rows) - ones, ones])
        values, counts = np.unique(rows, return_counts=True)
    elif np.all(rows[:, 1:] == rows[:1, 1:]):  # one column varies: sorted faster alone
        first, counts = collapse(np.ascontiguousarray(rows[:, 0]))
        values = np.column_stack([first, np.repeat(rows[:1, 1:], len(first), axis=0)])
    else:
        values, counts = np.unique(rows, axis=0, return_counts=True)
    return values, counts.astype(np.int64)


def by_unit(counts: IntArray) -> bool:
    """Whether resamples are quicker drawn unit by unit: nearly all are distinct."""
    return len(counts) * _UNITS_PER_BINOMIAL > int(counts.sum())


def resampled_units(
    n: int, resamples: int, rng: np.random.Generator, batch: int | None = None, held: int = BATCH
) -> Iterator[IntArray]:
    """Resamples of n units as their numbers, (b, n) at a time; the same whatever b is."""
    size = batch or max(1, held // n)
    for start in range(0, resamples, size):
        yield rng.integers(n, size=(min(size, resamples - start), n))


def resampled_counts(
    counts: IntArray,
    resamples: int,
    rng: np.random.Generator,
    bayesian: bool = False,
    batch: int | None = None,
    width: int = 0,
) -> Iterator[FloatArray]:
    """Counts of resamples of n = sum(counts) units, (b, k) at a time; the same whatever b is.

    Multinomial(n, counts / n), by units where nearly all are distinct; `bayesian`: n times a
    Dirichlet(counts) weight instead (Rubin 1981).

    Parameters
    ----------
    width : int
        Numbers that the caller holds for a resample, where it's more than here.
    """
    n, k = int(counts.sum()), len(counts)
    if not bayesian and by_unit(counts):
        owner = np.repeat(np.arange(k), counts) if k < n else None
        size = batch or max(1, BATCH // max(k, width, n))
        for index in resampled_units(n, resamples, rng, size):
            if owner is not None:
                index = owner[index]
            index += k * np.arange(len(index))[:, None]
            drawn = np.bincount(index.ravel(), minlength=len(index) * k)
            yield drawn.reshape(-1, k).astype(np.float64)
        return
    size = batch or max(1, BATCH // max(k, width))
    for start in range(0, resamples, size):
        b = min(size, resamples - start)
        if bayesian:
            weights = rng.standard_gamma(counts.astype(np.float64), (b, k))
            weights *= n / weights.sum(axis=1, keepdims=True)
            yield weights
        else:
            yield rng.multinomial(n, counts / n, b).astype(np.float64)
