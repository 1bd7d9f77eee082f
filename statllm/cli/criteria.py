"""`statllm criteria`: feedback by the criteria of a guideline, from prompts to what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from statllm.cli.common import (
    Where,
    check_not_read,
    conditions,
    console,
    mapping,
    printable,
    write_json,
)
from statllm.cli.criteria_report import print_derived, print_evaluation, print_findings, report
from statllm.errors import InputError

Strategy = Literal["base", "crit", "icl", "cricl"]
Granularity = Literal["all", "aspect", "criterion"]
Wording = Literal["chat", "completion"]
PassRule = Literal["mean", "min"]
NotApplicable = Literal["leave out", "met"]

criteria = typer.Typer(
    no_args_is_help=True,
    help="""Criteria out of a guideline, feedback by them, and how good it is (LLMCrit).

    Each step makes a file for the next one; `statllm sample` asks the model in between.

    Examples:

        statllm criteria prompts guide.jsonl -o ask.jsonl

        statllm sample ./my-model ask.jsonl --n 1 --temperature 0 -o said.parquet

        statllm criteria read said.parquet guide.jsonl -o criteria.jsonl --ledger dropped.jsonl

        statllm criteria prompts criteria.jsonl --texts s.parquet --strategy crit -o ask.jsonl

        statllm criteria read said.parquet criteria.jsonl -o findings.parquet --texts s.parquet \
--rewards rewards.parquet

        statllm criteria evaluate findings.parquet truth.jsonl
    """,
)

GuidelineFile = Annotated[
    Path,
    typer.Argument(
        metavar="GUIDELINE",
        help="JSONL, an aspect a line: aspect_id, aspect_guideline, criteria (Markdown list '1. "
        "**Name**: check'), demonstrations (list of {input, output}).",
    ),
]
Texts = Annotated[
    Path | None,
    typer.Option(help="Table with prompt_id and response: each response is a text; or text."),
]


@criteria.command()
def prompts(
    guideline: GuidelineFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Prompts: Parquet or JSONL.")],
    texts: Texts = None,
    text: Annotated[
        str | None, typer.Option(help="The file's column that is one text a row.")
    ] = None,
    strategy: Annotated[
        Strategy, typer.Option(help="What a prompt holds: nothing, criteria, examples, or both.")
    ] = "crit",
    granularity: Annotated[Granularity, typer.Option(help="What one prompt is about.")] = "aspect",
    n_demos: Annotated[
        int | None, typer.Option(min=1, help="Demonstrations per aspect; all when left out.")
    ] = None,
    wording: Annotated[
        Wording, typer.Option(help="Messages, or one text for models that complete text.")
    ] = "chat",
    where: Where = None,
) -> None:
    """Make prompts: for criteria from the guideline's text, or with --texts for feedback.

    Examples:

        statllm criteria prompts guide.jsonl -o ask.jsonl

        statllm criteria prompts criteria.jsonl --texts code.jsonl --text source \
--strategy cricl --n-demos 2 -o ask.jsonl
    """
    from statllm._formats import check_output, write_table
    from statllm.scoring.criteria import (
        WORDINGS,
        derive_prompts,
        feedback_prompts,
        missing_headings,
        read_guideline,
    )

    check_output(output, (".parquet", ".jsonl", ".ndjson"))
    check_not_read(output, guideline, *([] if texts is None else [texts]))
    known = read_guideline(guideline)
    out = console()
    if texts is None:
        table = derive_prompts(known)
        write_table(table, output)
        out.print(f"{printable(str(output))}: {table.num_rows} prompts for criteria")
        return
    if strategy in ("icl", "cricl"):
        for aspect in known.aspects:
            for place, name in missing_headings(aspect):
                out.print(
                    printable(
                        f"aspect '{aspect.aspect_id}': demonstration {place} doesn't speak of "
                        f"'{name}'"
                    )
                )
    table = feedback_prompts(
        known, _texts(texts, text, where), strategy, granularity,
        n_demos=n_demos, wording=WORDINGS[wording],
    )  # fmt: skip
    if not table.num_rows:
        raise InputError(f"{texts} holds no text")
    write_table(table, output)
    counts = known.counts().values()
    out.print(
        f"{printable(str(output))}: {table.num_rows} prompts for feedback, {strategy} by "
        f"{granularity}; {len(counts)} aspects, {sum(n for n, _ in counts)} criteria"
    )


@criteria.command()
def read(
    answers: Annotated[
        Path, typer.Argument(metavar="ANSWERS", help="What `statllm sample` wrote to the prompts.")
    ],
    guideline: GuidelineFile,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Guideline with criteria (JSONL), or findings."),
    ],
    ledger: Annotated[
        Path | None, typer.Option(help="A row per criterion or answer: kept or dropped, and why.")
    ] = None,
    alike: Annotated[
        float,
        typer.Option(help="Criteria: drop one whose words are this much those of another."),
    ] = 0.7,
    texts: Texts = None,
    rewards: Annotated[
        Path | None, typer.Option(help="Feedback: --texts with pass vectors and rewards.")
    ] = None,
    rule: Annotated[
        PassRule, typer.Option(help="Reward: mean or least of the criteria that count.")
    ] = "mean",
    not_applicable: Annotated[
        NotApplicable, typer.Option(help="Reward: how a criterion counts that doesn't apply.")
    ] = "leave out",
    where: Where = None,
) -> None:
    """Read a model's answers: criteria, or findings per text and criterion.

    Examples:

        statllm criteria read said.parquet guide.jsonl -o criteria.jsonl --ledger dropped.jsonl

        statllm criteria read said.parquet criteria.jsonl -o findings.parquet --texts s.parquet \
