"""`statllm watermark locate`: watermarked segments inside documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console
from statllm.cli.engine import part_progress
from statllm.cli.settings import validated, with_settings
from statllm.cli.watermark.options import (
    Corpus,
    KeyFile,
    SchemeName,
    Text,
    Tokenizer,
    Tokens,
    document_column,
    one_of,
    tokenizer_of,
)
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError


@with_settings(EngineSettings, skip=("gpus",))
def locate(
    corpus: Corpus,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="One row per segment: Parquet, or a folder.")
    ],
    key_file: KeyFile,
    configuration: Annotated[
        str | None, typer.Option(help="One of the keys by its name; not needed where it is alone.")
    ] = None,
    scheme: SchemeName = None,
    tokens: Tokens = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    alpha: Annotated[
        float, typer.Option(help="Probability of any false segment in a document.")
    ] = 0.01,
    min_length: Annotated[int, typer.Option(min=1, help="Marks of the shortest window.")] = 32,
    delta: Annotated[
        float, typer.Option(help="Strength that the boundaries suppose, in (0, 1).")
    ] = 0.2,
    settings: dict[str, Any] | None = None,
) -> None:
    """Find watermarked segments inside documents, with confidence sets of their boundaries.

    Examples:

        statllm watermark locate mixed.parquet -o segments.parquet --key-file keys.yaml
    """
    from statllm.engines.convert import parquet_source
    from statllm.engines.segments import SegmentWork, locate_corpus

    for option, value in (("--alpha", alpha), ("--delta", delta)):
        if not 0 < value < 1:
            raise InputError(f"{option} must lie between 0 and 1, not {value}")
    chosen = one_of(key_file, scheme, configuration)
    column = document_column(tokens, text, tokenizer)
    work = SegmentWork(chosen, column, alpha, min_length, delta, tokenizer_of(tokenizer))
    engine = validated(EngineSettings, {"engine": "local", **(settings or {})})
    with parquet_source(corpus, output) as source, part_progress() as on_part:
        counts = locate_corpus(source, output, work, engine, on_part)
    console().print(
        f"{output}: {counts['segments']} segments in {counts['marked']} of "
        f"{counts['documents']} documents"
    )
