"""`statllm winrate`: how often a model is preferred, at equal length, and within limits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.integrations import Wins
    from statllm.results import Estimate

Difficulty = Literal["none", "others"]


def winrate(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="AlpacaEval's annotations.json, one or more models; or tables with a row per "
            "judged answer: Parquet, JSONL or CSV.",
        ),
    ],
    outcome: Annotated[
        str | None,
        typer.Option(help="Column: 1 a win, 0 a loss, or between; or win, tie, loss."),
    ] = None,
    item: Annotated[str | None, typer.Option(help="Column that names the instruction.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Column of models; default model, generator or generator_2.")
    ] = None,
    length: Annotated[
        str | None, typer.Option(help="Column: length of the model's answer; of a table.")
    ] = None,
    baseline_length: Annotated[str | None, typer.Option(help="… of the baseline's.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="Column or key: words that an answer may have at most.")
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="Column: words of the model's answer; of a table.")
    ] = None,
    baseline_words: Annotated[
        str | None, typer.Option(help="… of the baseline's; without, it keeps every limit.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Column or key: instructions that depend on each other.")
    ] = None,
    difficulty: Annotated[
        Difficulty,
        typer.Option(
            help="Control for how hard an instruction is, as the other models given say, or not."
        ),
    ] = "none",
    where: Where = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="The rates with intervals: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Win rates of models against a baseline: as judged, at equal length, and within limits.

    Where lengths are known: the length-controlled win rate by maximum likelihood, whose error has
    that of all parameters, and AlpacaEval's own by name, whose error leaves it out. With --limit:
    the share of answers over their limit, and the win rate in which these lose.

    Examples:

        statllm winrate annotations.json -o winrate.json --figure winrate.png

        statllm winrate a.json b.json c.json --difficulty others

        statllm winrate judged.csv --outcome win --length len --baseline-length base_len

        statllm winrate judged.jsonl --limit max_words --words n_words
    """
    from statllm.integrations import WinColumns, read_wins

    check_report(output, figure, sources, level)
    if (length is None) != (baseline_length is None):
        raise InputError("--length and --baseline-length belong together")
    names = WinColumns(
        outcome, item, model, length, baseline_length, words, baseline_words, limit, cluster
    )
    given = [each for source in sources for each in read_wins(source, names, conditions(where))]
    again = [name for name, times in Counter(each.model for each in given).items() if times > 1]
    if again:
        raise InputError(f"model '{again[0]}' is given twice: in {_sources(given, again[0])}")
    if difficulty == "others" and len(given) < 2:
        raise InputError("--difficulty others needs two models or more, there is one")
    found = {each.model: _rates(each, given, difficulty) for each in given}
    report = {
        "level": level,
        "difficulty": difficulty,
        "models": [
            {
                "model": each.model,
                "source": each.source,
                "answers": len(each),
                "figures": [estimate.to_dict(level) for estimate in found[each.model][0]],
                "notes": found[each.model][1],
            }
            for each in given
        ],
    }
    if output is not None:
        write_json(report, output)
    if figure is not None:
        _draw({name: rates for name, (rates, _) in found.items()}, level, figure)
    _print(found, given, level)


def _sources(given: list[Wins], model: str) -> str:
    return " and ".join(each.source for each in given if each.model == model)


def _rates(
    wins: Wins, given: list[Wins], difficulty: Difficulty
) -> tuple[list[Estimate], list[str]]:
    """Figures of one model, and what couldn't be estimated."""
    import numpy as np

    from statllm.estimators.winrate import (
        alpaca_eval_win_rate,
        instruction_difficulty,
        length_controlled,
        win_rate,
    )

    judged = wins.rows(~np.isnan(wins.outcome))
    notes = []
    if len(judged) < len(wins):
        notes.append(f"{len(wins) - len(judged)} of {len(wins)} answers have no outcome")
    if not len(judged):
        if wins.limit is None:
            raise InputError(f"{wins.source}: no answer of '{wins.model}' has an outcome")
        return _within_limits(wins, notes), notes
    figures: list[Estimate] = [win_rate(judged.outcome, _clusters(judged))]
    if judged.length is None or judged.baseline_length is None:
        notes.append("no lengths, so no win rate at equal length")
    else:
        hard = None
        try:
            if difficulty == "others":
                others = [_answers(each) for each in given if each is not wins]
                hard = instruction_difficulty(others)
            answers = _answers(judged)
            controlled = length_controlled(answers, hard, clusters=judged.cluster)
            figures += [
                controlled.win_rate.named("length-controlled win rate"), *controlled.effects
            ]  # fmt: skip
            flat = dict.fromkeys(answers.ids, 0.0)
            theirs = alpaca_eval_win_rate(answers, hard or flat).win_rate
            figures.append(theirs.named("the same by AlpacaEval's GLM"))
        except ValueError as error:
            notes.append(f"no win rate at equal length: {error}")
    figures += _within_limits(wins, notes)
    return figures, notes


