"""`statllm passk`: what k samples of each task achieve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import (
    Where,
    check_report,
    conditions,
    console,
    interval_text,
    printable,
    table_of,
    write_json,
)
from statllm.cli.passk_samples import Samples
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.passk import Curve
    from statllm.results import Estimate


def passk(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SCORES",
            help="Samples with verdicts: a generation table, a table with one row per sample, or "
            "an Inspect log.",
        ),
    ],
    k: Annotated[
        list[int] | None, typer.Option("--k", "-k", min=1, help="May be repeated; default 1, 2, 4…")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of 0/1 verdicts; default correct, score, reward…")
    ] = None,
    reward: Annotated[
        str | None, typer.Option(help="Column of rewards: best@k, the best of k by it, is added.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="Column of answers: maj@k, the majority of k, is added.")
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            help="Column of lengths in tokens: what k samples cost, and accuracy within a budget."
        ),
    ] = None,
    budget: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Tokens after which a sample is cut, and wrong; may be repeated; default powers "
            "of 2.",
        ),
    ] = None,
    item: Annotated[str | None, typer.Option(help="Column that names the task.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Column: tasks that depend on each other.")
    ] = None,
    where: Where = None,
    filter: Annotated[str | None, typer.Option(help="Of lm-evaluation-harness.")] = None,
    level: Annotated[float, typer.Option(help="Of the bands.")] = 0.95,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="All curves: JSON.")] = None,
    figure: Annotated[Path | None, typer.Option(help="The curves: .png, .pdf or .svg.")] = None,
) -> None:
    """Estimate pass@k (any right), pass^k (all right), maj@k and best@k, over tasks.

    Each is unbiased for k new samples. The band holds for all k of a curve together; tasks are the
    random sample, and one with fewer samples than the largest k is left out, which is said. With
    --tokens the curves are drawn against the tokens that k samples take (O1 Journey, part 2).

    Examples:

        statllm passk scores.parquet --k 1 --k 4 --answer answer

        statllm passk runs.csv --column reward --item task_id --where model=base --figure k.png

        statllm passk scores.parquet --answer answer --tokens n_tokens --figure tokens.png
    """
    from statllm._formats import keep_and_rename, read_rows
    from statllm.estimators.passk import (
        accuracy_within_budget,
        all_at_k,
        best_at_k,
        curve,
        majority_at_k,
        pass_at_k,
        success_counts,
    )

    check_report(output, figure, (source,), level)
    only = conditions(where)
    samples = Samples.read(source, column, item=item, cluster=cluster, where=only, filter=filter)
    longest = int(samples.correct.lengths.max())
    ks = sorted(set(k)) if k else _powers(longest)
    if budget and tokens is None:
        raise InputError("--budget needs the tokens of each sample (--tokens)")
    spent = cut = None
    try:
        successes, n = success_counts(samples.correct)
        values = {
            "pass@k": pass_at_k(successes, n, ks),
            "pass^k": all_at_k(successes, n, ks),
        }
        if not (answer is None and reward is None and tokens is None):
            table = keep_and_rename(read_rows(source), {}, only)
        if answer is not None:
            answers = samples.column(table, source, answer, object)
            values["maj@k"] = majority_at_k(answers, samples.correct, ks)
        if reward is not None:
            rewards = samples.column(table, source, reward, float)
            values["best@k"] = best_at_k(rewards, samples.correct, ks)
        if tokens is not None:
            lengths = samples.column(table, source, tokens, float)
            _check_tokens(lengths, samples, source, tokens)
            spent = _cost(lengths, ks, samples.clusters)
            budgets = sorted(set(budget)) if budget else _budgets(lengths.values)
            within = accuracy_within_budget(samples.correct, lengths, budgets)
            cut = curve(within, budgets, samples.clusters, level, "accuracy within the budget")
        curves = [curve(v, ks, samples.clusters, level, name) for name, v in values.items()]
    except InputError:  # which names the source
        raise
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    if output is not None:
        report = {
            "source": str(source),
            "level": level,
            "curves": {
                each.name: each.to_frame().to_dict("records")
                for each in (*curves, *([] if cut is None else [cut]))
            },
            "tokens_of_k": None if spent is None else [each.to_dict(level) for each in spent],
            "tasks_left_out": {each.name: each.n_dropped for each in curves},
            "notes": list(samples.notes),
        }
        write_json(report, output)
    if figure is not None:
        _draw(curves, spent, cut, level, figure)
    _print(source, curves, ks, spent, level)
    if cut is not None:
        _print_budgets(cut, level)
    for note in samples.notes:
        console().print(printable(note))


def _check_tokens(lengths: Any, samples: Samples, source: Path, name: str) -> None:
    """Every sample has a length; the task of one that hasn't is named."""
    import numpy as np

    wrong = np.flatnonzero(~((lengths.values >= 0) & np.isfinite(lengths.values)))
    if len(wrong):
        task = samples.items[int(lengths.rows[wrong[0]])]
        found = lengths.values[wrong[0]]
        raise InputError(f"{source}: '{name}' of a sample of task '{task}' is {found:g}")


