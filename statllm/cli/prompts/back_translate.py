"""`statllm prompts back-translate`: questions from documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import PromptId, Where, check_outputs, console, mapping
from statllm.cli.prompts.options import NESTED, Chat, Model, Template, prompts_of
from statllm.cli.settings import validated, with_settings
from statllm.errors import InputError
from statllm.sampling import SamplingSettings


@with_settings(SamplingSettings)
def back_translate(
    model: Model,
    documents: Annotated[Path, typer.Argument(help="A file with a document per row.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The questions: Parquet or JSONL.")
    ],
    column: Annotated[str, typer.Option(help="The documents' text.")] = "document",
    template: Template = "natural_reasoning_question",
    rubric: Annotated[
        str, typer.Option(help="… of the rating; none asks about every document.")
    ] = "natural_reasoning_rubric",
    min_total: Annotated[
        float | None, typer.Option(help="Least sum of points; full marks are 9.")
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="A row for each document and question: kept or dropped, why."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many documents.")] = None,
    chat: Chat = True,
    prompt_id: PromptId = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Rate documents, and compose questions from the good ones (NaturalReasoning).

    A killed run goes on when started again. --n, the questions per document, is 1 by default. All
    generations stay in OUTPUT's folder, as NAME.ratings.parquet and NAME.generations.parquet.

    Example:

        statllm prompts back-translate ./my-model texts.jsonl -o questions.jsonl --ledger l.jsonl
    """
    from statllm._formats import write_table
    from statllm.sampling.prompts import Gate, load_template
    from statllm.sampling.prompts import back_translate as run
    from statllm.stages import resolve_model

    check_outputs(documents, output, ledger, NESTED)
    rated = rubric != "none"
    if min_total is not None and not rated:
        raise InputError("--min-total has no effect with --rubric none")
    made = run(
        resolve_model(model),
        prompts_of(str(documents), mapping(prompt_id=prompt_id), where, limit),
        validated(SamplingSettings, {"n": 1, **(settings or {})}),
        template=load_template(template, "back_translation"),
        rubric=load_template(rubric, "rubric") if rated else None,
        gate=Gate(total=min_total) if rated else None,
        column=column,
        chat=chat,
        out=output.with_name(f"{output.stem}.generations.parquet"),
    )
    if ledger is not None:
        write_table(made.ledger, ledger)
    write_table(made.questions, output)
    console().print(f"{output}: {made.summary()}")