--rewards rewards.parquet --rule min
    """
    from statllm._formats import check_output, write_table
    from statllm.generations import Generations
    from statllm.scoring.criteria import (
        criteria_rewards,
        read_answers,
        read_derived,
        read_guideline,
        write_guideline,
    )

    check_output(ledger)
    for written in (output, ledger, rewards):
        check_not_read(written, answers, guideline, *([] if texts is None else [texts]))
    if (texts is None) != (rewards is None):
        raise InputError("--texts and --rewards belong together")
    known = read_guideline(guideline)
    given = Generations.read(answers, {}, conditions(where))
    tasks = given.column("task").unique().to_pylist() if "task" in given else []
    if tasks == ["derive"]:
        check_output(output, (".jsonl",))
        if rewards is not None:
            raise InputError("these answers are criteria; --rewards is of feedback")
        derived = read_derived(given, known, alike=alike)
        write_guideline(derived.guideline, output)
        if ledger is not None:
            write_table(derived.ledger, ledger)
        print_derived(derived.guideline, derived.ledger, output)
        return
    if tasks != ["feedback"]:
        raise InputError(
            f"{answers}: column 'task' is {tasks or 'missing'}; answers to the prompts of one "
            "`statllm criteria prompts` were expected, with their columns"
        )
    check_output(output, (".parquet", ".jsonl", ".ndjson"))
    check_output(rewards, (".parquet", ".jsonl", ".ndjson"))
    found = read_answers(given, known)
    write_table(found.findings, output)
    if ledger is not None:
        write_table(found.ledger, ledger)
    print_findings(found.findings, output)
    further = sum(len(names) for names in found.ledger["further"].to_pylist())
    console().print(f"{further} headings are none of the criteria that were asked about")
    if texts is not None and rewards is not None:
        rated = criteria_rewards(
            Generations.read(texts), found.findings, rule, not_applicable=not_applicable
        )
        rated.write(rewards)
        values = rated.ragged("reward").values
        unknown = int((values != values).sum())
        console().print(
            f"{printable(str(rewards))}: {len(values)} responses, {unknown} without a reward"
        )


@criteria.command("evaluate")
def evaluate_(
    findings: Annotated[
        Path, typer.Argument(metavar="FINDINGS", help="Of `statllm criteria read`.")
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH",
            help="Table with text_id, text_place (0 when left out), criterion (aspect_id/name), "
            "met (null: doesn't apply), and where known fix.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="All figures, as JSON.")
    ] = None,
    helpful: Annotated[
        str | None,
        typer.Option(help="Column of FINDINGS with 1 where following the advice helps."),
    ] = None,
    vote: Annotated[int, typer.Option(min=0, help="Which answer, where there are several.")] = 0,
    where: Where = None,
) -> None:
    """Say how much feedback is true, specific and constructive, where the truth is known.

    Claims of a violation pass layer after layer, each counted among those that passed all before.

    Examples:

        statllm criteria evaluate findings.parquet truth.jsonl

        statllm criteria evaluate findings.parquet truth.jsonl --where strategy=crit -o crit.json
    """
    import pyarrow.compute as pc

    from statllm._formats import check_output, read_table
    from statllm.scoring.criteria import evaluate, read_truth
    from statllm.scoring.criteria.columns import WHOLE, typed

    check_output(output, (".json",))
    check_not_read(output, findings, truth)
    table = read_table(findings, mapping(helpful=helpful), conditions(where))
    if "vote" in table.column_names:
        table = typed(table, {"vote": WHOLE}, "findings")
        table = table.filter(pc.equal(table["vote"], vote))
        if not table.num_rows:
            raise InputError(f"{findings} has no vote {vote}")
    result = evaluate(table, read_truth(read_table(truth, {}, {})))
    print_evaluation(result, table.num_rows, findings)
    if output is not None:
        write_json(report(result), output)


def _texts(source: Path, text: str | None, where: list[str] | None) -> list[tuple[str, int, str]]:
    """Texts as (id, place, text): a column of them, or the responses."""
    from statllm.generations import Generations

    given = Generations.read(source, {}, conditions(where))
    ids = given.prompt_ids
    column = text or ("response" if "response" in given else "text")
    values = given.column(column).to_pylist()
    if column == "response":
        return [
            (name, place, one) for name, row in zip(ids, values, strict=True)
            for place, one in enumerate(row) if one is not None
        ]  # fmt: skip
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{source}: column '{column}' holds no text in row {row}")
    return [(name, 0, one) for name, one in zip(ids, values, strict=True)]
