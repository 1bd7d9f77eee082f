"""`statllm judge-limits`: answers with limits on words against a baseline (LIFT)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import create_model

from statllm.cli.common import (
    InputFile,
    PromptId,
    Response,
    Where,
    conditions,
    console,
    estimates,
    mapping,
)
from statllm.cli.sample import sampling_fields, sampling_settings
from statllm.cli.settings import validated, with_settings
from statllm.scoring.judges.settings import JudgeSettings

#: Settings of sampling that a judge has no use for: votes are its samples.
_NOT_ASKED = {"n", "seed", "stop", "alpha", "n_answers", "window", "round"}
_DEFAULTS = {"temperature": 0.0, "max_new_tokens": 1024}

_Options = create_model(
    "_Options", __base__=JudgeSettings, **sampling_fields(_NOT_ASKED, _DEFAULTS)
)


@with_settings(_Options)
def judge_limits(
    model: Annotated[
        str, typer.Argument(help="The judge: a folder, a hub or server name, or lab.")
    ],
    source: InputFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A row per answer: Parquet or JSONL.")
    ],
    original: Annotated[
        str, typer.Option(help="Column: the prompt without the limit, which the judge sees.")
    ] = "original_prompt",
    baseline: Annotated[str, typer.Option(help="Column: the answer to win against.")] = "baseline",
    limit: Annotated[
        str, typer.Option(help="Column: words that an answer may have at most.")
    ] = "max_words",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of what judges have said; default: in the user's cache folder."),
    ] = None,
    prompt_id: PromptId = None,
    response: Response = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Judge answers within their limit against a baseline; those beyond it lose (LIFT).

    The judge sees the prompt without the limit, and no answer that breaks it. What a judge wrote is
    kept: the same command goes on where it was stopped. `statllm winrate` reads the output.

    Examples:

        statllm prompts length prompts.jsonl --shortest-of answers -o limited.jsonl

        statllm sample ./policy limited.jsonl -o samples.parquet --n 1

        statllm judge-limits ./judge samples.parquet -o judged.parquet

        statllm winrate judged.parquet --limit max_words --words n_words --cluster question_id
    """
    from statllm._formats import check_output, write_table
    from statllm.cli.judge import saying_plain
    from statllm.generations import Generations
    from statllm.sampling.judge_model import open_judge
    from statllm.scoring.judges import judge_within_limits
    from statllm.stages import resolve_model

    given = {**_DEFAULTS, **(settings or {})}
    own = {k: v for k, v in given.items() if k in JudgeSettings.model_fields}
    chosen: JudgeSettings = validated(JudgeSettings, own)
    check_output(output)
    columns = mapping(prompt_id=prompt_id, response=response)
    generations = Generations.read(source, columns, conditions(where))
    judge = open_judge(resolve_model(model), sampling_settings(given))
    try:
        with saying_plain(chosen.plain):
            found = judge_within_limits(
                generations, judge, chosen, original=original, baseline=baseline, limit=limit,
                cache=cache,
            )  # fmt: skip
    finally:
        judge.close()
    write_table(found.table, output)
    out = console()
    out.print(estimates(f"{output}: {found.table.num_rows} answers", found.figures()))
    if found.n_unread:
        out.print(f"{found.n_unread} answers within their limit have no readable verdict")
    if found.n_missing:
        out.print(f"{found.n_missing} answers are null; they aren't in the table")
