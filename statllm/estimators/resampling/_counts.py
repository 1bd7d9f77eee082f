"""Resamples as counts: how often each distinct unit was drawn, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Numbers that a batch may hold: 16 MB.
BATCH = 2**21
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
    by_unit = not bayesian and k * _UNITS_PER_BINOMIAL > n
    owner = np.repeat(np.arange(k), counts) if by_unit and k < n else None
    size = batch or max(1, BATCH // max(k, width, n if by_unit else 1))
    done = 0
    while done < resamples:
        b = min(size, resamples - done)
        if bayesian:
            drawn = rng.standard_gamma(counts.astype(np.float64), (b, k))
            drawn *= n / drawn.sum(axis=1, keepdims=True)
        elif by_unit:
            index = rng.integers(n, size=(b, n))
            if owner is not None:
                index = owner[index]
            index += k * np.arange(b)[:, None]
            drawn = np.bincount(index.ravel(), minlength=b * k).reshape(b, k).astype(np.float64)
        else:
            drawn = rng.multinomial(n, counts / n, b).astype(np.float64)
        yield drawn
        done += b


def cluster_codes(clusters: ArrayLike, n: int) -> IntArray:
    """Number of the cluster of each row."""
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ValueError(f"{labels.size} cluster labels for {n} rows")
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def finite(x: ArrayLike, what: str) -> FloatArray:
    """A one-dimensional array of finite floats, not empty."""
    values = np.asarray(x, np.float64)
    if values.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, not of shape {values.shape}")
    if len(values) == 0:
        raise ValueError(f"{what} must not be empty")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{what} is {values[bad][0]} in row {int(bad.argmax())}")
    return values
