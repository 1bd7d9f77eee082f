"""Arrays that estimators are given, checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def finite(x: ArrayLike, name: str, empty: bool = False) -> NDArray[np.float64]:
    """One-dimensional, finite floats; the first bad place is named."""
    values = np.asarray(x, np.float64)
    if values.ndim != 1 or (len(values) == 0 and not empty):
        what = "one-dimensional" if empty else "one-dimensional and not empty"
        raise ValueError(f"{name} must be {what}, not of shape {values.shape}")
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ValueError(f"{name} is {values[wrong[0]]} at place {wrong[0]}")
    return values
