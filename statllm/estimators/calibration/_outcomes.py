"""Confidences and outcomes, checked once, and the bins that they fall into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Missing = Literal["raise", "drop"]
Bins = Literal["equal-width", "equal-mass"] | Sequence[float] | FloatArray


@dataclass(frozen=True)
class Outcomes:
    """Rows without missing values.

    Attributes
    ----------
    confidence, correct : ndarray of float64, shape (n,)
        In [0, 1]. `correct` keeps its type where it's boolean.
    weights : ndarray, shape (n,), or None for weights of one.
    clusters : ndarray of int64, shape (n,), or None
        Numbers from 0, or None where every row is its own cluster.
    """

    confidence: FloatArray
    correct: NDArray[Any]
    weights: FloatArray | None
    clusters: IntArray | None

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def n_units(self) -> int:
        """Independent units: clusters, or rows."""
        if self.clusters is None:
            return len(self)
        return int(self.clusters.max(initial=-1)) + 1

    @property
    def weight(self) -> FloatArray:
        """Weights, ones where none were given."""
        return np.ones(len(self)) if self.weights is None else self.weights

    @property
    def outcome(self) -> FloatArray:
        """`correct` as floats."""
        return self.correct.astype(np.float64, copy=False)

    @property
    def residual(self) -> FloatArray:
        """Outcome minus confidence."""
        return self.outcome - self.confidence


def checked(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: str = "raise",
    binary: bool = False,
) -> Outcomes:
    """Return the rows, or say what is wrong with them."""
    p, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(
            f"confidence and correct must be two arrays of one length, not {p.shape}, {y.shape}"
        )
    w = None if weights is None else checked_weights(weights, len(p))
    labels = None if clusters is None else _labels(clusters, len(p))
    if y.dtype != np.bool_:
        y = y.astype(np.float64)
        if np.all((y == 0) | (y == 1)):
            y = y.astype(np.bool_)  # counts of booleans are cheaper
    # The minimum and the maximum pass NaN on, so they check all at once.
    low, high = (p.min(), p.max()) if len(p) else (0.0, 1.0)
    if np.isnan(low) or (y.dtype != np.bool_ and np.isnan(y.min())):
        lost = np.isnan(p) | np.isnan(y)
        _check_missing(int(lost.sum()), len(p), missing)
        p, y = p[~lost], y[~lost]
        w = None if w is None else w[~lost]
        labels = None if labels is None else labels[~lost]
        low, high = p.min(initial=0.0), p.max(initial=1.0)
    else:
        _check_missing(0, len(p), missing)
    if not (low >= 0 and high <= 1):
        raise ValueError("confidence must lie between 0 and 1")
    if y.dtype != np.bool_:
        # Dropping rows may have left nothing but 0 and 1.
        if np.all((y == 0) | (y == 1)):
            y = y.astype(np.bool_)
        elif binary:
            raise ValueError("correct must be true or false (1 or 0)")
        elif not (y.min() >= 0 and y.max() <= 1):
            raise ValueError("correct must lie between 0 and 1")
    if w is not None and len(w) and not w.sum() > 0:
        raise ValueError("weights must not all be zero")
    codes = None if labels is None else np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return Outcomes(p, y, w, codes)


def checked_matrix(
    probabilities: ArrayLike, label: ArrayLike, missing: str = "raise"
) -> tuple[FloatArray, IntArray, NDArray[np.bool_]]:
    """Class probabilities (n, K), labels 0..K-1, and which of the given rows they are."""
    p, label_array = np.asarray(probabilities, dtype=np.float64), np.asarray(label)
    if p.ndim != 2 or label_array.shape != p.shape[:1]:
        raise ValueError(
            "probabilities must be of shape (n, n_classes) and label of shape (n,), not "
            f"{p.shape}, {label_array.shape}"
        )
    lost: NDArray[np.bool_] = np.asarray(np.isnan(p).any(axis=1))
    if label_array.dtype.kind == "f":
        lost |= np.isnan(label_array)
    _check_missing(int(lost.sum()), len(lost), missing)
    p, codes = p[~lost], label_array[~lost].astype(np.int64)
    if np.any(codes != label_array[~lost]) or np.any((codes < 0) | (codes >= p.shape[1])):
        raise ValueError(f"label must be class numbers from 0 to {p.shape[1] - 1}")
    if np.any(p < 0) or np.any(np.abs(p.sum(axis=1) - 1) > 1e-4):
        raise ValueError("probabilities must not be negative and must sum to 1 in each row")
    return p, codes, ~lost


def design_of(
    weights: ArrayLike | None, clusters: ArrayLike | None, kept: NDArray[np.bool_]
) -> tuple[FloatArray | None, NDArray[Any] | None]:
    """Weights and cluster labels of the rows of a matrix that were kept."""
    n = len(kept)
    return (
        None if weights is None else checked_weights(weights, n)[kept],
        None if clusters is None else _labels(clusters, n)[kept],
    )


def bin_index(
    p: FloatArray, bins: Bins, n_bins: int, weights: FloatArray | None = None
) -> tuple[IntArray, int]:
    """Bin of each confidence, and the number of bins.

    Equal width: ((m - 1) / M, m / M], and 0 in the first. Equal mass: by the middle of the
    ranks (of the cumulative weights) that equal confidences share, so ties stay together.
    An array holds the edges, with the same rule; what lies outside is in the outer bins.
    """
    if isinstance(bins, str):
        if bins not in ("equal-width", "equal-mass"):
            raise ValueError(f"bins must be equal-width, equal-mass or edges, not {bins!r}")
        check_bins(n_bins)
        return (
            _equal_width(p, n_bins) if bins == "equal-width" else _equal_mass(p, n_bins, weights)
        ), n_bins
    edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ValueError("bins given as edges must rise, and be at least two")
    return np.searchsorted(edges[1:-1], p, side="left").astype(np.int64), len(edges) - 1


def _equal_width(p: FloatArray, n_bins: int) -> IntArray:
    """The integer part of M p, M a hair smaller: m / M in floats falls just below m."""
    return (p * (n_bins * (1 - 2.0**-51))).astype(np.int64)


def _equal_mass(p: FloatArray, n_bins: int, weights: FloatArray | None) -> IntArray:
    values, group = np.unique(p, return_inverse=True)
    mass = np.bincount(group, weights, len(values)).astype(np.float64)
    total = float(mass.sum())
    middle = np.cumsum(mass) - mass / 2
    place = np.floor(middle / total * n_bins * (1 + 1e-12)) if total else middle
    return np.minimum(place.astype(np.int64), n_bins - 1)[group]


def distinct_cells(p: FloatArray, limit: int) -> tuple[FloatArray, IntArray]:
    """Merge equal confidences, and near ones where there are more than `limit`.

    Returns the mean confidence of each cell, rising, and the cell of each row. With up to
    `limit` distinct values nothing is lost; else the cells are 1 / `limit` wide.
    """
    values, cell = np.unique(p, return_inverse=True)
    if len(values) <= limit:
        return values, cell.astype(np.int64)
    index = _equal_width(p, limit)
    count = np.bincount(index, minlength=limit)
    used = np.flatnonzero(count)
    number = np.zeros(limit, dtype=np.int64)
    number[used] = np.arange(len(used))
    return np.bincount(index, p, limit)[used] / count[used], number[index]


def check_bins(n_bins: int) -> None:
    """Raise unless there is a bin."""
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, not {n_bins}")


def check_resamples(n_resamples: int) -> None:
    """Raise unless there is something to draw."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, not {n_resamples}")


def check_level(level: float) -> None:
    """Raise unless it's a probability other than 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")


def _check_missing(n_lost: int, n: int, missing: str) -> None:
    if missing not in get_args(Missing):
        raise ValueError(f"missing must be raise or drop, not {missing!r}")
    if n_lost and missing == "raise":
        raise ValueError(f"{n_lost} of {n} rows have a NaN; missing='drop' drops them")


def checked_weights(weights: ArrayLike, n: int, name: str = "weights") -> FloatArray:
    """Weights of n rows; not negative, not all 0."""
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,):
        raise ValueError(f"{name} must be of shape ({n},), not {w.shape}")
    if not np.all((w >= 0) & np.isfinite(w)):
        raise ValueError(f"{name} must be finite and not negative")
    if n and not w.sum() > 0:
        raise ValueError(f"{name} must not all be zero")
    return w


def _labels(clusters: ArrayLike, n: int) -> NDArray[Any]:
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ValueError(f"clusters must be of shape ({n},), not {labels.shape}")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError("clusters must not be NaN")
    return labels
