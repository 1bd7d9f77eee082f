"""`statllm select rft`: scored samples in, the best response of each prompt as an example out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import (
    InputFile,
    Prompt,
    PromptId,
    Response,
    Reward,
    Where,
    check_outputs,
    conditions,
    console,
    mapping,
    table_of,
)
from statllm.cli.settings import validated, with_settings
from statllm.selection import SelfScoreSettings


@with_settings(SelfScoreSettings)
def rft(
    source: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Examples: Parquet or JSONL.")],
    ledger: Annotated[
        Path | None,
        typer.Option(help="One row per prompt: kept or dropped, and why (Parquet, JSONL or CSV)."),
    ] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    reward: Reward = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Best response of each prompt by a score, to be fine-tuned on (rejection sampling).

    Train on it by a recipe with `kind: sft` (statllm train recipe.yaml).

    Examples:

        statllm select rft rewards.parquet -o examples.parquet --ledger ledger.parquet

        statllm select rft rewards.parquet -o examples.parquet --min-chosen 0
    """
    from statllm.generations import Generations
    from statllm.selection import rft as rule

    check_outputs(source, output, ledger)
    columns = mapping(prompt_id=prompt_id, prompt=prompt, response=response, reward=reward)
    given = Generations.read(source, columns, conditions(where))
    found = rule(given, validated(SelfScoreSettings, settings or {}))
    found.write(output, ledger)
    counts = found.counts()
    rows = [*counts.items(), ("all prompts", sum(counts.values()))]
    title = f"{output}: {found.examples.num_rows} examples"
    console().print(table_of(title, ("reason", "prompts"), rows))
