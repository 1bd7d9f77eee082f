"""Rows of unequal length as one flat array and its offsets, reduced without Python loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Ragged:
    """Rows of a flat array: row i is ``values[offsets[i]:offsets[i + 1]]``.

    Parameters
    ----------
    values : ndarray, shape (n_values,)
    offsets : ndarray of int64, shape (n_rows + 1,)
        Starts at 0, never falls, ends at n_values.

    Raises
    ------
    ValueError
        If the offsets don't describe the values.

    Notes
    -----
    Reductions of an empty row give 0 for `sum`, NaN for `mean`, `var`, `min`, `max`, and -1
    for `argmin`, `argmax`. NaN propagates: a missing number never makes a row look better.

    Examples
    --------
    >>> r = Ragged.from_lists([[1.0, 3.0], [], [5.0]])
    >>> r.mean()
    array([ 2., nan,  5.])
    >>> r.lengths
    array([2, 0, 1])
    """

    values: NDArray[Any]
    offsets: IntArray

    def __post_init__(self) -> None:
        offsets = np.asarray(self.offsets, dtype=np.int64)
        values = np.asarray(self.values)
        if values.ndim != 1 or offsets.ndim != 1 or len(offsets) == 0:
            raise ValueError("values and offsets must be one-dimensional, offsets not empty")
        if offsets[0] != 0 or offsets[-1] != len(values) or np.any(np.diff(offsets) < 0):
            raise ValueError(
                f"offsets must rise from 0 to {len(values)}, the number of values; "
                f"they go from {offsets[0]} to {offsets[-1]}"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "offsets", offsets)

    # ---- making one -----------------------------------------------------------------------

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[Any]], dtype: Any = None) -> Ragged:
        """Join lists, one per row.

        Examples
        --------
        >>> Ragged.from_lists([["a", "b"], ["c"]]).offsets
        array([0, 2, 3])
        """
        listed = [list(row) for row in rows]
        flat = [value for row in listed for value in row]
        if dtype is None:
            dtype = np.array(flat).dtype if flat else np.float64
        return cls.from_lengths(np.array(flat, dtype=dtype), [len(row) for row in listed])

    @classmethod
    def from_lengths(cls, values: ArrayLike, lengths: ArrayLike) -> Ragged:
        """Cut a flat array into rows of the given lengths."""
        offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])
        return cls(np.asarray(values), offsets.astype(np.int64))

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray | pa.Array) -> Ragged:
        """View an Arrow list column of numbers; a null row is empty, a null value is NaN.

        Integers and booleans without nulls keep their type and are not copied.
        """
        import pyarrow as pa

        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):  # an empty column has no chunk to combine
            array = pa.array([], type=array.type)
        lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        return cls.from_lengths(array.flatten().to_numpy(zero_copy_only=False), lengths)

    # ---- shape ------------------------------------------------------------------------------

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return self.n_rows

    @cached_property
    def lengths(self) -> IntArray:
        """Number of values in each row, shape (n_rows,)."""
        return np.diff(self.offsets)

    @cached_property
    def rows(self) -> IntArray:
        """Row number of each value, shape (n_values,)."""
        return np.repeat(np.arange(self.n_rows, dtype=np.int64), self.lengths)

    @cached_property
    def positions(self) -> IntArray:
        """Place of each value inside its row, shape (n_values,)."""
        return np.arange(len(self.values), dtype=np.int64) - self.offsets[self.rows]

    def row(self, index: int) -> NDArray[Any]:
        """Return the values of one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def to_lists(self) -> list[list[Any]]:
        """Return the rows as Python lists."""
        return [self.row(i).tolist() for i in range(self.n_rows)]

    def with_values(self, values: ArrayLike) -> Ragged:
        """Return the same rows with other values."""
        return Ragged(np.asarray(values), self.offsets)

    def keep(self, mask: ArrayLike) -> Ragged:
        """Drop single values; rows stay, and may become empty.

        Examples
        --------
        >>> Ragged.from_lists([[1, 2], [3]]).keep([True, False, False]).to_lists()
        [[1], []]
        """
        mask = np.asarray(mask, dtype=bool)
        kept = np.concatenate([[0], np.cumsum(mask)])
        return Ragged(self.values[mask], kept[self.offsets])

    # ---- reductions -------------------------------------------------------------------------

    def _reduce(self, ufunc: np.ufunc, empty: float) -> NDArray[Any]:
        """`ufunc.reduceat` over the rows that have values."""
        values = self.values if self.values.dtype.kind in "iuf" else self.values.astype(np.float64)
        filled = self.lengths > 0
        if filled.all():
            out = np.zeros(self.n_rows, dtype=values.dtype)
        else:
            out = np.full(self.n_rows, empty, dtype=np.float64)
        if filled.any():
            out[filled] = ufunc.reduceat(values, self.offsets[:-1][filled])
        return out

    def sum(self) -> FloatArray:
        """Sum of each row, shape (n_rows,); 0 for an empty row."""
        return self._float()._reduce(np.add, 0.0)

    def mean(self) -> FloatArray:
        """Mean of each row, shape (n_rows,); NaN for an empty row."""
        return _divide(self.sum(), self.lengths)

    def var(self, ddof: int = 1) -> FloatArray:
        """Variance of each row, shape (n_rows,); NaN where there are `ddof` values or fewer.

        Two passes (centre, then square), so that a large common level costs no digits.
        """
        centred = self._float().values - self.mean()[self.rows]
        squares = self.with_values(centred**2).sum()
        return _divide(squares, np.maximum(self.lengths - ddof, 0))

    def min(self) -> NDArray[Any]:
        """Smallest value of each row; NaN for an empty row."""
        return self._reduce(np.minimum, np.nan)

    def max(self) -> NDArray[Any]:
        """Largest value of each row; NaN for an empty row."""
        return self._reduce(np.maximum, np.nan)

    def argmin(self) -> IntArray:
        """Place in the row of the first smallest value; -1 for an empty row or one with NaN."""
        return self._first(self.min())

    def argmax(self) -> IntArray:
        """Place in the row of the first largest value; -1 for an empty row or one with NaN."""
        return self._first(self.max())

    def _first(self, target: NDArray[Any]) -> IntArray:
        """Place of the first value equal to the row's `target`."""
        out = np.full(self.n_rows, -1, dtype=np.int64)
        hits = np.flatnonzero(self.values == target[self.rows])[::-1]
        out[self.rows[hits]] = self.positions[hits]  # reversed: the first hit is written last
        return out

    def _float(self) -> Ragged:
        return (
            self
            if self.values.dtype == np.float64
            else self.with_values(self.values.astype(np.float64))
        )


def _divide(numerator: FloatArray, count: IntArray) -> FloatArray:
    """Numerator / count, NaN where the count is 0."""
    out = np.full(len(numerator), np.nan)
    np.divide(numerator, count, out=out, where=count > 0)
    return out
