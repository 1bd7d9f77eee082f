"""`statllm rank`: ratings of models from a table of battles, with intervals of their ranks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from statllm.cli.columns import column, numbers
from statllm.cli.common import (
    Where,
    check_report,
    conditions,
    console,
    table_of,
    write_json,
)
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.ranking import Battles, Ranking

Ties = Literal["half", "davidson", "rao-kupper"]
Prior = Literal["none", "ties", "jeffreys"]
Errors = Literal["auto", "model", "sandwich", "jackknife"]

#: What a column of winners may say besides the model itself, in lower case.
_VERDICTS = {
    1.0: {"a", "model_a", "left", "first", "1", "1.0"},
    0.0: {"b", "model_b", "right", "second", "0", "0.0"},
    0.5: {"tie", "draw", "tie (bothbad)", "both_bad", "bothbad", "0.5"},
}
_OUTCOME = {name: value for value, names in _VERDICTS.items() for name in names}


def rank(
    source: Annotated[
        Path, typer.Argument(metavar="BATTLES", help="One row per battle: Parquet, JSONL or CSV.")
    ],
    a: Annotated[str, typer.Option("--a", help="Column: the first model.")] = "model_a",
    b: Annotated[str, typer.Option("--b", help="Column: the second model.")] = "model_b",
    winner: Annotated[
        str, typer.Option(help="Column: the winning model, a/b/tie, left/right/tie, or 1/0/0.5.")
    ] = "winner",
    cluster: Annotated[
        list[str] | None,
        typer.Option(help="Column of what battles share (prompt, judge); up to two times."),
    ] = None,
    ties: Annotated[Ties, typer.Option(help="How ties are modelled.")] = "half",
    prior: Annotated[
        Prior, typer.Option(help="Keeps ratings finite where a model never loses.")
    ] = "none",
    errors: Annotated[Errors, typer.Option(help="How errors are estimated.")] = "auto",
    style: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN_A,COLUMN_B: counts to control for (lengths); repeatable."),
    ] = None,
    ridge: Annotated[float, typer.Option(min=0, help="On style; Chatbot Arena's is 0.5.")] = 0.0,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples (of clusters) for intervals instead; 0: none.")
    ] = 0,
    level: Annotated[float, typer.Option(help="Of all intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Everything, as JSON.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Ratings drawn: PNG, SVG or PDF.")] = None,
    where: Where = None,
) -> None:
    """Rate models by the battles between them (Bradley-Terry, on the Elo scale).

    Each rating with its interval, and each rank with an interval that holds for all together.

    Examples:

        statllm rank votes.csv --a left --b right --cluster prompt --ties davidson

        statllm rank battles.jsonl --style len_a,len_b --ridge 0.5 -o out.json --figure out.png
    """
    from statllm._formats import read_table
    from statllm.estimators.ranking import bootstrap_ratings, bradley_terry

    check_report(output, figure, (source,), level)
    table = read_table(source, {}, conditions(where))
    data = _battles(table, source, (a, b, winner), cluster or [], style or [])
    try:
        fitted = bradley_terry(data, ties=ties, prior=prior, covariance=errors, ridge=ridge)
        resampled = None
        if bootstrap:
            resampled = bootstrap_ratings(
                data, bootstrap, ties=ties, prior=prior, ridge=ridge, rng=seed
            )
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    report = _report(fitted, resampled, level, seed)
    if output is not None:
        write_json(report, output)
    if figure is not None:
        _draw(report, level, figure)
    out = console()
    share = f"{100 * level:g} % interval"
    rows = [_line(model) for model in report["models"]]
    headings = ("model", "rating", share, "rank", "ranks", "P(best)", "battles")
    out.print(table_of(f"{len(data)} battles", headings, rows, wrap=("model",)))
    for each in report["coefficients"]:
        out.print(f"{each['name']} = {each['value']:.4g} (se {each['se']:.2g}), in log odds")
    out.print(fitted.summary(), soft_wrap=True)
    if resampled is not None:
        out.print(f"intervals by {bootstrap} resamples, {resampled.n_separated} without a maximum")


def _battles(
    table: Any, source: Path, names: tuple[str, str, str], clusters: list[str], style: list[str]
) -> Battles:
    """Read the columns; wrong values are named with their row."""
    import numpy as np

    from statllm.estimators.ranking import battles, style_differences

    a, b, winner = names
    sides = [[_label(v) for v in column(table, source, name).to_pylist()] for name in (a, b)]
    for name, labels in zip((a, b), sides, strict=True):
        if None in labels:
            raise InputError(f"{source}: column '{name}' is null in row {labels.index(None)}")
    said = column(table, source, winner).to_pylist()
    outcome = [
        _outcome(value, first, second, row, source, winner)
        for row, (value, first, second) in enumerate(zip(said, *sides, strict=True))
    ]
    ways = []
    for name in clusters:
        labels = column(table, source, name).to_pylist()
        if None in labels:
            raise InputError(f"{source}: column '{name}' is null in row {labels.index(None)}")
        ways.append(np.array(labels))
    covariates, titles = [], []
    for pair in style:
        left, comma, right = pair.partition(",")
        if not comma:
            raise InputError(f"--style {pair}: COLUMN_A,COLUMN_B was expected")
        try:
            counts = [numbers(table, source, name) for name in (left, right)]
            covariates.append(style_differences(*counts))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(
                f"{source}: columns '{left}' (a) and '{right}' (b): {error}"
            ) from error
        titles.append(f"{left} against {right}")
    try:
        return battles(
            np.array(sides[0]),
            np.array(sides[1]),
            outcome,
            clusters=tuple(ways) or None,
            style=np.column_stack(covariates) if covariates else None,
            style_names=titles,
        )
    except ValueError as error:
        raise InputError(f"{source}: columns '{a}', '{b}': {error}") from error


def _label(value: Any) -> str | None:
    return None if value is None else str(value)


def _outcome(value: Any, a: str | None, b: str | None, row: int, source: Path, name: str) -> float:
    """1, 0.5 or 0; a model's own name goes before words such as 'a'."""
    text = str(value)
    if value is not None and text in (a, b) and a != b:
        return 1.0 if text == a else 0.0
    found = None if value is None else _OUTCOME.get(text.strip().lower())
    if found is None:
        raise InputError(
            f"{source}: column '{name}' is {value!r} in row {row}; "
            f"{a!r}, {b!r}, a, b, tie, left, right, 1, 0 or 0.5 was expected"
        )
    return found


