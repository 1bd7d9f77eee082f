"""`statllm prompts thoughts` and `split`: thoughts before the response, and what follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Prompt, PromptId, Where, console, mapping
from statllm.cli.prompts.options import NESTED, Limit, Output, Source, prompts_of
from statllm.errors import InputError


def thoughts(
    source: Source,
    output: Output,
    template: Annotated[
        str, typer.Option(help="tpo_generic, tpo_generic_system, tpo_specific, or a YAML file.")
    ] = "tpo_generic",
    limit: Limit = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    where: Where = None,
) -> None:
    """Wrap prompts so that a model writes its thoughts before the response (TPO).

    Example:

        statllm prompts thoughts prompts.jsonl --template tpo_specific -o asked.parquet
    """
    from statllm._formats import check_output, write_table
    from statllm.sampling.prompts import load_template, thought_prompts

    check_output(output, NESTED)
    form = load_template(template, "thoughts")
    columns = mapping(prompt_id=prompt_id, prompt=prompt)
    table = thought_prompts(prompts_of(source, columns, where, limit), form)
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} prompts, template {form.stamp}")


def split(
    source: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Samples of such prompts.")],
    output: Output,
    template: Annotated[
        str | None, typer.Option(help="The one that asked; by default the table's own.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict/--no-strict", help="Whether a marker within the response is a failure."
        ),
    ] = True,
) -> None:
    """Cut samples into thought and final_response; a text without its marker is neither.

    response stays whole. Score and judge final_response: its nulls are the texts that failed.

    Example:

        statllm prompts split samples.parquet -o cut.parquet
    """
    from statllm._formats import check_output, write_table
    from statllm.generations import Generations
    from statllm.sampling.prompts import load_template, thought_counts, with_thoughts

    check_output(output, NESTED)
    given = Generations.read(source).table
    name = template or _stamped(given, source)
    table = with_thoughts(given, load_template(name, "thoughts"), strict)
    write_table(table, output)
    counts = ", ".join(f"{count} {name}" for name, count in thought_counts(table).items())
    console().print(f"{output}: {table.num_rows} prompts; samples: {counts}")


def _stamped(table: Any, source: Path) -> str:
    """The name of the one template that a table's prompts were made with."""
    from statllm.sampling.prompts import load_template

    if "template" not in table.column_names:
        raise InputError(f"{source} has no column 'template'; name it with --template")
    stamps = set(table["template"].to_pylist())
    if len(stamps) != 1:
        raise InputError(f"{source} has {len(stamps)} templates; name one with --template")
    stamp = str(stamps.pop())
    name = stamp.partition("@")[0]
    if load_template(name).stamp != stamp:
        raise InputError(
            f"{source} was made with {stamp}, which is {load_template(name).stamp} now"
        )
    return name
