"""`statllm select diverse`: rows in, those that cover what all of them say out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel

from statllm.cli.common import console, estimates, table_of
from statllm.cli.engine import engine_settings, part_progress
from statllm.cli.settings import with_settings
from statllm.engines.settings import EngineSettings


@with_settings(EngineSettings)
def diverse(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Parquet, a folder of Parquet files, or JSONL."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The kept rows: Parquet, or a folder of it.")
    ],
    embedder: Annotated[Path, typer.Option(help="Folder of an embedding model.")],
    k: Annotated[int, typer.Option("--k", min=1, help="Rows to keep.")],
    ledger: Annotated[
        Path | None, typer.Option(help="One row per row of IN: kept, or near which (Parquet).")
    ] = None,
    column: Annotated[str, typer.Option(help="The texts.")] = "prompt",
    long_texts: Annotated[
        Literal["error", "cut"],
        typer.Option(help="Of texts that the model can't read whole."),
    ] = "error",
    seed: Annotated[int, typer.Option(min=0, help="Of the first pick, and of ties.")] = 0,
    settings: dict[str, Any] | None = None,
) -> None:
    """Keep k rows such that every text is near a kept one (k-center on embeddings).

    Examples:

        statllm select diverse prompts.parquet -o kept.parquet --embedder models/minilm --k 1000
    """
    from statllm.engines.convert import parquet_source
    from statllm.engines.diversity import select_diverse

    _, engine = engine_settings({"engine": "local", **(settings or {})}, BaseModel)
    with parquet_source(source, output) as rows_of, part_progress() as on_part:
        found = select_diverse(
            rows_of,
            output,
            embedder,
            k,
            ledger,
            column=column,
            long_texts=long_texts,
            seed=seed,
            settings=engine,
            on_part=on_part,
        )
    out = console()
    rows = [*found.counts.items(), ("all rows", sum(found.counts.values()))]
    out.print(table_of(f"{output}: {k} rows", ("reason", "rows"), rows))
    figures = [
        found.before.distance.named("mean cosine distance, all"),
        found.after.distance.named("mean cosine distance, kept"),
    ]
    out.print(estimates("diversity", figures))
    out.print(
        f"effective number of texts: {found.before.effective_number:.4g} of all, "
        f"{found.after.effective_number:.4g} of the kept; every text is within cosine distance "
        f"{found.radius:.3g} of a kept one"
    )
