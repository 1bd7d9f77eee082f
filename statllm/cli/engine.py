"""What verbs that run on an engine share: its options, progress, and figures of what it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from statllm.cli.settings import validated
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.engines.run import OnPart


def engine_settings(
    given: dict[str, Any], kind: type[BaseModel]
) -> tuple[dict[str, Any], EngineSettings | None]:
    """Split options into those of `kind` and the engine; no engine is the table in memory.

    Raises
    ------
    InputError
        If an option of engines is given and no engine.
    """
    own = {name: value for name, value in given.items() if name in kind.model_fields}
    rest = {name: value for name, value in given.items() if name not in own}
    settings = validated(EngineSettings, rest)
    if settings.engine is None:
        if rest:
            raise InputError(
                f"--{next(iter(rest)).replace('_', '-')} has no effect without --engine"
            )
        return own, None
    if settings.address is not None and settings.engine != "ray":
        raise InputError("--address has no effect without --engine ray")
    return own, settings


@contextmanager
def part_progress() -> Iterator[OnPart]:
    """Show how many parts are done, if standard error is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("parts", total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


class Stored:
    """A table on disk, read column by column, with what `Generations` says of columns."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        from statllm._formats import parquet_files

        self.files = parquet_files(path)
        self.path = path
        self.column_names: list[str] = pq.read_schema(self.files[0]).names
        self.n_prompts = sum(pq.read_metadata(file).num_rows for file in self.files)

    def __contains__(self, name: str) -> bool:
        return name in self.column_names

    def column(self, name: str) -> pa.ChunkedArray:
        """Read a column."""
        import pyarrow as pa

        from statllm.files import read_parquet

        parts = [read_parquet(file, [name])[name] for file in self.files]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