def _cost(lengths: Any, ks: list[int], clusters: Any) -> list[Estimate]:
    """Tokens that k samples of a task take, over tasks."""
    from statllm.estimators.comparison import mean_estimate
    from statllm.estimators.passk import tokens_at_k

    table = tokens_at_k(lengths, ks)
    return [
        mean_estimate(column, clusters, f"tokens of {k}", "tokens")
        for k, column in zip(ks, table.T, strict=True)
    ]


def _budgets(lengths: Any) -> list[int]:
    """Powers of 2 from the shortest sample's length on, and the longest's."""
    shortest, longest = (max(1, int(each)) for each in (lengths.min(), lengths.max()))
    return [size for size in _powers(longest) if size >= shortest]


def _powers(longest: int) -> list[int]:
    """1, 2, 4, ... and the largest."""
    found = [1]
    while found[-1] * 2 <= longest:
        found.append(found[-1] * 2)
    return found if found[-1] == longest else [*found, longest]


def _print(
    source: Path, curves: list[Curve], ks: list[int], spent: list[Estimate] | None, level: float
) -> None:
    rows = []
    for each in curves:
        for place, size in enumerate(ks):
            cost = [] if spent is None else [f"{spent[place].value:.1f}"]
            rows.append((each.name.replace("k", str(size)), *_figures(each, place, level), *cost))
    out = console()
    percent = f"{100 * level:g} %"
    names = ["figure", "share of tasks", f"{percent} interval", f"{percent} band", "n"]
    if spent is not None:
        names.append("tokens a task")
        takes = spent[0]
        out.print(f"a sample takes {takes.value:.1f} tokens {takes.interval(level):.1f}")
    out.print(table_of(f"{source}: k samples of each task", names, rows))
    short = curves[0].n_dropped
    if short:
        out.print(f"{short} tasks have fewer than {max(ks)} samples and are left out")
    for each in curves:
        if each.n_dropped > short:
            lacking = each.n_dropped - short
            out.print(f"{each.name}: {lacking} more tasks lack a reward and are left out")
    if any(estimate.se == 0 for each in curves for estimate in each.estimates):
        out.print("where all tasks have one value the interval has no width: it isn't certainty")


def _figures(each: Curve, place: int, level: float) -> tuple[str, str, str, int]:
    """Value, interval, band and n of a point."""
    estimate = each.estimates[place]
    return (
        f"{estimate.value:.4f}",
        interval_text(estimate, level),
        f"[{each.low[place]:.4f}, {each.high[place]:.4f}]",
        estimate.n,
    )


def _print_budgets(cut: Curve, level: float) -> None:
    rows = [(f"{x:,}", *_figures(cut, place, level)) for place, x in enumerate(cut.x.tolist())]
    percent = f"{100 * level:g} %"
    names = ("tokens", "share right", f"{percent} interval", f"{percent} band", "n")
    console().print(table_of("one sample, cut and wrong beyond a budget", names, rows))


def _draw(
    curves: list[Curve], spent: list[Estimate] | None, cut: Curve | None, level: float, path: Path
) -> None:
    """Curves over k; or, where lengths are known, over the tokens that a task takes."""
    from statllm.cli.figures import new_picture, save_picture
    from statllm.report.drawing import style_of

    figure, axes = new_picture()
    costs = None if spent is None else [each.value for each in spent]
    for place, each in enumerate([*curves, *([] if cut is None else [cut])]):
        style = style_of(place)
        x = each.x.tolist() if costs is None or each is cut else costs
        axes.fill_between(x, each.low, each.high, color=style.colour, alpha=0.15, lw=0)
        axes.plot(
            x,
            each.value,
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            label=each.name,
        )
    axes.set_xscale("log", base=2)
    if costs is None:
        axes.set_xticks(curves[0].x, [str(x) for x in curves[0].x])
    axes.set_ylim(0, 1)
    axes.set_xlabel("samples k" if costs is None else "tokens a task")
    axes.set_ylabel(f"share of tasks, {100 * level:g} % band")
    axes.legend(frameon=False)
    save_picture(figure, path)
