"""Checked embeddings, and training rows kept apart to calibrate p-values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.conformal.p_values import conformal_p_values

FloatArray = NDArray[np.float64]
Score = Callable[[FloatArray], FloatArray]


def embeddings(values: ArrayLike, what: str, width: int | None = None) -> FloatArray:
    """Rows of finite numbers."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or (width is not None and table.shape[1] != width):
        wanted = "n_dimensions" if width is None else width
        raise ValueError(f"{what} must have shape (n, {wanted}), not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{what} must be finite numbers, without NaN")
    return table


def split(
    train: FloatArray, calibration: Any, rng: np.random.Generator
) -> tuple[NDArray[np.int64], FloatArray | None]:
    """Training rows to fit on, and the rows to calibrate with."""
    everything = np.arange(len(train))
    if calibration is None:
        return everything, None
    if np.ndim(calibration) == 0:
        if not 0 < float(calibration) < 1:
            raise ValueError(
                f"calibration must be rows, a share between 0 and 1, or None, not {calibration}"
            )
        order = rng.permutation(len(train))
        held = max(1, int(float(calibration) * len(train)))
        return np.sort(order[held:]), train[np.sort(order[:held])]
    return everything, embeddings(calibration, "calibration", train.shape[1])


def scored(
    score: Score, test: FloatArray, calibration: FloatArray | None, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray | None]:
    """Scores of the test rows, and conformal p-values where there is a calibration set."""
    value = score(test)
    if calibration is None:
        return value, None
    return value, conformal_p_values(score(calibration), value, rng=rng)
