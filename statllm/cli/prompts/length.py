"""`statllm prompts length`: limits on the words of the response."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Prompt, PromptId, Where, console, mapping
from statllm.cli.prompts.options import NESTED, Limit, Output, Source, Template, prompts_of
from statllm.errors import InputError


def length(
    source: Source,
    output: Output,
    words: Annotated[int | None, typer.Option(min=1, help="The limit of every prompt.")] = None,
    words_column: Annotated[
        str | None, typer.Option(help="Column with a limit per prompt.")
    ] = None,
    shortest_of: Annotated[
        str | None,
        typer.Option(
            help="Column of lists of answers: the words of the shortest one are the limit, and it "
            "is the baseline (AlpacaEval-LI). Lists of such lists give a limit each (MT-Bench-LI)."
        ),
    ] = None,
    scale: Annotated[
        list[float] | None,
        typer.Option(help="Multiplies the limits; a row for each. May be repeated. Default: 1."),
    ] = None,
    all_scales: Annotated[
        bool, typer.Option("--all-scales", help="1, .9, .8, … .1, as in the paper's test.")
    ] = False,
    template: Template = "lift_words",
    limit: Limit = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    where: Where = None,
) -> None:
    """Put a limit on the words of the response before each prompt (LIFT).

    Examples:

        statllm prompts length prompts.jsonl --shortest-of answers -o limited.jsonl

        statllm prompts length prompts.jsonl --words-column max_len --all-scales -o limited.jsonl
    """
    from statllm._formats import check_output, write_table
    from statllm.cli.columns import column
    from statllm.sampling.prompts import SCALES, length_benchmark, length_prompts, load_template

    check_output(output, NESTED)
    if sum(one is not None for one in (words, words_column, shortest_of)) != 1:
        raise InputError("give one of --words, --words-column and --shortest-of")
    if scale and all_scales:
        raise InputError("give --scale or --all-scales, not both")
    form = load_template(template, "length")
    given = prompts_of(source, mapping(prompt_id=prompt_id, prompt=prompt), where, limit)
    scales = SCALES if all_scales else scale or (1.0,)
    if shortest_of is not None:
        table = length_benchmark(given, column(given, Path(source), shortest_of), form, scales)
    else:
        limits: Any = words
        if words_column is not None:
            limits = column(given, Path(source), words_column)
        table = length_prompts(given, limits, form, scales)
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} prompts, template {form.stamp}")
