"""`statllm prompts solutions`: a format whose answer can be found."""

from __future__ import annotations

from statllm.cli.common import Prompt, PromptId, Where, console, mapping
from statllm.cli.prompts.options import NESTED, Limit, Output, Source, Template, prompts_of


def solutions(
    source: Source,
    output: Output,
    template: Template = "scpo_zebra",
    limit: Limit = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    where: Where = None,
) -> None:
    """Ask for solutions in a format whose answer can be found (ScPO's of ZebraLogic).

    Example:

        statllm prompts solutions puzzles.jsonl -o asked.parquet
    """
    from statllm._formats import check_output, write_table
    from statllm.sampling.prompts import load_template, solution_prompts

    check_output(output, NESTED)
    form = load_template(template, "solution")
    columns = mapping(prompt_id=prompt_id, prompt=prompt)
    table = solution_prompts(prompts_of(source, columns, where, limit), form)
    write_table(table, output)
    console().print(f"{output}: {table.num_rows} prompts, template {form.stamp}")
