"""Columns of findings and of the truth in their types; whatever is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from statllm._validate import as_text, zero_or_one
from statllm.errors import InputError

BOOL, TEXT, WHOLE, BOOLS = pa.bool_(), pa.string(), pa.int64(), pa.list_(pa.bool_())


def typed(
    table: pa.Table, needed: Mapping[str, pa.DataType], what: str, optional: tuple[str, ...] = ()
) -> pa.Table:
    """Return the table with these columns in their types.

    Parameters
    ----------
    table : pyarrow.Table
    needed : mapping of str to DataType
        Numbers may stand for text, and 0 and 1 for false and true; NaN is null.
    what : str
        What the table is, for messages.
    optional : tuple of str
        Of `needed`: those that may be missing.

    Raises
    ------
    InputError
        If a column is missing, or holds something else.

    Examples
    --------
    >>> typed(pa.table({"met": [1, 0, None]}), {"met": BOOL}, "truth")["met"].to_pylist()
    [True, False, None]
    """
    for name, kind in needed.items():
        if name not in table.column_names:
            if name in optional:
                continue
            raise InputError(
                f"column '{name}' of the {what} is missing; it has {', '.join(table.column_names)}"
            )
        column = _column(name, table[name], kind, what)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _column(name: str, column: pa.ChunkedArray, kind: pa.DataType, what: str) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if kind == TEXT:
        return as_text(name, column)
    if kind == BOOL:
        return _bools(name, column, what)
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InputError(
            f"column '{name}' of the {what} holds {column.type}, {kind} was expected "
            f"({str(error).splitlines()[0]})"
        ) from error


def _bools(name: str, column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    found, row = zero_or_one(column.combine_chunks())
    if row is not None:
        raise InputError(
            f"column '{name}' of the {what} is {column[row].as_py()!r} in row {row}, not 0, 1, null"
        )
    return pa.chunked_array([found])
