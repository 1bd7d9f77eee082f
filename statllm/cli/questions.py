"""`statllm questions`: how hard, how diverse and how well answered a set of questions is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from statllm.cli.common import (
    Answer,
    Prompt,
    PromptId,
    Reference,
    Response,
    Where,
    check_not_read,
    console,
    estimates,
    interval_text,
    mapping,
    table_of,
    write_json,
)
from statllm.cli.questions_sets import diversity_of, read_set, rows_of, topic_labels
from statllm.errors import InputError
from statllm.scoring.answers import AnswerRule

if TYPE_CHECKING:
    from statllm.estimators.questions import SetComparison


def questions(
    source: Annotated[
        Path,
        typer.Argument(metavar="A", help="Questions, with their responses where there are some."),
    ],
    other: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Another set, to be compared with A.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Column: questions that depend on each other (document_id, say)."),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(help="Column of topics for diversity; default: clusters of vectors."),
    ] = None,
    embedder: Annotated[
        Path | None,
        typer.Option(help="Folder of an embedding model; without one, vectors of words."),
    ] = None,
    topics: Annotated[int, typer.Option(min=2, help="Clusters of vectors.")] = 50,
    rule: Annotated[
        str, typer.Option(help=f"How answers are found: {', '.join(get_args(AnswerRule))}.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of clusters and Monte-Carlo tests.")] = 0,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="A row per question: Parquet, JSONL or CSV.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Figure: .png, .pdf or .svg.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    answer: Answer = None,
    reference: Reference = None,
    where: Where = None,
) -> None:
    """Describe a set of questions, and compare two: difficulty, references, diversity.

    Difficulty by what was answered: words of responses, and where there are references or several
    samples, pass rates and vote entropies. Diversity by clusters, of both sets together.

    Examples:

        statllm questions samples.parquet -o set.json --figure set.png

        statllm questions ours.parquet theirs.parquet --cluster document_id -o compared.json
    """
    from statllm._formats import check_output, write_table
    from statllm.cli.figures import PICTURES
    from statllm.estimators.questions import compare_questions

    check_output(output, (".json",))
    check_output(table)
    check_output(figure, PICTURES)
    sources = [source] if other is None else [source, other]
    check_not_read(output, *sources)
    if not 0 < level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {level}")
    if rule not in get_args(AnswerRule):
        raise InputError(f"--rule must be one of {', '.join(get_args(AnswerRule))}, not '{rule}'")
    columns = mapping(
        prompt_id=prompt_id, prompt=prompt, response=response, answer=answer, reference=reference
    )
    sets = [read_set(path, columns, where, rule, cluster) for path in sources]
    labels = topic_labels(sets, topic, embedder, topics, seed)
    diverse = [diversity_of(codes, labels) for codes in labels]
    names = [path.name for path in sources]
    if len(set(names)) < len(names):
        names = ["A", "B"]
    compared: list[SetComparison] = []
    if len(sets) == 2:
        a, b = sets
        compared = compare_questions(
            a.difficulty,
            b.difficulty,
            measures={"mean question length": (a.words, b.words, "words")},
            references=(a.references, b.references)
            if a.has_references or b.has_references
            else None,
            diversity=(diverse[0], diverse[1]),
            rng=seed,
        )
    figures = [each.figures() + found.figures() for each, found in zip(sets, diverse, strict=True)]
    if table is not None:
        write_table(rows_of(sets, names, labels), table)
    if output is not None:
        write_json(
            {
                "level": level,
                "sets": [
                    {
                        "name": name,
                        "source": str(path),
                        "questions": len(each.words),
                        "figures": [figure.to_dict(level) for figure in found],
                    }
                    for name, path, each, found in zip(names, sources, sets, figures, strict=True)
                ],
                "comparison": [each.to_dict(level) for each in compared],
            },
            output,
        )
    if figure is not None:
        from statllm.cli.questions_figure import draw

        draw(sets, names, labels, level, figure)
    for name, found in zip(names, figures, strict=True):
        console().print(estimates(name, found, level))
    if compared:
        _print(compared, names, level)


def _print(compared: list[SetComparison], names: list[str], level: float) -> None:
    from statllm.results import format_p

    rows = [
        (
            each.estimate.name,
            f"{each.estimate.value:+.4f}",
            interval_text(each.estimate, level),
            format_p(each.log_p_holm) + " *" * each.of_all_shares,
            each.estimate.unit,
        )
        for each in compared
    ]
    head = ("figure", "value", f"{100 * level:g} % interval", "p (Holm)", "unit")
    title = f"{names[1]} (B) less {names[0]} (A)"
    console().print(table_of(title, head, rows, wrap=("figure", "unit")))
    if any(each.of_all_shares for each in compared):
        console().print("* a test of all shares at once, not of this figure alone")
