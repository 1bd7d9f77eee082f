"""`statllm distill`: problems, rewritten solutions and a teacher's chains for two stages of SFT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import create_model

from statllm.cli.common import (
    Prompt,
    PromptId,
    Reference,
    Where,
    check_outputs,
    conditions,
    console,
    mapping,
    table_of,
)
from statllm.cli.sample import sampling_fields, sampling_settings
from statllm.cli.settings import validated, with_settings
from statllm.distill.chains import ChainSettings
from statllm.distill.filters import ProblemFilters
from statllm.distill.reformat import ReformatSettings

distill = typer.Typer(
    name="distill",
    help="Data for two stages of SFT on a teacher's long solutions (O1 Journey, part 2).",
    no_args_is_help=True,
)

_NOT_ASKED = {"stop", "alpha", "n_answers", "window", "round"}
_DEFAULTS = {"n": 1, "temperature": 0.0, "max_new_tokens": 2048}
_Reformat = create_model(
    "_Reformat", __base__=ReformatSettings, **sampling_fields(_NOT_ASKED, _DEFAULTS)
)
_NESTED = (".parquet", ".jsonl", ".ndjson")

Output = Annotated[Path, typer.Option("--output", "-o", help="Parquet or JSONL.")]
Ledger = Annotated[
    Path | None, typer.Option(help="What became of every row, and why (Parquet, JSONL or CSV).")
]
Solution = Annotated[str | None, typer.Option(help="… our solution.")]


@distill.command("filter")
@with_settings(ProblemFilters)
def filter_(
    source: Annotated[
        Path, typer.Argument(metavar="PROBLEMS", help="Parquet, JSONL or CSV; a row per problem.")
    ],
    output: Output,
    ledger: Ledger = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    solution: Solution = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Keep problems that are text, want a result, and have a numerical answer.

    Dropped: problems that need a picture, proofs, and those without an explicit answer or with
    one that isn't a single number. The ledger has the text that decided.

    Examples:

        statllm distill filter olympiad.jsonl -o problems.parquet --ledger dropped.csv

        statllm distill filter math.jsonl --prompt problem --solution solution -o p.parquet
    """
    from statllm._formats import read_table
    from statllm.distill import filter_problems
    from statllm.generations import Generations

    check_outputs(source, output, ledger, _NESTED)
    columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference, solution=solution)
    table = Generations(read_table(source, columns, conditions(where))).table
    found = filter_problems(table, validated(ProblemFilters, settings or {}))
    found.write(output, ledger)
    _say(f"{output}: {found.problems.num_rows} problems", "problems", found.counts())


@distill.command()
@with_settings(_Reformat)
def reformat(
    model: Annotated[
        str, typer.Argument(help="Who rewrites: a folder, a hub or server name, or lab.")
    ],
    source: Annotated[
        Path, typer.Argument(metavar="SOLUTIONS", help="With prompt_id, prompt and solution.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Examples for SFT.")],
    ledger: Ledger = None,
    template: Annotated[
        str, typer.Option(help="A template for reformat: its name, or a YAML file.")
    ] = "reformat_solution",
    chat: Annotated[
        bool,
        typer.Option("--chat/--no-chat", help="Send messages, or one text for models without."),
    ] = True,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    solution: Solution = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Let a model rewrite solutions step by step; keep those whose answer survived.

    A killed run goes on when started again. All texts stay in OUTPUT's folder, as
    NAME.generations.parquet.

    Examples:

        statllm distill reformat ./writer problems.parquet -o stage1.parquet --ledger l.csv

        statllm distill reformat gpt-4o-mini problems.parquet -o stage1.parquet --backend openai
    """
    from statllm._formats import read_table, write_table
    from statllm.distill import reformat as rewrite
    from statllm.generations import Generations
    from statllm.sampling.prompts import load_template
    from statllm.stages import resolve_model

    check_outputs(source, output, ledger, _NESTED)
    given = {**_DEFAULTS, **(settings or {})}
    own = {k: v for k, v in given.items() if k in ReformatSettings.model_fields}
    sampling = sampling_settings({k: v for k, v in given.items() if k not in own})
    columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference, solution=solution)
    table = Generations(read_table(source, columns, conditions(where))).table
    made = rewrite(
        resolve_model(model),
        table,
        sampling,
        validated(ReformatSettings, own),
        template=load_template(template, "reformat"),
        chat=chat,
        out=output.with_name(f"{output.stem}.generations.parquet"),
    )
    if ledger is not None:
        write_table(made.ledger, ledger)
    write_table(made.examples, output)
    _say(f"{output}: {made.examples.num_rows} of {made.n_problems} solutions", "texts",
         made.counts())  # fmt: skip


@distill.command()
@with_settings(ChainSettings)
def chains(
    source: Annotated[
        Path, typer.Argument(metavar="SCORES", help="A teacher's samples, from `statllm score`.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Examples for SFT.")],
    ledger: Ledger = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Keep a teacher's right and whole solutions as examples for SFT.

    --no-right keeps wrong ones, too, and --budget fills a number of tokens: the controls.

    Examples:

        statllm distill chains scores.parquet -o stage2.parquet --per-prompt 4 --ledger l.csv

        statllm distill chains scores.parquet -o control.parquet --no-right --budget 1000000
    """
    from statllm.distill import keep_chains
    from statllm.generations import Generations

    check_outputs(source, output, ledger, _NESTED)
    chosen = validated(ChainSettings, settings or {})
    made = keep_chains(Generations.read(source, where=conditions(where)), chosen)
    made.write(output, ledger)
    _say(f"{output}: {made.examples.num_rows} examples", "samples", made.counts())


def _say(title: str, what: str, counts: dict[str, int]) -> None:
    rows = [*counts.items(), (f"all {what}", sum(counts.values()))]
    console().print(table_of(title, ("reason", what), rows))
