"""`statllm select provenance`: rows in, those without watermarked text out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console, table_of
from statllm.cli.engine import engine_settings, part_progress
from statllm.cli.settings import validated, with_settings
from statllm.cli.watermark import (
    Corpus,
    KeyFile,
    SchemeName,
    Text,
    Tokenizer,
    Tokens,
    document_column,
)
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError
from statllm.scoring.watermarks.settings import DetectionSettings


@with_settings(DetectionSettings, EngineSettings, skip=("gpus",))
def provenance(
    corpus: Corpus,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The kept rows: Parquet, or a folder of it."),
    ],
    key_file: KeyFile,
    ledger: Annotated[
        Path | None,
        typer.Option(help="One line per document: kept or dropped, and the p-values (Parquet)."),
    ] = None,
    scheme: SchemeName = None,
    tokens: Tokens = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    fdr: Annotated[
        float, typer.Option(help="Expected share of human rows among the dropped ones.")
    ] = 0.01,
    settings: dict[str, Any] | None = None,
) -> None:
    """Drop rows that carry a watermark of one of the keys, at a false-discovery rate.

    Examples:

        statllm select provenance corpus.parquet -o clean.parquet --key-file keys.yaml \
--ledger ledger.parquet
    """
    from statllm.engines.convert import as_parquet
    from statllm.engines.provenance import select_provenance
    from statllm.engines.source import Source
    from statllm.scoring.watermarks import read_configurations

    if not 0 < fdr < 1:
        raise InputError(f"--fdr must lie between 0 and 1, not {fdr}")
    detection, engine = engine_settings({"engine": "local", **(settings or {})}, DetectionSettings)
    configurations = read_configurations(key_file, scheme)
    column = document_column(tokens, text, tokenizer)
    converted = as_parquet(corpus, output)
    with part_progress() as on_part:
        found = select_provenance(
            Source(converted),
            output,
            configurations,
            ledger,
            validated(DetectionSettings, detection),
            column=column,
            tokenizer=tokenizer,
            fdr=fdr,
            settings=engine,
            on_part=on_part,
        )
    if converted != corpus:
        converted.unlink()
    total = sum(found.counts.values())
    left = total - found.counts["watermarked"]
    rows = [*found.counts.items(), ("all rows", total)]
    console().print(table_of(f"{output}: {left} rows", ("reason", "rows"), rows))
