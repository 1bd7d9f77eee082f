"""One pass over a source: every part becomes files of its own, which are whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from statllm._version import __version__
from statllm.engines.source import Part, Source
from statllm.errors import InputError
from statllm.files import atomic

_KEY = b"statllm.engines.key"
_NOTES = b"statllm.engines.notes"


class Work(Protocol):
    """What is done to each batch; a row's outcome must not depend on the other rows.

    It is sent to other processes, so it must be picklable; a model is loaded there, once, and
    given back in the end by its method `close`, if it has one. Its `hashes`, if it has them, are
    the outputs whose values hardly repeat.
    """

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a batch becomes, in this order."""
        ...

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the outcome besides the rows, as JSON values."""
        ...

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Turn a batch, whose first row has this number, into tables by name and counts.

        Counts are added up over batches and parts.
        """
        ...


@dataclass(frozen=True)
class Job:
    """A work over a source's parts.

    Parameters
    ----------
    source : Source
    parts : sequence of Part
    work : Work
    folder : Path
        Where the parts' files lie.
    batch_rows : int
    """

    source: Source
    parts: Sequence[Part]
    work: Work
    folder: Path
    batch_rows: int

    def file(self, output: str, number: int) -> Path:
        """Return where a part's output lies."""
        return self.folder / f"{output}-{number:05d}.parquet"

    def files(self, output: str) -> Iterator[pq.ParquetFile]:
        """Open an output's files one after the other, without those of parts without rows."""
        for number in range(len(self.parts)):
            with pq.ParquetFile(self.file(output, number), pre_buffer=False) as file:
                if file.schema_arrow.names:
                    yield file

    def column(self, output: str, name: str, into: NDArray[Any]) -> NDArray[Any]:
        """Read a column of numbers of all parts, of which there are as many as `into` has room."""
        start = 0
        for file in self.files(output):
            values = file.read([name], use_threads=False)[name].to_numpy()
            into[start : start + len(values)] = values
            start += len(values)
        return into

    def key(self, number: int) -> bytes:
        """Digest of everything that decides what becomes of a part."""
        decides = {
            "work": type(self.work).__name__,
            "settings": self.work.decides(),
            "columns": dict(self.source.columns),
            "where": dict(self.source.where),
            "part": self.source.fingerprint(self.parts[number]),
            "first": self.parts[number].first,
            "batch_rows": self.batch_rows,
            "statllm": __version__,
        }
        text = json.dumps(decides, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest().encode()

    def run(self, number: int) -> dict[str, int]:
        """Do a part, unless its files are there already; return its counts.

        Raises
        ------
        InputError
            What the work raises, with the place of the batch.
        """
        key = self.key(number)
        done = self._complete(number, key)
        if done is not None:
            return done
        part = self.parts[number]
        counts = {"rows": 0}
        writers: dict[str, _Writer] = {}
        hashes: Sequence[str] = getattr(self.work, "hashes", ())
        with ExitStack() as files:
            # the first output is renamed last: where it is whole, the others are
            for name in self.work.outputs:
                temporary = files.enter_context(atomic(self.file(name, number)))
                writers[name] = files.enter_context(_Writer(temporary, key, name not in hashes))
            for first, batch in self.source.batches(part, self.batch_rows):
                try:
                    tables, found = self.work(batch, first)
                except InputError as error:
                    last = first + batch.num_rows
                    raise InputError(f"{part.path}, in rows {first} to {last}: {error}") from error
                for name, table in tables.items():
                    writers[name].write(table)
                counts["rows"] += batch.num_rows
                for name, count in found.items():
                    counts[name] = counts.get(name, 0) + count
            for writer in writers.values():
                writer.notes = counts
        return counts

    def close(self) -> None:
        """Give back what the work holds in this process, if it holds anything."""
        close: Callable[[], None] | None = getattr(self.work, "close", None)
        if close is not None:
            close()

    def _complete(self, number: int, key: bytes) -> dict[str, int] | None:
        """The counts of a part whose files are whole and were made from the same things."""
        notes = None
        for name in self.work.outputs:
            try:
                metadata = pq.read_metadata(self.file(name, number)).metadata or {}
            except (OSError, pa.ArrowInvalid):
                return None
            if metadata.get(_KEY) != key:
                return None
            notes = metadata.get(_NOTES)
        counts: dict[str, int] = json.loads(notes or b"{}")
        return counts


class _Writer:
    """A Parquet file with one row group per table; a part without rows has no columns."""

    def __init__(self, path: Path, key: bytes, dictionary: bool) -> None:
        self.path, self.key, self.dictionary = path, key, dictionary
        self.file: pq.ParquetWriter | None = None
        self.notes: Mapping[str, int] = {}

    def __enter__(self) -> _Writer:
        return self

    def write(self, table: pa.Table) -> None:
        if self.file is None:
            schema = table.schema.with_metadata({_KEY: self.key})
            self.file = pq.ParquetWriter(
                self.path, schema, compression="zstd", use_dictionary=self.dictionary
            )
        if table.num_rows:
            self.file.write_table(fitted(table, self.file.schema))

    def __exit__(self, kind: object, *_: object) -> None:
        if self.file is None:
            self.file = pq.ParquetWriter(self.path, pa.schema([], metadata={_KEY: self.key}))
        if kind is None:
            self.file.add_key_value_metadata({_NOTES: json.dumps(self.notes)})
        self.file.close()


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table in the columns and types of the batches before.

    Raises
    ------
    InputError
        If it has others.
    """
    if set(table.column_names) != set(schema.names):
        odd = min(set(table.column_names) ^ set(schema.names))
        raise InputError(f"column '{odd}' is in some batches and not in others")
    table = table.select(schema.names).replace_schema_metadata(None)
    try:
        return table.cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"batches differ in a column's type: {error}") from error
