"""The preference table: one row per pair; what selection writes and training reads."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError

#: Must be present, without nulls. Texts are as generated, without the end-of-sequence token.
REQUIRED_COLUMNS: dict[str, pa.DataType] = {
    "prompt_id": pa.string(),
    "prompt": pa.string(),
    "chosen": pa.string(),
    "rejected": pa.string(),
    "weight": pa.float64(),
}

#: Token ids as generated, with the end-of-sequence token where the sample ended by itself.
#: A null means that this text was not sampled (a gold solution) and is to be tokenized.
TOKEN_COLUMNS: dict[str, pa.DataType] = {
    name: pa.list_(pa.int32()) for name in ("prompt_ids", "chosen_ids", "rejected_ids")
}

#: Where a pair comes from, and the numbers that chose it.
PROVENANCE_COLUMNS: dict[str, pa.DataType] = {
    "pair_id": pa.string(),
    "rule": pa.string(),
    "iteration": pa.int32(),
    "model": pa.string(),
    "chosen_index": pa.int32(),
    "rejected_index": pa.int32(),
    "chosen_answer": pa.string(),
    "rejected_answer": pa.string(),
    "chosen_votes": pa.int32(),
    "rejected_votes": pa.int32(),
    "n_votes": pa.int32(),
    "chosen_reward": pa.float64(),
    "rejected_reward": pa.float64(),
    "chosen_finish": pa.string(),
    "rejected_finish": pa.string(),
}

#: Every column that a preference table may have, in the order in which it is written.
PAIR_COLUMNS: dict[str, pa.DataType] = {
    **REQUIRED_COLUMNS,
    **TOKEN_COLUMNS,
    **PROVENANCE_COLUMNS,
}

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def check_pairs(table: pa.Table) -> pa.Table:
    """Return a preference table with its columns in their types and order.

    Parameters
    ----------
    table : pa.Table
        One row per pair. ``prompt`` may also be a list of messages
        (``list<struct<role, content>>``).

    Raises
    ------
    InputError
        If a column is unknown, missing or of another type; if a required value is null; if a
        weight is NaN, infinite or negative; if there is no row at all.

    Examples
    --------
    >>> table = pa.table({
    ...     "prompt_id": ["a"], "prompt": ["1 + 1 ="], "chosen": [" 2"], "rejected": [" 3"],
    ...     "weight": [0.5],
    ... })
    >>> check_pairs(table).column_names
    ['prompt_id', 'prompt', 'chosen', 'rejected', 'weight']
    >>> check_pairs(table.append_column("votes", pa.array([7])))
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: unknown column 'votes': trl would drop it silently; known columns...
    """
    table = check_columns(table, PAIR_COLUMNS, tuple(REQUIRED_COLUMNS))
    check_weights(table)
    return table


def check_columns(
    table: pa.Table, known: dict[str, pa.DataType], required: tuple[str, ...]
) -> pa.Table:
    """Cast `table` to the `known` columns it has; refuse unknown, missing and null ones."""
    for name in table.column_names:
        if name not in known:
            raise InputError(
                f"unknown column '{name}': trl would drop it silently; "
                f"known columns are {', '.join(known)}"
            )
        if table.column_names.count(name) > 1:
            raise InputError(f"column '{name}' occurs twice")
    for name in required:
        if name not in table.column_names:
            raise InputError(f"column '{name}' is missing; required are {', '.join(required)}")
    if table.num_rows == 0:
        raise InputError("the table has no rows")
    columns = {
        name: _as_type(name, table[name], kind)
        for name, kind in known.items()
        if name in table.column_names
    }
    table = pa.table(columns)
    for name in required:
        if columns[name].null_count:
            _refuse(table, name, columns[name].is_null(), "null")
    return table


def check_weights(table: pa.Table) -> None:
    """Refuse weights that are NaN, infinite or negative, naming the first such row."""
    weight = table["weight"]
    for wrong, what in (
        (pc.is_nan(weight), "NaN"),
        (pc.is_inf(weight), "infinite"),
        (pc.less(weight, 0.0), "negative"),
    ):
        if pc.any(wrong).as_py():
            _refuse(table, "weight", wrong, what)


def _refuse(table: pa.Table, name: str, wrong: pa.ChunkedArray, what: str) -> None:
    """Raise for the first row where `wrong` holds."""
    row = pc.index(wrong, True).as_py()
    owner = ""
    if "prompt_id" in table.column_names and name != "prompt_id":
        owner = f" (prompt_id '{table['prompt_id'][row].as_py()}')"
    raise InputError(f"column '{name}' is {what} in row {row}{owner}")


def _as_type(name: str, column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast a column where only the storage differs, never the meaning (text isn't a number)."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if name == "prompt" and _is_list(column.type):
        wanted = _MESSAGES
    if not _alike(column.type, wanted):
        raise InputError(f"column '{name}' holds {column.type}, {wanted} was expected")
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InputError(
            f"column '{name}' holds {column.type}, {wanted} was expected "
            f"({str(error).splitlines()[0]})"
        ) from error


def _alike(have: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether `have` is another storage of the same kind of value."""
    kinds = pa.types
    if kinds.is_null(have):
        return True
    if kinds.is_list(wanted):
        return _is_list(have) and _alike(have.value_type, wanted.value_type)
    if kinds.is_struct(wanted):
        return kinds.is_struct(have) and {f.name for f in have} == {f.name for f in wanted}
    if kinds.is_string(wanted):
        return any((kinds.is_string(have), kinds.is_large_string(have), kinds.is_string_view(have)))
    if kinds.is_floating(wanted):
        return any((kinds.is_floating(have), kinds.is_integer(have)))
    return bool(kinds.is_integer(have))


def _is_list(kind: pa.DataType) -> bool:
    return any((pa.types.is_list(kind), pa.types.is_large_list(kind), pa.types.is_list_view(kind)))
