"""`statllm calibrate`: can the confidences be believed, and how to make them so?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from statllm.cli.columns import VERDICTS, column, numbers, verdicts
from statllm.cli.common import conditions, console, estimates, table_of
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.results import TestResult

Method = Literal["platt", "temperature", "beta", "isotonic", "histogram", "venn-abers"]


def calibrate(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="One row per answer: Parquet, JSONL or CSV.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The rows with their calibrated confidence added."),
    ] = None,
    confidence: Annotated[str, typer.Option(help="Column, 0 to 1.")] = "vote_share",
    correct: Annotated[
        str | None,
        typer.Option(help=f"Column of 0/1; default: the first of {', '.join(VERDICTS)}."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Column: rows with the same value may depend on each other.")
    ] = None,
    method: Annotated[Method, typer.Option(help="How confidences are calibrated.")] = "platt",
    folds: Annotated[int, typer.Option(min=2, help="Each is calibrated by the others.")] = 5,
    bins: Annotated[int, typer.Option(min=1, help="Of the calibration errors.")] = 15,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE: only these rows.")] = None,
) -> None:
    """Measure how well confidences are calibrated and how well they rank; calibrate them.

    Errors with intervals, tests, and the change that a calibrator brings out of fold.

    Examples:

        statllm calibrate scores.parquet

        statllm calibrate log.csv --confidence p --correct is_right --cluster topic -o out.parquet
    """
    import numpy as np
    import pyarrow as pa

    from statllm._formats import check_output, read_table, write_table
    from statllm.estimators.calibrators import nonparametric as flexible
    from statllm.estimators.calibrators import parametric
    from statllm.estimators.calibrators.cross_fitting import cross_fit
    from statllm.estimators.calibrators.venn_abers import VennAbers
    from statllm.report.uncertainty.calibration import calibration_tests

    check_output(output)
    table = read_table(source, {}, conditions(where))
    label, y = verdicts(table, source, correct)
    p = numbers(table, source, confidence)
    outside = np.flatnonzero(~np.isnan(p) & ~((p >= 0) & (p <= 1)))
    if len(outside):
        row = outside[0]
        raise InputError(f"{source}: '{confidence}' is {p[row]:g} in row {row}, not in [0, 1]")
    known = np.isfinite(p) & np.isfinite(y)
    groups = (
        None
        if cluster is None
        else np.array(column(table, source, cluster).to_pylist(), dtype=str)[known]
    )
    if len(np.unique(y[known])) < 2:
        raise InputError(f"{source}: '{label}' has one value only in {known.sum()} usable rows")
    out = console()
    if not known.all():
        out.print(f"{(~known).sum()} of {len(p)} rows lack '{confidence}' or '{label}': left out")
    figures = _figures(p[known], y[known], groups, bins)
    out.print(estimates(f"{confidence} against {label}", figures))
    rows = [_line(test) for test in calibration_tests(p[known], y[known] > 0.5, groups)]
    out.print(table_of("tests of calibration", ("test", "statistic", "p"), rows, wrap=("test",)))
    kinds: dict[str, Any] = {
        "platt": parametric.Platt,
        "temperature": parametric.Temperature,
        "beta": parametric.Beta,
        "isotonic": flexible.Isotonic,
        "histogram": flexible.Histogram,
        "venn-abers": VennAbers,
    }
    fitted = cross_fit(kinds[method](), p[known], y[known], groups, folds, seed)
    report = vars(fitted.report(p[known])).values()
    changes = [figure for figure in report if np.isfinite(figure.value)]  # sure, and wrong: inf
    out.print(estimates(f"before and after {method}, {folds} folds", changes))
    if output is not None:
        calibrated = np.full(len(p), np.nan)
        calibrated[known] = fitted.probability[:, 1]
        added = pa.array(calibrated, from_pandas=True)
        write_table(table.append_column(f"{confidence}_calibrated", added), output)
        out.print(f"{output}: column '{confidence}_calibrated', each row by the other folds")


def _figures(p: Any, y: Any, clusters: Any, bins: int) -> list[Any]:
    """What the confidences are worth, each figure with its uncertainty."""
    from statllm.estimators.selective import augrc, aurc, auroc
    from statllm.report.uncertainty.calibration import calibration_figures

    ranking = [measure(p, y, clusters=clusters) for measure in (auroc, aurc, augrc)]
    return calibration_figures(p, y > 0.5, clusters, bins) + ranking


def _line(test: TestResult) -> tuple[str, str, str]:
    from statllm.results import format_p

    return test.method, f"{test.statistic:.4g}", format_p(test.log_p_value).removeprefix("= ")
