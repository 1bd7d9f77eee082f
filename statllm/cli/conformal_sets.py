"""`statllm conformal sets`: the options that may be right, from their probabilities."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from statllm.cli.calibration_rows import (
    AsJson,
    CalibrationFile,
    CalibrationFraction,
    CalibrationWhere,
    Seed,
    as_dict,
    calibrating,
    chosen_way,
    say_json,
)
from statllm.cli.columns import column, numbers
from statllm.cli.common import conditions, console, estimates, table_of
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.conformal.sets import PredictionSets

Score = Literal["lac", "margin", "aps", "raps", "saps", "top_k"]


def sets(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="One row per question: Parquet, JSONL or CSV.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The rows with 'set', 'set_size', 'set_uncalibrated' (it holds every option for "
            "lack of calibration rows) and 'option_p_values' added; null for rows that calibrate. "
            "CSV has the set as 'A C' and a column 'p_value_A' per option.",
        ),
    ],
    probs: Annotated[
        str, typer.Option(help="A list column, or one column per option: pA,pB,pC,pD.")
    ] = "probs",
    label: Annotated[
        str, typer.Option(help="Column of the right option: its name, or its number from 0.")
    ] = "label",
    names: Annotated[
        str | None,
        typer.Option(
            help="Names of the options, as A,B,C,D; default: what tells the columns apart, or 0,1,…"
        ),
    ] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="The columns hold logits or log-probabilities.")
    ] = False,
    method: Annotated[
        Score, typer.Option(help="Score; lac sets are the smallest, aps ones adapt.")
    ] = "lac",
    alpha: Annotated[float, typer.Option(help="The right option may be missing this often.")] = 0.1,
    groups: Annotated[
        str | None, typer.Option(help="Column: the guarantee holds in each of its groups.")
    ] = None,
    calibration: CalibrationFile = None,
    calibration_where: CalibrationWhere = None,
    calibration_fraction: CalibrationFraction = None,
    seed: Seed = 0,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE: only these rows.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sets of options that hold the right one with probability 1 - alpha.

    Rows whose label is known calibrate and the others get sets, unless an option says which
    calibrate; then coverage is measured on the labelled rest. Both parts must be of one kind, with
    one row per question.

    Examples:

        statllm conformal sets options.parquet -o sets.parquet

        statllm conformal sets mmlu.csv -o sets.csv --probs pA,pB,pC,pD --method aps \
--calibration-fraction 0.5 --groups subject
    """
    import numpy as np

    from statllm._formats import check_output, read_table, write_table
    from statllm.estimators.conformal.sets import prediction_sets

    check_output(output)
    chosen_way(calibration, calibration_where, calibration_fraction, alpha)
    table = read_table(source, {}, conditions(where))
    rows = _Options.read(table, source, probs, label, names, logits, groups)
    if calibration is None:
        fit = calibrating(table, source, rows.known, calibration_where, calibration_fraction, seed)
        fitting = rows
    else:
        other = read_table(calibration, {}, {})
        fitting = _Options.read(other, calibration, probs, label, names, logits, groups)
        if fitting.names != rows.names:
            raise InputError(
                f"{calibration} has {len(fitting.names)} options, not {len(rows.names)}"
            )
        fit = fitting.known
        if not fit.any():
            raise InputError(f"{calibration}: no labelled row to calibrate on")
    new = rows.usable & ~fit if calibration is None else rows.usable
    fit &= fitting.usable
    pair = (fitting.groups[fit], rows.groups[new])
    found = prediction_sets(
        fitting.probs[fit],
        fitting.labels[fit],
        rows.probs[new],
        alpha,
        method,
        groups=pair,
        rng=seed,
    )
    flat = output.suffix.lower() == ".csv"
    write_table(_with_sets(table, rows, new, found, flat), output)
    labels = rows.labels[new]
    tested = labels >= 0
    overall = found.take(tested).coverage(labels[tested])
    parts = _by_group(found, labels, *pair)
    n_unusable = int(np.count_nonzero(~rows.usable))
    if as_json:
        say_json(
            method=found.method,
            alpha=alpha,
            n_calibration=int(fit.sum()),
            n_sets=int(new.sum()),
            n_without_probabilities=n_unusable,
            coverage=as_dict(overall),
            set_size=as_dict(found.mean_size),
            groups=parts,
        )
        return
    out = console()
    out.print(f"{fit.sum()} rows calibrate, {new.sum()} get a set ({found.method})")
    if n_unusable:
        out.print(f"{n_unusable} rows lack probabilities: no set")
    figures = [overall] if overall.n else []
    out.print(estimates(f"sets at alpha = {alpha:g}", [*figures, found.mean_size]))
    out.print(table_of(_TITLE, _HEADS, map(_line, parts), ("group",)))
    for part in parts:
        if part["note"]:
            out.print(part["note"] if groups is None else f"{part['group']}: {part['note']}")
    out.print(f"{output}: {found.sizes.sum()} options in {new.sum()} sets")


_TITLE = "coverage: the range of 90 % of calibration sets (Beta law), and what was found"
_HEADS = ("group", "calibrate", "90 % range", "tested", "found, 95 %")


