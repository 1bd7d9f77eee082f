"""What makes an Arrow table a generation table; every message names the column and the row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.generations import SAMPLE_COLUMNS, TEXT_COLUMNS, list_lengths

IntArray = NDArray[np.int64]


def validated(table: pa.Table) -> pa.Table:
    """Return the table with its columns in their types, or raise `InputError`."""
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"column '{repeated[0]}' occurs twice")
    if "prompt_id" not in names:
        raise InputError(
            f"column 'prompt_id' is missing; the table has {', '.join(names) or 'no columns'}"
        )
    for name in names:
        column = _plain(table[name])
        if name in TEXT_COLUMNS:
            column = as_text(name, column)
        elif name in SAMPLE_COLUMNS:
            column = _as_lists(name, column)
        table = table.set_column(names.index(name), name, column)
    _check_ids(table["prompt_id"])
    _check_lengths(table)
    return table


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode dictionaries and string views: they differ in storage, not in meaning."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    return column


def as_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast numbers to text; whole floats lose their '.0', which only a null had put there.

    NaN is null: what is missing in a column of numbers is NaN in pandas and NumPy.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
        values = column.drop_null().to_numpy()
        if np.all(np.isfinite(values)) and np.all(values == np.round(values)):
            return column.cast(pa.int64()).cast(pa.string())
        return column.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.string())
    raise InputError(f"column '{name}' holds {kind}, text or numbers were expected")


def _as_lists(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast a per-sample column to list<its type>."""
    kind = column.type
    if pa.types.is_null(kind):
        raise InputError(f"column '{name}' is null in every row")
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind)):
        raise InputError(
            f"column '{name}' holds {kind}, one list per prompt was expected "
            "(a long table has no list columns at all)"
        )
    wanted = pa.list_(_arrow_type(SAMPLE_COLUMNS[name]))
    if kind.equals(wanted):
        return column
    try:
        if SAMPLE_COLUMNS[name] == "string" and not pa.types.is_string(kind.value_type):
            return _text_lists(name, column)
        if SAMPLE_COLUMNS[name] == "bool" and _is_number(kind.value_type):
            return _bool_lists(name, column)
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InputError(
            f"column '{name}' holds {kind}, {wanted} was expected ({str(error).splitlines()[0]})"
        ) from error


def _text_lists(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast lists of numbers or dictionary codes to lists of text."""
    array = pa.chunked_array(column.chunks, column.type).combine_chunks()
    values = as_text(name, _plain(pa.chunked_array([array.flatten()])))
    return _relisted(array, values.combine_chunks() if values.num_chunks != 1 else values.chunk(0))


def _bool_lists(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast lists of 0 and 1 to lists of false and true; NaN is null, another number an error."""
    array = pa.chunked_array(column.chunks, column.type).combine_chunks()
    values = array.flatten()
    found, place = zero_or_one(values)
    if place is not None:
        row = int(np.searchsorted(_ends(array), place, side="right"))
        raise InputError(f"column '{name}' is {values[place]} in row {row}, not 0, 1 or null")
    return _relisted(array, found)


def zero_or_one(values: pa.Array) -> tuple[pa.Array, int | None]:
    """Return 0 and 1 as false and true, and the place of the first value that is neither.

    NaN is null. Arrow's own cast takes 2, .5 and NaN for true.
    """
    if pa.types.is_boolean(values.type) or pa.types.is_null(values.type):
        return values.cast(pa.bool_()), None
    wrong = values.is_valid()
    if _is_number(values.type):
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        known = pc.is_in(values, pa.array([0, 1], values.type))
        wrong = pc.and_(pc.invert(known), values.is_valid())
    if pc.any(wrong).as_py():
        return pa.nulls(len(values), pa.bool_()), pc.index(wrong, True).as_py()
    return values.cast(pa.bool_()), None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _ends(array: pa.ListArray) -> IntArray:
    """Where each list ends among the values of all."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    ends: IntArray = np.cumsum(lengths)
    return ends


def _relisted(array: pa.ListArray, values: pa.Array) -> pa.ChunkedArray:
    """Lists of the same lengths with other values; a null stays one."""
    offsets = pa.array(np.concatenate([[0], _ends(array)]), pa.int32())
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, values, mask=array.is_null())])


def _arrow_type(name: str) -> pa.DataType:
    """`list<int32>` and the like as Arrow types."""
    if name.startswith("list<"):
        return pa.list_(_arrow_type(name[5:-1]))
    return {
        "string": pa.string(),
        "bool": pa.bool_(),
        "double": pa.float64(),
        "float": pa.float32(),
        "int32": pa.int32(),
    }[name]


def _check_ids(ids: pa.ChunkedArray) -> None:
    if ids.null_count:
        row = int(np.flatnonzero(ids.is_null().to_numpy())[0])
        raise InputError(f"column 'prompt_id' is null in row {row}")
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    first: dict[str, int] = {}
    for row, value in enumerate(ids.to_pylist()):
        if value in first:
            raise InputError(
                f"column 'prompt_id' must be unique, but '{value}' is in rows {first[value]} "
                f"and {row}"
            )
        first[value] = row


def _check_lengths(table: pa.Table) -> None:
    """All per-sample lists of a row have one length."""
    names = [name for name in table.column_names if name in SAMPLE_COLUMNS]
    ids = table["prompt_id"]
    for name in names:
        if table[name].null_count:
            row = int(np.flatnonzero(table[name].is_null().to_numpy())[0])
            raise InputError(
                f"column '{name}' is null in row {row} (prompt_id '{ids[row]}'), "
                "a list was expected; write [] for a prompt without samples"
            )
    if not names:
        return
    expected = list_lengths(table[names[0]])
    for name in names[1:]:
        lengths = list_lengths(table[name])
        wrong = np.flatnonzero(lengths != expected)
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"column '{name}' has {lengths[row]} values in row {row} (prompt_id "
                f"'{ids[row]}') where '{names[0]}' has {expected[row]}"
            )
