"""JSON lines as Parquet, block by block, for engines read Parquet alone."""

from __future__ import annotations

import glob
import hashlib
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
    try:
        yield Source(converted)
    except InputError as error:  # of the file that the user knows
        if converted == path:
            raise
        raise InputError(str(error).replace(str(converted), str(path))) from error
    if converted != path:
        converted.unlink()


def as_parquet(source: Path, beside: Path) -> Path:
    """Return `source` if it is Parquet; a JSON-lines file is converted in constant memory.

    The converted file is named after `beside` and a digest of the source's name, size and time of
    change; it stays until it is deleted, so that a killed run doesn't convert again. Those of
    other sources, or of another state of this one, are deleted.

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
    state = source.stat()
    version = f"{source.resolve()} {state.st_size} {state.st_mtime_ns}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:16]
    target = beside.with_name(f"{beside.name}.input-{digest}.parquet")
    if target.exists():
        return target
    for old in beside.parent.glob(f"{glob.escape(beside.name)}.input-*.parquet"):
        old.unlink(missing_ok=True)
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
