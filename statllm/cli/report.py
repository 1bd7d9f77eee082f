"""`statllm report`: the page of one run or several, or of a table of scored answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.columns import VERDICTS, column, numbers, verdicts
from statllm.cli.common import conditions, console
from statllm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN... | IN",
            help="Run folders, set side by side; or a table, one row per answer: Parquet, JSONL "
            "or CSV.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="HTML; report.html in the first run, or beside the table."
        ),
    ] = None,
    confidence: Annotated[
        list[str] | None,
        typer.Option(
            help="Column, larger is surer; '-loss' turns its sign; may be repeated. Default: the "
            "columns that `statllm score` writes.",
        ),
    ] = None,
    correct: Annotated[
        str | None,
        typer.Option(
            help=f"Column of 0/1; default: the first of {', '.join(VERDICTS)}.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Column: rows with the same value may depend on each other. Default: prompt_id, "
            "where several rows share one.",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="A threshold is sought above which at most this share is wrong, 0.1 if not given;",
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="with probability 1 - delta, 0.05 if not given."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=VALUE: only these rows."),
    ] = None,
) -> None:
    """Write one self-contained HTML page.

    On runs: accuracy, training, what was selected. On a table: which score tells right answers
    from wrong ones, what keeping the surest gains, which confidences can be believed. All
    options but --output are for tables.

    Examples:

        statllm report runs/demo/scpo runs/demo/irpo -o report.html

        statllm report scores.parquet -o uncertainty.html

        statllm report log.csv --confidence p --confidence=-loss --correct is_right
    """
    from statllm._formats import SUFFIXES

    given: dict[str, Any] = {
        "confidence": confidence, "correct": correct, "cluster": cluster, "alpha": alpha,
        "delta": delta, "where": where,
    }  # fmt: skip
    tables = [path for path in sources if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not tables:
        for name, value in given.items():
            if value not in (None, []):
                raise InputError(f"--{name} is for tables; {sources[0]} is a run folder")
        path = _of_runs(sources, output)
    elif len(sources) > 1:
        raise InputError(f"{tables[0]} is a table, which has a page of its own: name no other")
    else:
        path = _of_table(tables[0], output, **given)
    console().print(str(path), soft_wrap=True)


def _of_runs(folders: list[Path], output: Path | None) -> Path:
    from statllm.report import write_report
    from statllm.stages import Run

    path = output or folders[0] / "report.html"
    write_report([Run.open(folder) for folder in folders], path)
    return path


def _of_table(
    source: Path,
    output: Path | None,
    confidence: list[str] | None,
    correct: str | None,
    cluster: str | None,
    alpha: float | None,
    delta: float | None,
    where: list[str] | None,
) -> Path:
    from statllm._formats import read_table
    from statllm.report import write_uncertainty_report
    from statllm.report.uncertainty.scores import score_columns

    table = read_table(source, {}, conditions(where))
    names = confidence or score_columns(table.column_names)
    if not names:
        raise InputError(
            f"{source} has no column that `statllm score` writes; name its confidences with "
            f"--confidence; it has {', '.join(table.column_names)}"
        )
    label, right = verdicts(table, source, correct)
    scores = {name: numbers(table, source, name.removeprefix("-")) for name in names}
    groups, unit = _clusters(table, source, cluster)
    levels = {"max_risk": alpha, "delta": delta}
    for option, value in (("alpha", alpha), ("delta", delta)):
        if value is not None and not 0 < value < 1:
            raise InputError(f"--{option} must lie between 0 and 1, not {value:g}")
    path = output or source.with_suffix(".html")
    try:
        write_uncertainty_report(
            scores,
            right,
            path,
            groups,
            unit=unit,
            verdict=label,
            title=f"Uncertainty report: {source.name}",
            **{name: value for name, value in levels.items() if value is not None},
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    return path


def _clusters(table: pa.Table, source: Path, name: str | None) -> tuple[Any, str]:
    """Return labels of clusters, or None, and what a row is."""
    import numpy as np

    unit = "answers"
    if "prompt_id" in table.column_names:
        n_prompts = len(table["prompt_id"].unique())
        unit = "prompts" if n_prompts == table.num_rows else "answers"
        name = name or ("prompt_id" if 1 < n_prompts < table.num_rows else None)
    if name is None:
        return None, unit
    return np.array(column(table, source, name).to_pylist(), dtype=str), unit
