"""Columns of labels as numbers, and what must hold for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Factor:
    """A column of labels as numbers.

    Attributes
    ----------
    code : ndarray of int64, shape (n,)
        Index into `labels`.
    labels : ndarray, shape (k,)
        Distinct, sorted.
    """

    code: IntArray
    labels: NDArray[Any]

    def number(self, label: object, what: str) -> int:
        """Index of a label; ValueError if it isn't there."""
        found = np.flatnonzero(self.labels == label)
        if not len(found):
            shown = ", ".join(repr(known) for known in self.labels[:8].tolist())
            raise ValueError(f"there is no {what} {label!r}; there are {shown}")
        return int(found[0])


def combinations(columns: list[IntArray]) -> tuple[list[IntArray], IntArray]:
    """Distinct rows of columns of codes, and the number of each row's."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:  # renumbered at each step, so that it can't overflow
        key = key * (int(column.max(initial=0)) + 1) + column
        key = np.unique(key, return_inverse=True)[1].astype(np.int64)
    _, first = np.unique(key, return_index=True)
    return [column[first] for column in columns], key


def means(values: FloatArray, code: IntArray) -> FloatArray:
    """Mean of the values with each code."""
    found: FloatArray = np.bincount(code, values) / np.bincount(code)
    return found


def factor(column: ArrayLike, name: str, n: int) -> Factor:
    """A column of labels, none of them missing."""
    values = np.asarray(column)
    if values.shape != (n,):
        raise ValueError(f"{name} has {values.size} rows, score {n}")
    if values.dtype == object:
        each(
            np.array([v is not None and v == v for v in values]), name, values, "must have a label"
        )
        values = np.array(values.tolist())
    elif values.dtype.kind == "f":
        each(~np.isnan(values), name, values, "must have a label")
    labels, code = np.unique(values, return_inverse=True)
    return Factor(code.astype(np.int64), labels)


def each(good: BoolArray, name: str, values: NDArray[Any], rule: str) -> None:
    """Name the first row that breaks a rule."""
    if not good.all():
        row = int((~good).argmax())
        raise ValueError(f"{name} {rule}, but row {row} is {values[row]}")


def no_duplicates(factors: list[Factor]) -> None:
    """Name two rows that are the same in every column."""
    _, key = combinations([factor.code for factor in factors])
    times = np.bincount(key)
    if (times > 1).any():
        rows = np.flatnonzero(key == int((times > 1).argmax()))
        label = ", ".join(str(factor.labels[factor.code[rows[0]]]) for factor in factors)
        raise ValueError(
            f"rows {rows[0]} and {rows[1]} have the same item, model, sample and judge: {label}"
        )
