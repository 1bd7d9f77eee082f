"""Arguments that estimators are given, checked; every message names the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 1e150  # whose square is still a number


def numbers(x: ArrayLike, name: str) -> NDArray[np.float64]:
    """Floats, of whatever shape.

    Raises
    ------
    ValueError
        If it's text, complex, or rows of unlike lengths.
    """
    try:
        if np.iscomplexobj(x):
            raise TypeError("complex")
        return np.asarray(x, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers ({error})") from error


def finite(
    x: ArrayLike, name: str, empty: bool = False, largest: float = np.inf
) -> NDArray[np.float64]:
    """One-dimensional, finite floats of a size up to `largest`; the first bad place is named."""
    values = numbers(x, name)
    if values.ndim != 1 or (len(values) == 0 and not empty):
        what = "one-dimensional" if empty else "one-dimensional and not empty"
        raise ValueError(f"{name} must be {what}, not of shape {values.shape}")
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ValueError(f"{name} is {values[wrong[0]]} at place {wrong[0]}")
    wrong = np.flatnonzero(np.abs(values) > largest)
    if len(wrong):
        raise ValueError(
            f"{name} is {values[wrong[0]]:g} at place {wrong[0]}: numbers above {largest:g} can't "
            "be squared; scale them down"
        )
    return values


def whole(value: Any, name: str, least: int) -> int:
    """A whole number of at least `least`.

    Raises
    ------
    ValueError
        If it's none.

    Examples
    --------
    >>> whole(3.0, "steps", 1)
    3
    """
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        found = least - 1
    if found < least or found != value:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return found


def between(value: Any, name: str) -> float:
    """A number strictly between 0 and 1.

    Raises
    ------
    ValueError
        If it's none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = np.nan
    if not 0 < found < 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {value!r}")
    return found


def labels(x: ArrayLike, name: str, n: int) -> NDArray[Any]:
    """One label a row, none of them missing (None, NaN).

    Raises
    ------
    ValueError
        If it's not of shape (n,), or a label is missing; the row is named.
    """
    try:
        values = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of labels ({error})") from error
    if values.shape != (n,):
        raise ValueError(f"{name} must have one label per row, {n}, not shape {values.shape}")
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        missing = np.array([_is_missing(label) for label in values.tolist()], np.bool_)
    else:
        return values
    if missing.any():
        raise ValueError(f"{name} is missing in row {int(missing.argmax())}")
    return values


def label_codes(x: ArrayLike, name: str, n: int) -> NDArray[np.int64]:
    """Number of each row's label among the sorted ones, (n,), from 0.

    Raises
    ------
    ValueError
        As `labels`, or if labels can't be compared with each other.

    Examples
    --------
    >>> label_codes(["b", "a", "b"], "clusters", 3)
    array([1, 0, 1])
    """
    values = labels(x, name, n)
    try:
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    except TypeError as error:
        raise ValueError(f"{name}: labels must be of one type ({error})") from error


def _is_missing(label: Any) -> bool:
    """None, NaN, and pandas' NA, which equals nothing and isn't unequal either."""
    if label is None:
        return True
    same = label == label
    return not same if isinstance(same, bool | np.bool_) else True
