"""`statllm compare A B`: is B better than A on the same items?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from statllm.cli.common import (
    Where,
    check_report,
    conditions,
    console,
    estimates,
    printable,
    table_of,
    write_json,
)
from statllm.cli.two_logs import Cluster, Column, Filter, Item, WhereA, WhereB, read_two
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.design import Comparison
    from statllm.integrations import Paired, Scores


def compare(
    a: Annotated[
        Path,
        typer.Argument(
            metavar="A",
            help="A run folder, scores, or a log: of lm-evaluation-harness (samples_*.jsonl, or a "
            "folder of them), Inspect (.eval, .json), AlpacaEval (annotations.json), or a table.",
        ),
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same, for the other model.")],
    column: Column = None,
    filter: Filter = None,
    cluster: Cluster = None,
    item: Item = None,
    where: Where = None,
    where_a: WhereA = None,
    where_b: WhereB = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Test that B isn't worse by this much, and that both are equal within it."
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="The figures with intervals: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Compare two models on the items that both have, matched by id.

    Paired difference with its interval, the paired t test (clustered where asked for), McNemar's
    exact test for right or wrong answers, and what difference could have been seen.

    Examples:

        statllm compare outputs/base/samples_gsm8k_X.jsonl outputs/tuned/samples_gsm8k_Y.jsonl

        statllm compare a.eval b.eval --cluster source -o compare.json --figure compare.png

        statllm compare runs/scpo/iteration_0 runs/scpo/iteration_2 --margin .02

        statllm compare all.csv all.csv --where-a model=base --where-b model=tuned
    """
    from statllm.estimators.design import compare as compared

    check_report(output, figure, (a, b), level)
    if margin is not None and not (margin > 0 and math.isfinite(margin)):
        raise InputError(f"--margin must be positive, not {margin}")
    rows = [conditions([*(where or ()), *(own or ())]) for own in (where_a, where_b)]
    scores, paired = read_two(a, b, column, rows, filter=filter, cluster=cluster, item=item)
    found = compared(paired.design, "A", "B", score=scores[0].metric, margin=margin)
    if output is not None:
        report = {
            "sources": [str(a), str(b)],
            "models": [each.model for each in scores],
            "where": rows,
            "metric": scores[0].metric,
            "notes": list(dict.fromkeys(note for each in scores for note in each.notes)),
            **found.to_dict(level),
            "items": {
                "common": found.n_items,
                "only_a": len(paired.only_a),
                "only_b": len(paired.only_b),
                "without_a_score": len(paired.missing),
            },
        }
        write_json(report, output)
    if figure is not None:
        _draw(found, scores, level, figure)
    _print(found, scores, paired, level)


def _print(found: Comparison, scores: list[Scores], paired: Paired, level: float) -> None:
    out = console()
    figures = [found.a, found.b, found.difference]
    for name, each in zip("AB", scores, strict=True):
        model = f" ({each.model})" if each.model else ""
        out.print(printable(f"{name}: {each.source}{model}"))
    title = f"{scores[0].metric} on {found.n_items} common items"
    out.print(estimates(title, figures, level))
    rows = [(name, test.summary()) for name, test in found.tests.items()]
    out.print(table_of("tests", ("test", "result"), rows, wrap=("result",)))
    out.print(printable(f"estimand: {found.estimand}"))
    se, n = found.difference.se, found.difference.n
    unit = "prompts" if paired.design.cluster is None else "clusters"
    if n < 2:
        out.print(f"an error needs two {unit}: there is one")
    elif se == 0:
        same = "are equal" if found.difference.value == 0 else "differ by the same"
        out.print(
            f"A and B {same} on all {n} {unit}: the interval of the difference has no width and "
            "t's p-value no meaning, though another sample might differ"
        )
    if se > 0:
        out.print(
            f"paired standard error {se:.4f}; ignoring the pairs it would be "
            f"{found.unpaired_se:.4f}. A true difference of {found.mde:.4f} would be found "
            "with a power of 80 %"
        )
    if found.units_needed is not None:
        out.print(f"to find the observed difference with that power: {found.units_needed:,} {unit}")
    if paired.design.cluster is not None and 2 <= n < 10:
        out.print(f"{n} clusters are few: the interval is wide, and rightly so")
    for path, only in ((scores[0].source, paired.only_a), (scores[1].source, paired.only_b)):
        if only:
            said = f"{len(only)} items are in {path} alone, '{only[0]}' for one; left out"
            out.print(printable(said))
    if paired.missing:
        said = f"{len(paired.missing)} common items lack a score, '{paired.missing[0]}' for one"
        out.print(printable(f"{said}; left out"))
    for note in dict.fromkeys(note for each in scores for note in each.notes):
        out.print(printable(note))


def _draw(found: Comparison, scores: list[Scores], level: float, path: Path) -> None:
    from statllm.cli.figures import new_picture, picture_text, save_picture
    from statllm.report.drawing import style_of

    figure, axes = new_picture(9, 2.8, columns=2)
    names = [
        f"{each.name}: {picture_text(log.model, 28)}" if log.model else each.name
        for each, log in zip((found.a, found.b), scores, strict=True)
    ]
    figure.suptitle(
        picture_text(f"{scores[0].metric} on {found.n_items} common items"), fontsize="medium"
    )
    for place, each in enumerate((found.b, found.a)):
        interval = each.interval(level)
        colour = style_of(place).colour
        axes[0].hlines(place, interval.low, interval.high, color=colour, linewidth=2)
        axes[0].plot(each.value, place, "o", color=colour)
    axes[0].set_yticks([0, 1], names[::-1])
    axes[0].set_ylim(-0.6, 1.6)
    axes[0].set_xlabel(picture_text(f"{found.difference.unit}, {100 * level:g} % interval"))
    interval = found.difference.interval(level)
    axes[1].axvline(0, color="#8C8C8C", linewidth=1)
    axes[1].hlines(0, interval.low, interval.high, color=style_of(2).colour, linewidth=2)
    axes[1].plot(found.difference.value, 0, "o", color=style_of(2).colour)
    axes[1].set_yticks([])
    axes[1].set_ylim(-0.6, 0.6)
    axes[1].set_xlabel(f"paired difference {found.difference.name}, {100 * level:g} % interval")
    save_picture(figure, path)
