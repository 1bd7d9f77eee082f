"""`statllm passk`: what k samples of each task achieve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import Where, conditions, console, printable, table_of, write_json
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.passk import Curve


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
    random sample, and one with fewer samples than the largest k is left out, which is said.

    Examples:

        statllm passk scores.parquet --k 1 --k 4 --answer answer

        statllm passk runs.csv --column reward --item task_id --where model=base --figure k.png
    """
    from statllm._formats import check_output, keep_and_rename, read_rows
    from statllm.cli.figures import PICTURES
    from statllm.estimators.passk import all_at_k, curve, majority_at_k, pass_at_k, success_counts

    check_output(output, (".json",))
    check_output(figure, PICTURES)
    if not 0 < level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {level}")
    only = conditions(where)
    samples = _Samples.read(source, column, item=item, cluster=cluster, where=only, filter=filter)
    longest = int(samples.correct.lengths.max())
    ks = sorted(set(k)) if k else _powers(longest)
    try:
        successes, n = success_counts(samples.correct)
        values = {
            "pass@k": pass_at_k(successes, n, ks),
            "pass^k": all_at_k(successes, n, ks),
        }
        if answer is not None or reward is not None:
            table = keep_and_rename(read_rows(source), {}, only)
            if answer is not None:
                answers = samples.column(table, source, answer, object)
                values["maj@k"] = majority_at_k(answers, samples.correct, ks)
            if reward is not None:
                from statllm.estimators.passk import best_at_k

                rewards = samples.column(table, source, reward, float)
                values["best@k"] = best_at_k(rewards, samples.correct, ks)
        curves = [curve(v, ks, samples.clusters, level, name) for name, v in values.items()]
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    if output is not None:
        report = {
            "source": str(source),
            "level": level,
            "curves": {each.name: each.to_frame().to_dict("records") for each in curves},
            "tasks_left_out": {each.name: each.n_dropped for each in curves},
            "notes": list(samples.notes),
        }
        write_json(report, output)
    if figure is not None:
        _draw(curves, level, figure)
    _print(source, curves, ks, level)
    for note in samples.notes:
        console().print(printable(note))


class _Samples:
    """Verdicts of each task, and where its other columns lie."""

    def __init__(
        self, correct: Any, items: list[str], clusters: Any, key: str | None, notes: tuple[str, ...]
    ) -> None:
        self.correct, self.items, self.clusters, self.key = correct, items, clusters, key
        self.notes = notes

    @classmethod
    def read(cls, source: Path, column: str | None, item: str | None, **options: Any) -> _Samples:
        import numpy as np

        from statllm.integrations import read_scores
        from statllm.ragged import Ragged

        try:  # scores of a generation table have verdicts of samples and of their majority
            scores = read_scores(source, column or "correct", item=item, **options)
        except InputError:
            if column is not None:
                raise
            scores = read_scores(source, item=item, **options)
        rows: dict[str, list[float]] = {}
        for name, value in zip(scores.item, scores.score.tolist(), strict=True):
            rows.setdefault(name, []).append(value)
        groups = {} if scores.cluster is None else scores.cluster_of()
        missing = [name for name, values in rows.items() if np.isnan(values).any()]
        if missing:
            raise InputError(
                f"{source}: task '{missing[0]}' has a sample without a verdict; say whether it is "
                "a failure before (statllm score does)"
            )
        for name, values in rows.items():
            other = next((v for v in values if v not in (0, 1)), None)
            if other is not None:
                raise InputError(
                    f"{source}: {scores.metric} of task '{name}' is {other:g}, not 0 or 1"
                )
        items = list(rows)
        clusters = [groups[name] for name in items] if groups else None
        correct = Ragged.from_lists([rows[name] for name in items], np.float64)
        return cls(correct, items, clusters, item, scores.notes)

    def column(self, table: Any, source: Path, name: str, kind: type) -> Any:
        """Another column in the same order of tasks and samples."""
        import numpy as np

        from statllm.integrations.plain import ITEMS, item_label
        from statllm.ragged import Ragged

        if name not in table.column_names:
            raise InputError(f"{source} has no column '{name}'")
        key = self.key or next((each for each in ITEMS if each in table.column_names), None)
        if key is None:
            raise InputError(f"{source} has none of the columns {', '.join(ITEMS)}")
        rows: dict[str, list[Any]] = {each: [] for each in self.items}
        for given, value in zip(table[key].to_pylist(), table[name].to_pylist(), strict=True):
            label = item_label(given)
            if label in rows:
                rows[label].extend(value if isinstance(value, list) else [value])
        lists = [rows[each] for each in self.items]
        for task, values, count in zip(self.items, lists, self.correct.lengths, strict=True):
            if len(values) != count:
                raise InputError(
                    f"{source}: task '{task}' has {count} verdicts and {len(values)} of '{name}'"
                )
        if kind is object:
            return Ragged.from_lists(lists, object)
        filled = [[np.nan if v is None else v for v in values] for values in lists]
        return Ragged.from_lists(filled, np.float64)


def _powers(longest: int) -> list[int]:
    """1, 2, 4, ... and the largest."""
    found = [1]
    while found[-1] * 2 <= longest:
        found.append(found[-1] * 2)
    return found if found[-1] == longest else [*found, longest]


def _print(source: Path, curves: list[Curve], ks: list[int], level: float) -> None:
    rows = []
    for each in curves:
        for place, size in enumerate(ks):
            estimate = each.estimates[place]
            rows.append(
                (
                    each.name.replace("k", str(size)),
                    f"{estimate.value:.4f}",
                    f"{estimate.interval(level):.4f}",
                    f"[{each.low[place]:.4f}, {each.high[place]:.4f}]",
                    estimate.n,
                )
            )
    out = console()
    names = ("figure", "share of tasks", f"{level:.0%} interval", f"{level:.0%} band", "n")
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


def _draw(curves: list[Curve], level: float, path: Path) -> None:
    from statllm.cli.figures import new_picture, save_picture
    from statllm.report.drawing import style_of

    figure, axes = new_picture()
    for place, each in enumerate(curves):
        style = style_of(place)
        axes.fill_between(each.x, each.low, each.high, color=style.colour, alpha=0.15, lw=0)
        axes.plot(
            each.x,
            each.value,
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            label=each.name,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(curves[0].x, [str(x) for x in curves[0].x])
    axes.set_ylim(0, 1)
    axes.set_xlabel("samples k")
    axes.set_ylabel(f"share of tasks, {level:.0%} band")
    axes.legend(frameon=False)
    save_picture(figure, path)
