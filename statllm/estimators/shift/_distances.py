"""Distances between rows, and kernels of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import LARGEST, finite, numbers

FloatArray = NDArray[np.float64]

_MOST = 20_000  # rows whose distances are held: 3.2 GB


def rows(x: ArrayLike, name: str) -> FloatArray:
    """Finite rows of features; numbers are rows of one."""
    values = numbers(x, name)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) < 2 or values.shape[1] == 0:
        raise ValueError(f"{name} must have at least two rows of features")
    for fair, wrong in (
        (np.isfinite(values), "that isn't finite"),
        (np.abs(values) <= LARGEST, "too large to be squared"),
    ):
        if not fair.all():
            raise ValueError(f"{name} has a number {wrong} in row {np.argmin(fair.all(axis=1))}")
    return values


def distances(x: FloatArray) -> FloatArray:
    """Euclidean distances between all rows, shape (n, n)."""
    if len(x) > _MOST:
        raise ValueError(f"{len(x)} rows are more than {_MOST}, whose distances fit into memory")
    from scipy.spatial.distance import cdist

    found: FloatArray = cdist(x, x)
    return found


def gaussian_kernel(
    distance: FloatArray, bandwidth: float | None, name: str
) -> tuple[FloatArray, float]:
    """exp(-d^2 / (2 h^2)) and h; by default h is the median distance of different rows."""
    if bandwidth is None:
        upper = distance[np.triu_indices(len(distance), 1)]
        bandwidth = float(np.median(upper))
        if bandwidth == 0:
            positive = upper[upper > 0]
            if len(positive) == 0:
                raise ValueError(f"all rows of {name} are equal: there is no distance to scale by")
            bandwidth = float(np.median(positive))
    if not finite([bandwidth], "bandwidth")[0] > 0:
        raise ValueError(f"bandwidth must be positive, not {bandwidth}")
    with np.errstate(over="ignore"):  # far apart: 0
        return np.exp(-((distance / bandwidth) ** 2) / 2), bandwidth