def _report(fitted: Ranking, resampled: Any, level: float, seed: int) -> dict[str, Any]:
    """All numbers, models best first."""
    import numpy as np

    finite = bool(np.isfinite(fitted.covariance).all())
    low, high = (resampled or fitted).interval(level)
    ranks = best = None
    if resampled is not None:
        ranks, best = resampled.ranks(level), resampled.best()
    elif finite:
        ranks, best = fitted.ranks(level, rng=seed), fitted.best(rng=seed)
    se = fitted.se if resampled is None else resampled.se
    models = []
    for place in fitted.order():
        row = {
            "model": fitted.models[place],
            "rating": float(fitted.rating[place]),
            "se": float(se[place]),
            "low": float(low[place]),
            "high": float(high[place]),
            "battles": float(fitted.n_battles[place]),
        }
        if ranks is not None and best is not None:
            row |= {
                "rank": int(ranks.rank[place]),
                "rank_low": int(ranks.low[place]),
                "rank_high": int(ranks.high[place]),
                "p_best": float(best[place]),
            }
        models.append(row)
    errors = np.sqrt(fitted.coefficient_covariance.diagonal())
    return {
        "method": fitted.method,
        "level": level,
        "degrees_of_freedom": fitted.df,
        "log_likelihood": fitted.log_likelihood,
        "separated": fitted.separated,
        "bootstrap": None if resampled is None else len(resampled.resampled),
        "models": models,
        "coefficients": [
            {"name": name, "value": float(value), "se": float(error)}
            for name, value, error in zip(
                fitted.coefficient_names, fitted.coefficients, errors, strict=True
            )
        ],
        "differences": fitted.differences(level).to_frame().to_dict("records") if finite else [],
    }


def _line(row: dict[str, Any]) -> tuple[Any, ...]:
    ranks = ("-", "-", "-")
    if "rank" in row:
        ranks = (row["rank"], f"{row['rank_low']}-{row['rank_high']}", f"{row['p_best']:.3f}")
    interval = "-" if math.isnan(row["low"]) else f"[{row['low']:.0f}, {row['high']:.0f}]"
    return (row["model"], f"{row['rating']:.1f}", interval, *ranks, f"{row['battles']:g}")


def _draw(report: dict[str, Any], level: float, path: Path) -> None:
    """Ratings with their intervals, best on top."""
    from statllm.cli.figures import new_picture, picture_text, save_picture
    from statllm.report.drawing import style_of

    rows = [row for row in report["models"] if math.isfinite(row["low"])]
    if not rows:
        raise InputError("--figure: no rating is finite; --prior jeffreys makes them so")
    figure, axes = new_picture(6.4, 0.8 + 0.24 * len(rows))
    places = list(range(len(rows), 0, -1))
    values = [row["rating"] for row in rows]
    reach = [
        [row["rating"] - row["low"] for row in rows],
        [row["high"] - row["rating"] for row in rows],
    ]
    axes.errorbar(values, places, xerr=reach, fmt="o", color=style_of(0).colour, markersize=4)
    axes.set_yticks(places, [picture_text(str(row["model"])) for row in rows])
    axes.set_ylim(0.4, len(rows) + 0.6)
    axes.set_xlabel(f"rating (Elo points, mean 0), {100 * level:g} % intervals")
    save_picture(figure, path)
