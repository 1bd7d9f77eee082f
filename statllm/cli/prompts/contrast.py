"""`statllm prompts contrast`: worse responses by construction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Prompt, PromptId, Response, Where, check_outputs, console, mapping
from statllm.cli.prompts.options import NESTED, Chat, Limit, Model, Template, prompts_of
from statllm.cli.settings import validated, with_settings
from statllm.sampling import SamplingSettings


@with_settings(SamplingSettings)
def contrast(
    model: Model,
    source: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Prompts with responses.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The pairs: Parquet or JSONL.")],
    template: Template = "self_taught_contrast",
    ledger: Annotated[
        Path | None,
        typer.Option(help="A row for each prompt and text: kept or dropped, why."),
    ] = None,
    limit: Limit = None,
    chat: Chat = True,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Make a worse response to each prompt: a good one to a request much like it.

    So the Self-Taught Evaluator gets pairs whose better response is known. The first response of
    each prompt is the good one. --n, the worse responses per prompt, is 1 by default. All texts
    stay in OUTPUT's folder, as NAME.generations.parquet; a killed run goes on when started again.

    Example:

        statllm prompts contrast ./my-model samples.parquet -o pairs.parquet --ledger l.jsonl
    """
    from statllm._formats import write_table
    from statllm.sampling.prompts import contrast as run
    from statllm.sampling.prompts import load_template
    from statllm.stages import resolve_model

    check_outputs(source, output, ledger, NESTED)
    columns = mapping(prompt_id=prompt_id, prompt=prompt, response=response)
    made = run(
        resolve_model(model),
        prompts_of(str(source), columns, where, limit),
        validated(SamplingSettings, {"n": 1, **(settings or {})}),
        template=load_template(template, "contrast"),
        chat=chat,
        out=output.with_name(f"{output.stem}.generations.parquet"),
    )
    if ledger is not None:  # first: pairs without a ledger can't be explained
        write_table(made.ledger, ledger)
    write_table(made.pairs, output)
    console().print(f"{output}: {made.summary()}")
