"""Options that several commands share, and the prompts that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from statllm.cli.common import conditions

if TYPE_CHECKING:
    import pyarrow as pa

NESTED = (".parquet", ".jsonl", ".ndjson")

Model = Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")]
Source = Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")]
Chat = Annotated[
    bool,
    typer.Option(
        "--chat/--no-chat", help="Send messages, or one text for models that complete text."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Parquet or JSONL.")]
Template = Annotated[str, typer.Option(help="A template's name, or a YAML file.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")]


def prompts_of(
    source: str, columns: dict[str, str], where: list[str] | None, limit: int | None
) -> pa.Table:
    """Return the first prompts of a file that meet the conditions, or of the lab."""
    from statllm.generations import Generations
    from statllm.recipe import Problems
    from statllm.stages import load_problems

    if source.startswith("lab:"):
        return load_problems(Problems(source=source, n=limit))
    return Generations.read(source, columns, conditions(where)).table.slice(0, limit)
