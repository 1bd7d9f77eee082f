"""`statllm select provenance`: rows in, those without watermarked text out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console, table_of
from statllm.cli.engine import part_progress
from statllm.cli.settings import with_settings
from statllm.cli.watermark import (
    Corpus,
    KeyFile,
    SchemeName,
    Text,
    Tokenizer,
    Tokens,
    detection_settings,
    document_column,
)
from statllm.engines.settings import EngineSettings
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
    from statllm.engines.convert import parquet_source
    from statllm.engines.provenance import select_provenance
    from statllm.scoring.watermarks import read_configurations

    detection, engine = detection_settings(settings, fdr)
    configurations = read_configurations(key_file, scheme)
    column = document_column(tokens, text, tokenizer)
    with parquet_source(corpus, output) as source, part_progress() as on_part:
        found = select_provenance(
            source,
            output,
            configurations,
            ledger,
            detection,
            column=column,
            tokenizer=tokenizer,
            fdr=fdr,
            settings=engine,
            on_part=on_part,
        )
    total = sum(found.counts.values())
    left = total - found.counts["watermarked"]
    rows = [*found.counts.items(), ("all rows", total)]
    console().print(table_of(f"{output}: {left} rows", ("reason", "rows"), rows))