def _within_limits(wins: Wins, notes: list[str]) -> list[Estimate]:
    import numpy as np

    from statllm.estimators.comparison import mean_estimate
    from statllm.estimators.winrate import length_instructed_win_rate, violation_rate

    if wins.limit is None:
        return []
    if wins.words is None:
        raise InputError(f"{wins.source}: --limit needs the words of answers (--words)")
    known = ~np.isnan(wins.outcome) | (wins.words > wins.limit)
    if wins.baseline_words is not None:
        known |= wins.baseline_words > wins.limit
    decided = wins.rows(known)
    if len(decided) < len(wins):
        notes.append(
            f"{len(wins) - len(decided)} answers within their limit have no outcome, and aren't in "
            "the length-instructed win rate"
        )
    groups = _clusters(wins)
    try:
        figures = [violation_rate(wins.words, wins.limit, clusters=groups)]
        if decided.words is not None and decided.limit is not None and len(decided):
            figures.append(
                length_instructed_win_rate(
                    decided.outcome, decided.words, decided.limit,
                    baseline_words=decided.baseline_words, clusters=_clusters(decided),
                )
            )  # fmt: skip
        figures.append(mean_estimate(wins.words, groups, "mean words", "words"))
    except ValueError as error:
        raise InputError(f"{wins.source}, model '{wins.model}': {error}") from error
    return figures


def _clusters(wins: Wins) -> Any:
    """Clusters that were named, else repeated instructions, else None."""
    if wins.cluster is not None:
        return wins.cluster
    return wins.item if len(set(wins.item.tolist())) < len(wins) else None


def _answers(wins: Wins) -> Any:
    """Judged answers with their lengths."""
    import numpy as np

    from statllm.estimators.winrate import Answers

    judged = wins.rows(~np.isnan(wins.outcome))
    if judged.length is None or judged.baseline_length is None:
        raise ValueError(f"{wins.source} has no lengths")
    ids = judged.item.tolist()
    return Answers(ids, judged.outcome, judged.length, judged.baseline_length)


def _print(found: dict[str, Any], given: list[Wins], level: float) -> None:
    rows = []
    for each in given:
        for estimate in found[each.model][0]:
            interval = interval_text(estimate, level)
            rows.append(
                (each.model, estimate.name, f"{estimate.value:.4f}", f"{estimate.se:.4f}",
                 interval, estimate.n, estimate.unit)
            )  # fmt: skip
    out = console()
    head = ("model", "figure", "value", "se", f"{100 * level:g} % interval", "n", "unit")
    out.print(table_of("against the baseline", head, rows, wrap=("model", "figure", "unit")))
    if any("GLM" in row[1] for row in rows):
        out.print(
            "AlpacaEval's error leaves out that of its parameters, so its interval is too narrow"
        )
    for each in given:
        for note in found[each.model][1]:
            out.print(printable(f"{each.model}: {note}"))


def _draw(found: dict[str, list[Estimate]], level: float, path: Path) -> None:
    from statllm.cli.figures import new_picture, picture_text, save_picture
    from statllm.report.drawing import style_of

    shown = {
        name: [each for each in rates if each.unit == "share"] for name, rates in found.items()
    }
    names = list(dict.fromkeys(each.name for rates in shown.values() for each in rates))
    figure, axes = new_picture(7, 1.2 + 0.3 * sum(map(len, shown.values())))
    place, ticks, seen = 0, [], set[str]()
    for model, rates in shown.items():
        for each in rates:
            interval = each.interval(level)
            style = style_of(names.index(each.name))
            title = None if each.name in seen else each.name
            seen.add(each.name)
            axes.hlines(-place, interval.low, interval.high, color=style.colour, linewidth=2)
            axes.plot(each.value, -place, style.marker, color=style.colour, label=title)
            place += 1
        ticks.append((-place + (len(rates) + 1) / 2, model))
        place += 1
    axes.axvline(0.5, color="#8C8C8C", linewidth=1)
    axes.set_yticks([at for at, _ in ticks], [picture_text(name) for _, name in ticks])
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of answers, {100 * level:g} % intervals")
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.25))
    save_picture(figure, path)
