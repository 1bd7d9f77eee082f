"""`statllm judge-lessons`: what a judge can be trained on, from its own right judgements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import create_model

from statllm.cli.common import console, table_of
from statllm.cli.sample import sampling_fields, sampling_settings
from statllm.cli.settings import validated, with_settings
from statllm.scoring.judges.settings import SelfTaughtSettings

#: Settings of sampling that have no use here: votes are the samples, and the lessons have a seed.
_NOT_ASKED = {"n", "seed", "stop", "alpha", "n_answers", "window", "round"}

#: Judgements must differ for some to be right.
_DEFAULTS = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 1024}

_Options = create_model(
    "_Options", __base__=SelfTaughtSettings, **sampling_fields(_NOT_ASKED, _DEFAULTS)
)


@with_settings(_Options)
def judge_lessons(
    model: Annotated[
        str, typer.Argument(help="The judge to be trained: a folder, a hub or server name, or lab.")
    ],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS",
            help="prompt_id, prompt, chosen, rejected; chosen is known to be better, as `statllm "
            "prompts contrast` makes it.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Examples for SFT, a right judgement each (Parquet)."),
    ],
    pairs: Annotated[
        Path | None,
        typer.Option(help="Also write pairs of a right and another judgement, for `train`."),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="One row per question: how it was judged, kept or dropped, and why."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of what judges have said; default: in the user's cache folder."),
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Make training data for a judge by rejection sampling (Self-Taught Evaluator).

    The judge compares each pair in both orders, several times; judgements for the better response
    are what it learns from. What a judge wrote is kept: the same command goes on where it was
    stopped.

    Examples:

        statllm prompts contrast ./policy samples.parquet -o known.parquet

        statllm judge-lessons ./judge known.parquet -o examples.parquet --pairs pairs.parquet

        statllm train ./judge pairs.parquet -o better-judge
    """
    from statllm._formats import check_output
    from statllm.cli.judge import saying_plain
    from statllm.sampling.judge_model import open_judge
    from statllm.scoring.judges import self_taught
    from statllm.stages import resolve_model

    given = {**_DEFAULTS, **(settings or {})}
    own = {k: v for k, v in given.items() if k in SelfTaughtSettings.model_fields}
    chosen: SelfTaughtSettings = validated(SelfTaughtSettings, own)
    for path in (output, pairs, ledger):
        check_output(path)
    judge = open_judge(resolve_model(model), sampling_settings(given))
    try:
        with saying_plain(chosen.plain):
            made = self_taught(source, judge, chosen, cache=cache)
    finally:
        judge.close()
    made.write(output, pairs, ledger)
    rows = [
        (reason, str(made.counts().get(reason, 0)), str(made.counts("pair").get(reason, 0)))
        for reason in dict.fromkeys([*made.counts(), *made.counts("pair")])
    ]
    out = console()
    out.print(table_of(f"{output}: questions", ("reason", "of examples", "of pairs"), rows))
    out.print(made.summary())
