"""Parquet, JSONL and CSV files as Arrow tables, long tables as nested ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.files import atomic, existing_file, read_parquet, write_parquet
from statllm.generations import SAMPLE_COLUMNS

#: What tables are read from and written to.
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv")

_TEXT = ("prompt_id", "prompt", "reference", "response", "answer")


def read_rows(path: str | Path, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Read a file as it is, by its suffix; `columns` (our names: the file's) say what is text."""
    table = _read_folder(path) if Path(path).is_dir() else _read_file(path, columns)
    names = table.column_names
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise InputError(f"{path}: column '{again}' occurs twice")
    return table


def _read_file(path: str | Path, columns: Mapping[str, str] | None) -> pa.Table:
    path = existing_file(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return read_parquet(path)
    if suffix in (".jsonl", ".ndjson"):
        return read_jsonl(path, columns)
    if suffix == ".csv":
        return _read_csv(path, columns or {})
    raise InputError(f"{path}: '{suffix}' is not read; use .parquet, .jsonl or .csv")


def parquet_files(path: str | Path) -> list[Path]:
    """Return the file, or a folder's ``.parquet`` files in the order of their names.

    Raises
    ------
    InputError
        If there is none, or the file isn't called ``.parquet``.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
        if not files:
            raise InputError(f"{path} holds no .parquet file")
        return files
    existing_file(path)
    if path.suffix.lower() != ".parquet":
        raise InputError(f"{path} is not .parquet, which alone is read in parts")
    return [path]


def _read_folder(path: str | Path) -> pa.Table:
    try:
        return pa.concat_tables([read_parquet(file) for file in parquet_files(path)])
    except pa.ArrowInvalid as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"the files of {path} don't fit together: {reason}") from error


def read_table(path: str | Path, columns: Mapping[str, str], where: Mapping[str, str]) -> pa.Table:
    """Read a file, keep the rows that `where` asks for, and rename `columns` to our names."""
    table = read_rows(path, columns)
    for name in (*columns.values(), *where):
        if name not in table.column_names:
            raise InputError(
                f"{path} has no column '{name}'; it has {', '.join(table.column_names)}"
            )
    for name, value in where.items():
        table = table.filter(pc.equal(table[name].cast(pa.string()), value))
        if table.num_rows == 0:
            raise InputError(f"{path} has no row where {name} = {value}")
    renamed = keep_and_rename(table, columns, {})
    if renamed.num_rows == 0:
        raise InputError(f"{path} has no rows")
    return renamed


def keep_and_rename(
    table: pa.Table, columns: Mapping[str, str], where: Mapping[str, str]
) -> pa.Table:
    """Keep the rows whose columns, as text, are as in `where`, and rename `columns` to ours."""
    for name, value in where.items():
        table = table.filter(pc.equal(table[name].cast(pa.string()), value))
    return _rename(table, columns)


def _rename(table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """Give the file's columns our names; a column that loses its name to another one goes."""
    theirs = {source: ours for ours, source in columns.items()}
    names, arrays = [], []
    for name in table.column_names:
        if name in theirs:
            names.append(theirs[name])
        elif name in columns:
            continue
        else:
            names.append(name)
        arrays.append(table[name])
    return pa.table(arrays, names=names)


def read_jsonl(path: str | Path, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Read JSON lines, split on '\\n' only; a broken line is named by its number."""
    path = existing_file(path)
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    with path.open("rb") as handle:  # binary: text mode would also end lines at '\r'
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if b"\\u" in line:  # a half of a pair of surrogates isn't text
                    json.dumps(row, ensure_ascii=False).encode()
            except ValueError as error:
                raise InputError(f"{path} line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path} line {number} is not an object but {_kind(row)}")
            rows.append(row)
            numbers.append(number)
    if not rows:
        raise InputError(f"{path} has no rows")
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = {(columns or {}).get(name, name) for name in _TEXT}
    return pa.table({n: _json_column(path, n, rows, numbers, n in text) for n in names})


def _json_column(
    path: Path, name: str, rows: list[dict[str, Any]], numbers: list[int], text: bool
) -> pa.Array:
    """Build one column; answers may mix numbers and text, all else has one type."""
    values = [row.get(name) for row in rows]
    if text:
        values = [_text(value) for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass
    kind = None
    for value, number in zip(values, numbers, strict=True):
        if value is None:
            continue
        try:
            kind = kind or pa.array([value]).type
            pa.array([value], kind)
        except pa.ArrowException as error:
            raise InputError(
                f"{path} line {number}: column '{name}' holds {_kind(value)} where the lines "
                f"before hold {kind}"
            ) from error
    return pa.array(values, kind)


def _text(value: Any) -> Any:
    """Numbers among answers and identifiers as text; lists element by element."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return repr(int(value)) if float(value).is_integer() else repr(value)
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value


def _kind(value: Any) -> str:
    """A JSON value's type in words."""
    words = {dict: "an object", list: "a list", str: "text", bool: "true/false"}
    return words.get(type(value), "a number" if value is not None else "null")


def _read_csv(path: Path, columns: Mapping[str, str]) -> pa.Table:
    import pyarrow.csv as csv

    path = existing_file(path)
    text = {columns.get(name, name): pa.string() for name in _TEXT}
    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=text, strings_can_be_null=True),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_binary(column.type):
            raise InputError(f"{path}: column '{name}' is not UTF-8 text")
    return table


def nested(table: pa.Table) -> pa.Table:
    """Group a long table by prompt_id, in order of first appearance; a nested one is returned.

    A table is long when it has per-sample columns and none of them is a list of samples. A
    column that is constant within every prompt stays one value per prompt; any other becomes
    a list.
    """
    names = [name for name in table.column_names if name in SAMPLE_COLUMNS]
    lists = [name for name in names if _depth(table[name].type) > _depth_of_value(name)]
    if not names or lists or "prompt_id" not in table.column_names:
        return table
    ids = table["prompt_id"]
    if ids.null_count:
        row = int(np.flatnonzero(ids.is_null().to_numpy())[0])
        raise InputError(f"column 'prompt_id' is null in row {row}")
    codes = (
        ids.combine_chunks().dictionary_encode()
        if ids.num_chunks != 1
        else (
            ids.chunk(0) if pa.types.is_dictionary(ids.type) else ids.chunk(0).dictionary_encode()
        )
    )
    code = codes.indices.to_numpy(zero_copy_only=False)
    _, first, code = np.unique(code, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # number the prompts by first appearance
    group = rank[code]
    order = np.argsort(group, kind="stable")
    lengths = np.bincount(group, minlength=len(first))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = order[offsets[:-1]]
    _check_sample_numbers(table, group)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        if name in SAMPLE_COLUMNS or not _constant(column, order, offsets):
            columns[name] = _lists(column.take(pa.array(order)), offsets)
        else:
            columns[name] = column.take(pa.array(starts))
    positions = np.arange(len(order)) - np.repeat(offsets[:-1], lengths)
    if "sample" in columns and np.array_equal(table["sample"].take(pa.array(order)), positions):
        del columns["sample"]  # the place in the list says the same
    for name in ("prompt", "reference"):
        if (
            name in columns
            and pa.types.is_list(columns[name].type)
            and not pa.types.is_list(table[name].type)
        ):
            row = _first_change(table[name], order, offsets)
            raise InputError(f"column '{name}' changes within prompt_id '{ids[row]}' (row {row})")
    return pa.table(columns)


def _depth(kind: pa.DataType) -> int:
    """How many lists deep a type is."""
    return (
        1 + _depth(kind.value_type)
        if hasattr(kind, "value_type") and not (pa.types.is_dictionary(kind))
        else 0
    )


def _depth_of_value(name: str) -> int:
    return SAMPLE_COLUMNS[name].count("list<")


def _check_sample_numbers(table: pa.Table, group: np.ndarray[Any, Any]) -> None:
    """A sample number may occur once per prompt."""
    if "sample" not in table.column_names:
        return
    sample = table["sample"].combine_chunks()
    pair = pa.table({"prompt": pa.array(group), "sample": sample})
    counts = pair.group_by(["prompt", "sample"]).aggregate([([], "count_all")])
    if counts.num_rows == table.num_rows:
        return
    seen: set[tuple[Any, Any]] = set()
    for row, key in enumerate(zip(group.tolist(), sample.to_pylist(), strict=True)):
        if key in seen:
            raise InputError(
                f"sample {key[1]} of prompt_id '{table['prompt_id'][row]}' occurs twice "
                f"(again in row {row})"
            )
        seen.add(key)


def _codes(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Equal values as equal numbers; null is one more value."""
    if pa.types.is_nested(column.type):
        texts = [json.dumps(value, sort_keys=True, default=str) for value in column.to_pylist()]
        column = pa.chunked_array([pa.array(texts)])
    array = pa.chunked_array(column.chunks, column.type).combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(codes)


def _constant(
    column: pa.ChunkedArray, order: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]
) -> bool:
    """Whether a column has one value per prompt."""
    codes = _codes(column)[order]
    changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    return bool(np.isin(changes, offsets).all())


def _first_change(
    column: pa.ChunkedArray, order: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]
) -> int:
    """First row, in the file's order, that differs from the start of its prompt."""
    codes = _codes(column)[order]
    changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    return int(order[changes[~np.isin(changes, offsets)]].min())


def _lists(column: pa.ChunkedArray, offsets: np.ndarray[Any, Any]) -> pa.Array:
    flat = pa.chunked_array(column.chunks, column.type).combine_chunks()
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def check_output(path: str | Path | None, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse a file that can't be written, before the work that would go into it.

    Raises
    ------
    InputError
        If it is a folder, or its suffix isn't one of `suffixes`.
    """
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, a file was expected")
    if path.suffix.lower() not in suffixes:
        names = " or ".join(name for name in suffixes if name != ".ndjson")
        raise InputError(f"{path}: '{path.suffix}' is not written; use {names}")


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write by suffix: .parquet, .jsonl or, for tables without lists, .csv."""
    check_output(path)
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        write_parquet(table, path)
    elif suffix in (".jsonl", ".ndjson"):
        with atomic(path) as temporary, temporary.open("wb") as handle:
            for line in _json_lines(table):
                handle.write(line)
    else:
        import pyarrow.csv as csv

        nested_names = [f.name for f in table.schema if pa.types.is_nested(f.type)]
        if nested_names:
            raise InputError(
                f"{path}: a CSV file can't hold the lists of column '{nested_names[0]}'; "
                "write .parquet or .jsonl, or the long form"
            )
        with atomic(path) as temporary:
            csv.write_csv(table, temporary)


def _json_lines(table: pa.Table) -> Iterable[bytes]:
    """One object per row; NaN and infinity are written as null, for JSON has neither."""
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            yield json.dumps(finite(row), ensure_ascii=False, default=str).encode() + b"\n"


def finite(value: Any) -> Any:
    """Return the value with numbers that aren't finite as None: JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
