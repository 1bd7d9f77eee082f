"""`statllm select RULE`: scored samples in, preference pairs and a ledger out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import (
    Answer,
    InputFile,
    Prompt,
    PromptId,
    Reference,
    Response,
    Reward,
    Where,
    conditions,
    console,
    mapping,
    table_of,
)

select = typer.Typer(no_args_is_help=True, help="Turn scored samples into preference pairs.")

Output = Annotated[Path, typer.Option("--output", "-o", help="Pairs, Parquet.")]
Ledger = Annotated[
    Path | None, typer.Option(help="One row per prompt: kept or dropped, and why (Parquet).")
]
Seed = Annotated[int, typer.Option(help="Breaks ties and draws within clusters.")]
Preset = Annotated[str | None, typer.Option(help="A paper's settings by name.")]
