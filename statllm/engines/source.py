"""A Parquet file or a folder of them, cut into parts that are read on their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statllm._formats import keep_and_rename, parquet_files
from statllm.errors import InputError


@dataclass(frozen=True)
class Part:
    """Consecutive row groups of one file.

    Attributes
    ----------
    path : Path
    groups : range
    rows : int
    first : int
        The part's first row, counted over all files.
    """

    path: Path
    groups: range
    rows: int
    first: int


@dataclass(frozen=True)
class Source:
    """A nested table on disk.

    Parameters
    ----------
    path : Path
        A Parquet file, or a folder of Parquet files, taken in the order of their names.
    columns : mapping
        {our name: the file's name}.
    where : mapping
        {the file's name: value}: rows whose column, as text, is not `value` are left out.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)

    def parts(self, rows: int) -> list[Part]:
        """Cut at row groups, into parts of at least `rows` rows (a file's last one may be smaller).

        Raises
        ------
        InputError
            If a file isn't whole, lacks a column, or differs from the first one in its columns.
        """
        parts: list[Part] = []
        first = 0
        schema: pa.Schema | None = None
        for path in parquet_files(self.path):
            with _opened(path) as file:
                self._check(path, file.schema_arrow, schema)
                schema = schema or file.schema_arrow
                counts = [
                    file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)
                ]
            for groups in _runs(counts, rows):
                size = sum(counts[i] for i in groups)
                parts.append(Part(path, groups, size, first))
                first += size
        if first == 0:
            raise InputError(f"{self.path} has no rows")
        return parts

    def _check(self, path: Path, schema: pa.Schema, expected: pa.Schema | None) -> None:
        for name in schema.names:
            if schema.names.count(name) > 1:
                raise InputError(f"{path} has two columns '{name}'")
        for name in (*self.columns.values(), *self.where):
            if name not in schema.names:
                raise InputError(f"{path} has no column '{name}'; it has {', '.join(schema.names)}")
        if expected is not None and not schema.equals(expected):
            names = {field.name for field in schema} ^ {field.name for field in expected}
            what = f"column '{min(names)}'" if names else "the types or the order of its columns"
            raise InputError(f"{path} differs from the first file of {self.path} in {what}")

    def batches(
        self, part: Part, rows: int, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Read a part, at most `rows` rows at a time; give each batch and its first row's number.

        A batch has our names and the rows that `where` keeps; one that keeps none is left out.
        """
        first = part.first
        wanted = None
        if columns is not None:
            wanted = [*(self.columns.get(name, name) for name in columns), *self.where]
        with _opened(part.path) as file:
            reader = file.iter_batches(
                batch_size=rows, row_groups=list(part.groups), columns=wanted, use_threads=False
            )
            try:
                for batch in reader:
                    table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                    table = keep_and_rename(table, self.columns, self.where)
                    if table.num_rows:
                        yield first, table
                    first += batch.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(
                    f"{part.path} can't be read: {str(error).splitlines()[0]}"
                ) from error

    def fingerprint(self, part: Part) -> str:
        """Digest of what tells the part's file from its other versions, without reading it all.

        A Parquet footer holds sizes, places and statistics of all that is in the file; size and
        time of change see to the rest.
        """
        state = part.path.stat()
        with part.path.open("rb") as handle:
            handle.seek(-8, 2)
            length = int.from_bytes(handle.read(4), "little")
            handle.seek(-min(length + 8, state.st_size), 2)
            footer = handle.read()
        digest = hashlib.sha256(footer)
        digest.update(f"{state.st_size} {state.st_mtime_ns} {part.groups}".encode())
        return digest.hexdigest()

    def check_unique(self, parts: Sequence[Part], rows: int) -> None:
        """Refuse a prompt_id that occurs twice, in any part.

        Identifiers are compared by 64-bit hashes, 8 bytes a row; where two hashes agree, by
        themselves.

        Raises
        ------
        InputError
            Names the prompt_id.
        """
        import pandas as pd

        hashes = []
        for part in parts:
            for _, table in self.batches(part, rows, ["prompt_id"]):
                hashes.append(pd.util.hash_array(_ids(table), categorize=False))
        if not hashes:
            return
        found = np.concatenate(hashes)
        del hashes
        found.sort()
        repeated = np.unique(found[1:][found[1:] == found[:-1]])
        if len(repeated) == 0:
            return
        seen: set[str] = set()
        for part in parts:
            for _, table in self.batches(part, rows, ["prompt_id"]):
                ids = _ids(table)
                for name in ids[np.isin(pd.util.hash_array(ids, categorize=False), repeated)]:
                    if name in seen:
                        raise InputError(
                            f"column 'prompt_id' must be unique, but '{name}' occurs twice"
                        )
                    seen.add(name)


def _ids(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    from statllm._validate import as_text

    if "prompt_id" not in table.column_names:
        raise InputError(
            f"column 'prompt_id' is missing; there are {', '.join(table.column_names)}"
        )
    column = as_text("prompt_id", table["prompt_id"])
    if column.null_count:
        raise InputError("column 'prompt_id' is null in a row")
    ids: np.ndarray[tuple[int], np.dtype[np.object_]] = column.to_numpy(zero_copy_only=False)
    return ids


def _opened(path: Path) -> pq.ParquetFile:
    try:
        # without a buffer per column, a row group of gigabytes would be read in one piece
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise InputError(f"{path} is not a complete Parquet file: {reason}") from error


def _runs(counts: Sequence[int], rows: int) -> Iterator[range]:
    """Consecutive row groups that have at least `rows` rows together."""
    begin = size = 0
    for place, count in enumerate(counts):
        size += count
        if size >= rows:
            yield range(begin, place + 1)
            begin, size = place + 1, 0
    if size:
        yield range(begin, len(counts))
