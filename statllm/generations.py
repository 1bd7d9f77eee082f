"""The generation table: one row per prompt, samples as Arrow list columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from statllm.errors import InputError
from statllm.ragged import IntArray, Ragged

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Columns with one value per sample, and the Arrow type of that value.
SAMPLE_COLUMNS: Mapping[str, str] = {
    "response": "string",
    "answer": "string",
    "answer_raw": "string",
    "pool": "string",
    "correct": "bool",
    "reward": "double",
    "reward_sd": "double",
    "reward_objectives": "list<double>",
    "ratings": "list<double>",
    "logprob": "double",
    "n_tokens": "int32",
    "token_ids": "list<int32>",
    "token_logprobs": "list<float>",
    "token_logprobs_model": "list<float>",
    "finish_reason": "string",
}

#: Columns with one value per prompt that are always text.
TEXT_COLUMNS = ("prompt_id", "reference")


def is_prompt(value: Any) -> bool:
    """Whether this is text, or messages of role and content, at least one.

    Examples
    --------
    >>> is_prompt("2 + 2?"), is_prompt([{"role": "user", "content": "2 + 2?"}]), is_prompt([])
    (True, True, False)
    """
    if isinstance(value, str):
        return True
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict)
            and isinstance(turn.get("role"), str)
            and isinstance(turn.get("content"), str)
            for turn in value
        )
    )


@dataclass(frozen=True, eq=False)
class Generations:
    """Prompts and what a model said to each.

    Parameters
    ----------
    table : pyarrow.Table
        One row per prompt. ``prompt_id`` is required, text (numbers are turned into text) and
        unique. Per-sample columns (`SAMPLE_COLUMNS`) are lists of equal length within a row;
        rows may differ. Any other column travels along.

    Raises
    ------
    InputError
        Names the column and the row that are wrong.

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({"prompt_id": ["a", "b"], "answer": [["4", "4", "5"], ["7"]]}))
    >>> g.n_samples
    array([3, 1])
    """

    table: pa.Table

    def __post_init__(self) -> None:
        from statllm._validate import validated

        object.__setattr__(self, "table", validated(self.table))

    # ---- shape ------------------------------------------------------------------------------

    @property
    def n_prompts(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    def __len__(self) -> int:
        return self.n_prompts

    @property
    def column_names(self) -> list[str]:
        """Names of all columns."""
        names: list[str] = self.table.column_names
        return names

    @property
    def sample_columns(self) -> list[str]:
        """Names of the per-sample columns that are present."""
        return [name for name in self.table.column_names if name in SAMPLE_COLUMNS]

    @property
    def n_samples(self) -> IntArray:
        """Samples of each prompt, shape (n_prompts,); nulls count, they are samples too."""
        names = self.sample_columns
        if not names:
            return np.zeros(self.n_prompts, dtype=np.int64)
        return list_lengths(self.table[names[0]])

    @property
    def prompt_ids(self) -> list[str]:
        """The identifiers, in row order."""
        ids: list[str] = self.table["prompt_id"].to_pylist()
        return ids

    def __contains__(self, name: str) -> bool:
        return name in self.table.column_names

    # ---- columns ----------------------------------------------------------------------------

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column.

        Raises
        ------
        InputError
            If there is no such column; the ones that are there are named.
        """
        if name not in self.table.column_names:
            raise InputError(
                f"there is no column '{name}'; the table has {', '.join(self.table.column_names)}"
            )
        return self.table[name]

    def ragged(self, name: str) -> Ragged:
        """Return a numeric per-sample column as a flat array with offsets; null becomes NaN."""
        return Ragged.from_arrow(self.column(name))

    def with_columns(self, columns: Mapping[str, Any]) -> Generations:
        """Return a copy with columns added or replaced (Arrow arrays, NumPy arrays or lists)."""
        import pyarrow as pa

        table = self.table
        for name, values in columns.items():
            array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, array)
            else:
                table = table.append_column(name, array)
        return Generations(table)

    def take(self, rows: Sequence[int] | IntArray) -> Generations:
        """Return the given rows, in that order."""
        return Generations(self.table.take(rows))

    # ---- in and out -------------------------------------------------------------------------

    @classmethod
    def read(
        cls,
        path: str | Path,
        columns: Mapping[str, str] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> Generations:
        """Read Parquet, JSONL or CSV, nested (one row per prompt) or long (one per sample).

        Parameters
        ----------
        path : str or Path
            ``.parquet``, ``.jsonl`` (``.ndjson``) or ``.csv``. JSONL is split on ``\\n`` only,
            since texts may hold other line separators such as U+2028.
        columns : mapping, optional
            ``{our name: the file's name}``, for example ``{"prompt_id": "qid"}``. When a file
            has a second column that already bears our name, that one is left out.
        where : mapping, optional
            ``{the file's name: value}``: rows whose column, as text, is not `value` are left out.

        Raises
        ------
        InputError
            Names the file, and the line, column or row.
        """
        from statllm._formats import read_table

        return cls.from_table(read_table(path, columns or {}, where or {}), source=str(path))

    @classmethod
    def from_table(cls, table: pa.Table, source: str = "the table") -> Generations:
        """Take a nested or a long Arrow table; a long one is grouped by prompt_id."""
        from statllm._formats import nested

        try:
            return cls(nested(table))
        except InputError as error:
            raise InputError(f"{source}: {error}") from error

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Generations:
        """Take a pandas frame, nested or long.

        Examples
        --------
        >>> import pandas as pd
        >>> long = pd.DataFrame({"prompt_id": [1, 1, 2], "answer": ["4", None, "7"]})
        >>> Generations.from_frame(long).column("answer").to_pylist()
        [['4', None], ['7']]
        """
        import pyarrow as pa

        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"the frame can't be read: {'; '.join(map(str, error.args))}"
            ) from error
        return cls.from_table(table.replace_schema_metadata(None), source="the frame")

    def to_frame(self, long: bool = False) -> pd.DataFrame:
        """Return a pandas frame: one row per prompt, or per sample with its number."""
        table = self.long_table() if long else self.table
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def long_table(self) -> pa.Table:
        """Return one row per sample, with its place in the row as ``sample``."""
        import pyarrow as pa

        lengths = self.n_samples
        rows = np.repeat(np.arange(self.n_prompts), lengths)
        parts: dict[str, Any] = {}
        for name in self.table.column_names:
            column = self.table[name]
            if name in SAMPLE_COLUMNS:
                parts[name] = column.combine_chunks().flatten()
            else:
                parts[name] = column.take(pa.array(rows))
        positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return pa.table({**parts, "sample": pa.array(positions, pa.int32())})

    def write(self, path: str | Path, long: bool = False) -> None:
        """Write Parquet, JSONL or CSV (long only), whole or not at all."""
        from statllm._formats import write_table

        write_table(self.long_table() if long else self.table, path)

    @classmethod
    def concat(cls, parts: Iterable[Generations]) -> Generations:
        """Stack tables; a column that some parts lack is null there.

        Raises
        ------
        InputError
            If a prompt_id occurs in two parts, or a column has two types.
        """
        import pyarrow as pa

        tables = [part.table for part in parts]
        if not tables:
            raise InputError("there is nothing to concatenate")
        for name in SAMPLE_COLUMNS:
            have = [name in table.column_names for table in tables]
            if any(have) and not all(have):
                raise InputError(f"column '{name}' is missing in part {have.index(False)}")
        try:
            return cls(pa.concat_tables(tables, promote_options="permissive"))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(f"the tables don't fit together: {error}") from error


def list_lengths(column: pa.ChunkedArray) -> IntArray:
    """Length of each list of an Arrow column; a null list has length 0."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0)
    out: IntArray = lengths.to_numpy().astype(np.int64)
    return out