class _Options:
    """Probabilities, labels and groups of a table's rows."""

    def __init__(self, probs: Any, names: list[str], labels: Any, groups: Any) -> None:
        import numpy as np

        self.probs, self.names, self.labels, self.groups = probs, names, labels, groups
        self.usable = np.isfinite(probs).all(axis=1)
        self.known = self.usable & (labels >= 0)

    @classmethod
    def read(
        cls,
        table: Any,
        source: Path,
        probs: str,
        label: str,
        names: str | None,
        logits: bool,
        groups: str | None,
    ) -> _Options:
        """Read them; a row lacking a probability has NaN, one without a label has -1."""
        import numpy as np

        columns = probs.split(",")
        matrix = (
            _listed(table, source, probs)
            if len(columns) == 1
            else np.column_stack([numbers(table, source, name) for name in columns])
        )
        if logits:
            matrix = np.exp(matrix - matrix.max(axis=1, keepdims=True))
            matrix /= matrix.sum(axis=1, keepdims=True)
        missing = np.isnan(matrix).any(axis=1)
        wrong = np.flatnonzero(~missing & ~((matrix >= 0) & (matrix <= 1)).all(axis=1))
        if len(wrong):
            raise InputError(
                f"{source}: '{probs}' isn't in [0, 1] in row {wrong[0]}; --logits reads logits or "
                "log-probabilities"
            )
        given = names.split(",") if names is not None else _names(columns, matrix.shape[1])
        if len(set(given)) != matrix.shape[1]:
            raise InputError(f"--names must be {matrix.shape[1]} different names, one per option")
        return cls(
            matrix, given, _labels(table, source, label, given), _groups(table, source, groups)
        )


def _listed(table: Any, source: Path, name: str) -> Any:
    """A list column as a matrix; null and empty rows are NaN."""
    import numpy as np

    values = column(table, source, name).to_pylist()
    if not all(row is None or isinstance(row, list) for row in values):
        raise InputError(f"{source}: column '{name}' must hold a list of numbers per row")
    widths = {len(row) for row in values if row}
    if len(widths) != 1:
        raise InputError(f"{source}: rows of '{name}' have {sorted(widths) or 'no'} options")
    [width] = widths
    try:
        return np.array([row or [None] * width for row in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: column '{name}' must hold lists of numbers") from error


def _names(columns: list[str], width: int) -> list[str]:
    """What tells the columns apart, or numbers."""
    if len(columns) == 1:
        return [str(place) for place in range(width)]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*columns, strict=False))
    shared = len(list(alike))
    return [name[shared:] or name for name in columns]


def _labels(table: Any, source: Path, name: str, names: list[str]) -> Any:
    """Number of the right option in each row, -1 where null."""
    import numpy as np

    places = {text: place for place, text in enumerate(names)}
    values = column(table, source, name).to_pylist()
    found = np.full(len(values), -1, dtype=np.int64)
    for row, value in enumerate(values):
        if value is None or value != value:
            continue
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        if text in places:
            found[row] = places[text]
        elif text.isdecimal() and int(text) < len(names):
            found[row] = int(text)
        else:
            raise InputError(
                f"{source}: '{name}' is {text!r} in row {row}; options are {', '.join(names)}"
            )
    return found


def _groups(table: Any, source: Path, name: str | None) -> Any:
    """Group of each row as text."""
    import numpy as np

    if name is None:
        return np.full(table.num_rows, "all")
    return np.array([str(value) for value in column(table, source, name).to_pylist()])


def _with_sets(table: Any, rows: _Options, new: Any, found: PredictionSets, flat: bool) -> Any:
    """The table with a set per row, null where there's none; `flat` has no lists."""
    import numpy as np
    import pyarrow as pa

    place = np.full(len(new), -1)
    place[new] = np.arange(len(found.sets))
    names = np.array(rows.names)
    listed: list[Any] = [names[row].tolist() for row in found.sets]
    columns: dict[str, tuple[list[Any], pa.DataType]] = {
        "set": (listed, pa.list_(pa.string())),
        "set_size": (found.sizes.tolist(), pa.int64()),
        "set_uncalibrated": (found.uncalibrated.tolist(), pa.bool_()),
        "option_p_values": (found.p_values.tolist(), pa.list_(pa.float64())),
    }
    if flat:
        columns["set"] = ([" ".join(each) for each in listed], pa.string())
        del columns["option_p_values"]
        for name, values in zip(rows.names, found.p_values.T, strict=True):
            columns[f"p_value_{name}"] = (values.tolist(), pa.float64())
    for name, (values, kind) in columns.items():
        whole = pa.array([None if at < 0 else values[at] for at in place], kind)
        table = table.append_column(name, whole)
    return table


def _by_group(
    found: PredictionSets, labels: Any, fit_groups: Any, groups: Any
) -> list[dict[str, Any]]:
    """Law of coverage, coverage and set size of each group."""
    import numpy as np

    parts = []
    for name, law in zip(np.union1d(fit_groups, groups), found.laws, strict=True):
        own, tested = groups == name, (groups == name) & (labels >= 0)
        range_ = law.interval(0.9)
        parts.append(
            {
                "group": str(name),
                "n_calibration": law.n,
                "n_sets": int(own.sum()),
                "law": range_.method,
                "expected_coverage": law.mean,
                "expected_low": range_.low,
                "expected_high": range_.high,
                "coverage": as_dict(found.take(tested).coverage(labels[tested])),
                "set_size": as_dict(found.take(own).mean_size),
                "note": law.note,
            }
        )
    return parts


def _line(part: dict[str, Any]) -> tuple[Any, ...]:
    """A group as a row of the printed table."""
    covered = part["coverage"]
    return (
        part["group"],
        part["n_calibration"],
        f"[{part['expected_low']:.3f}, {part['expected_high']:.3f}]",
        covered["n"] if covered else 0,
        f"{covered['value']:.3f} [{covered['low']:.3f}, {covered['high']:.3f}]" if covered else "",
    )
