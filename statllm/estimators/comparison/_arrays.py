"""Arrays that tests are given, checked; rows brought together by cluster."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes, numbers

FloatArray = NDArray[np.float64]
Missing = Literal["raise", "drop"]


def flat(x: ArrayLike, what: str) -> FloatArray:
    """A one-dimensional array of floats."""
    values = numbers(x, what)
    if values.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, not of shape {values.shape}")
    return values


def differences_of(x: ArrayLike) -> FloatArray:
    """Differences without NaN, equal where rounding alone parts them: 0.6 - 0.4 and 0.2."""
    d = flat(x, "differences")
    if np.isnan(d).any():
        raise ValueError(f"{np.isnan(d).sum()} of {len(d)} differences are NaN")
    largest = float(np.abs(d).max(initial=0.0))
    if largest == 0 or np.isinf(largest):
        return d
    return np.asarray(np.round(d / largest, 12) * largest)


def pairs(
    a: ArrayLike, b: ArrayLike, missing: str
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Complete pairs, and which they are."""
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be raise or drop, not {missing!r}")
    first, second = flat(a, "a"), flat(b, "b")
    if len(first) != len(second):
        raise ValueError(f"a and b must be paired, but have {len(first)} and {len(second)} rows")
    kept: NDArray[np.bool_] = ~(np.isnan(first) | np.isnan(second))
    if missing == "raise" and not kept.all():
        raise ValueError(
            f"{(~kept).sum()} of {len(kept)} pairs have a NaN; missing='drop' drops them"
        )
    return first[kept], second[kept], kept


def cluster_sums(values: FloatArray, clusters: ArrayLike) -> FloatArray:
    """Sum of the values of each cluster."""
    number = label_codes(clusters, "clusters", len(values))
    sums: FloatArray = np.bincount(number, weights=values).astype(np.float64)
    return sums
