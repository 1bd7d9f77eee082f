"""Run a job on an engine, and put its parts together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from statllm.engines.job import Job, Work, fitted
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.files import atomic, atomic_folder, sweep_temporary

Finish = Callable[[pa.Table, Mapping[str, int]], pa.Table]
OnPart = Callable[[int, int], None]

#: A part's counts, and what went wrong in it.
Outcome = tuple[dict[str, int], str | None]


def run(
    source: Source,
    work: Work,
    outputs: Mapping[str, Path],
    settings: EngineSettings,
    finish: Finish = lambda table, counts: table,
    on_part: OnPart = lambda done, of: None,
    unique: bool = True,
) -> dict[str, int]:
    """Apply a work to all of a source and write what it becomes.

    A killed run goes on from its last part when it is called again. What is written depends
    neither on the engine nor on the number of workers.

    Parameters
    ----------
    source : Source
    work : Work
    outputs : mapping
        Where outputs of the work go: to a file (``.parquet``), or to a folder of Parquet files (a
        name without suffix).
    settings : EngineSettings
    finish : callable
        Applied to every batch while the parts are joined, with the counts of all of them.
    on_part : callable
        Told how many parts are done, of how many.
    unique : bool
        Whether the source has a prompt_id, in which no two rows may agree.

    Returns
    -------
    dict
        The work's counts, summed over the source.

    Raises
    ------
    InputError
        If the source can't be read, has no rows, or has a prompt_id twice; if an output can't
        be written; and what the work raises.
    """
    check_targets(source, *outputs.values())
    folder = parts_folder(work, outputs)
    job, counts = work_through(source, work, folder, settings, on_part, unique)
    put_together(job, outputs, lambda table: finish(table, counts))
    return counts


def parts_folder(work: Work, outputs: Mapping[str, Path]) -> Path:
    """Return where the parts lie until they are put together: beside the first output."""
    first = next(outputs[name] for name in work.outputs if name in outputs)
    return first.with_name(f"{first.name}.parts")


def work_through(
    source: Source,
    work: Work,
    folder: Path,
    settings: EngineSettings,
    on_part: OnPart,
    unique: bool = True,
) -> tuple[Job, dict[str, int]]:
    """Do all parts that aren't in `folder` already; return the job and its summed counts."""
    parts = source.parts(settings.part_rows)
    if unique:
        source.check_unique(parts, settings.batch_rows)
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary(folder)
    job = Job(source, parts, work, folder, settings.batch_rows)
    totals: dict[str, int] = {"rows": 0}
    with closing(_results(job, settings)) as results:  # an error ends the workers at once
        for done, (counts, error) in enumerate(results, start=1):
            if error is not None:
                raise InputError(error)
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
            on_part(done, len(parts))
    if totals["rows"] == 0:
        conditions = ", ".join(f"{name} = {value}" for name, value in source.where.items())
        raise InputError(f"{source.path} has no row where {conditions}")
    return job, totals


def _results(job: Job, settings: EngineSettings) -> Generator[Outcome]:
    if settings.engine == "ray":
        from statllm.engines.ray_data import outcomes
    else:
        from statllm.engines.local import outcomes
    return outcomes(job, settings)


def check_targets(source: Source, *outputs: Path | None) -> None:
    """Refuse outputs that can't be written, or would replace the source or each other.

    Raises
    ------
    InputError
        If one has a suffix other than ``.parquet``, something else lies there, it is the source or
        lies among its files, or two are one.
    """
    read = source.path.resolve()
    seen: set[Path] = set()
    for path in filter(None, outputs):
        if path.suffix not in ("", ".parquet"):
            raise InputError(
                f"{path}: an engine writes .parquet, or a folder of such files (a name without "
                "suffix)"
            )
        if path.suffix and path.is_dir():
            raise InputError(f"{path} is a folder, a file was expected")
        if not path.suffix and path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file, a folder was expected")
        written = path.resolve()
        among = read.is_dir() and written.suffix == ".parquet" and written.parent == read
        if written == read or among:
            raise InputError(f"{path} would be written over, or among, what is read: {source.path}")
        if written in seen:
            raise InputError(f"{path} would be two outputs")
        seen.add(written)


def put_together(
    job: Job, outputs: Mapping[str, Path], finish: Callable[[pa.Table], pa.Table] = lambda t: t
) -> None:
    """Write the outputs of parts that are all done, and drop the parts."""
    # the first output, which says that all is done, comes last
    for name in reversed([name for name in job.work.outputs if name in outputs]):
        join(job, name, outputs[name], finish)
    shutil.rmtree(job.folder)


def join(job: Job, name: str, path: Path, finish: Callable[[pa.Table], pa.Table]) -> None:
    """Write an output's parts, in order, to one file or to a folder."""
    files = [job.file(name, number) for number in range(len(job.parts))]
    files = [file for file in files if pq.read_schema(file).names]  # a part may have no rows
    if path.suffix:
        with atomic(path) as temporary:
            _write(files, temporary, finish)
        return
    with atomic_folder(path) as temporary:
        for number, file in enumerate(files):
            _write([file], temporary / f"part-{number:05d}.parquet", finish)


def _write(files: Sequence[Path], target: Path, finish: Callable[[pa.Table], pa.Table]) -> None:
    """One file of these, row group by row group."""
    writer: pq.ParquetWriter | None = None
    for path in files:
        with pq.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            tables = (file.read_row_group(i, use_threads=False) for i in groups)
            for table in tables if groups else [file.schema_arrow.empty_table()]:
                table = finish(table.replace_schema_metadata(None))
                writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
                if table.num_rows:
                    writer.write_table(fitted(table, writer.schema))
    if writer is not None:
        writer.close()
