"""JSON lines as Parquet, block by block, for engines read Parquet alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.files import atomic, existing_file

_BLOCK = 1 << 24  # bytes; a line must fit


@contextmanager
def parquet_source(path: Path, beside: Path) -> Iterator[Source]:
    """Give `path` as a source; what it was converted to goes when the work is done.

    Parameters and what is raised as for `as_parquet`.
    """
    converted = as_parquet(path, beside)
    yield Source(converted)
    if converted != path:
        converted.unlink()


def as_parquet(source: Path, beside: Path) -> Path:
    """Return `source` if it is Parquet; a JSON-lines file is converted in constant memory.

    The converted file is named after `beside` and stays until it is deleted, so that a killed run
    doesn't convert again; it is made anew when the source is newer.

    Parameters
    ----------
    source : Path
        A folder, ``.parquet``, ``.jsonl`` or ``.ndjson``.
    beside : Path
        What the work will write.

    Raises
    ------
    InputError
        If the file doesn't exist, isn't JSON lines, or changes a column's type after the
        first 16 MB.
    """
    if source.is_dir() or existing_file(source).suffix.lower() not in (".jsonl", ".ndjson"):
        return source
    target = beside.with_name(f"{beside.name}.input.parquet")
    if target.exists() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns:
        return target
    import pyarrow.json as json_lines

    options = json_lines.ReadOptions(block_size=_BLOCK)
    try:
        with (
            atomic(target) as temporary,
            json_lines.open_json(source, options) as reader,
            pq.ParquetWriter(temporary, reader.schema, compression="zstd") as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
    except pa.ArrowInvalid as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{source} can't be read as JSON lines: {reason}") from error
    return target
