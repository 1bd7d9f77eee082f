"""`statllm watermark embed`: watermarked responses, to try a detector on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from statllm.cli.common import console
from statllm.cli.watermark.options import KeyFile, SchemeName, one_of
from statllm.errors import InputError


def embed(
    model: Annotated[str, typer.Argument(help="A model folder, a hub name, or lab.")],
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Prompts with response and token_ids (Parquet).")
    ],
    key_file: KeyFile,
    configuration: Annotated[
        str | None, typer.Option(help="One of the keys by its name; not needed where it is alone.")
    ] = None,
    scheme: SchemeName = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest response.")] = 200,
    min_new_tokens: Annotated[
        int,
        typer.Option(min=0, help="Shortest response: the model's end comes no earlier."),
    ] = 0,
    temperature: Annotated[float, typer.Option(help="Divides the logits.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what the scheme leaves to chance.")] = 0,
) -> None:
    """Sample one watermarked response per prompt with transformers, to try a detector on.

    Serving engines write watermarks faster: `vllm serve M --watermark-config ...`. Answers of a few
    tokens, or of nearly certain ones, hold no mark that could be seen: make them longer, or the
    temperature higher.

    Examples:

        statllm watermark embed lab lab:test --limit 20 --min-new-tokens 100 --temperature 1.5 \
-o w.parquet --key-file keys.yaml

        statllm watermark detect w.parquet -o found.parquet --key-file keys.yaml
    """
    from statllm._formats import check_output, write_table
    from statllm.cli.sample import Prompts
    from statllm.sampling.watermark import sample_watermarked
    from statllm.stages import resolve_model

    check_output(output, (".parquet", ".jsonl"))
    if not 0 < temperature < math.inf:
        raise InputError(f"--temperature must be above 0 and finite, not {temperature}")
    if min_new_tokens > max_new_tokens:
        raise InputError("--min-new-tokens is above --max-new-tokens")
    chosen = one_of(key_file, scheme, configuration)
    table = sample_watermarked(
        resolve_model(model),
        Prompts(source, {}, {}, limit).table(),
        chosen.scheme,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        temperature=temperature,
        seed=seed,
    )
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} responses, marked for '{chosen.name}'")
