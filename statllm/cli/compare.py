"""`statllm compare A B`: is B better than A on the same problems?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import console, estimates
from statllm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


_COLUMNS = ("greedy_correct", "majority_answer_correct", "majority_correct", "correct")


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Scores, an evaluation, or a run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same, for the other model.")],
    column: Annotated[
        str | None,
        typer.Option(
            help=f"A 0/1 column; default the first that both have of {', '.join(_COLUMNS)}."
        ),
    ] = None,
) -> None:
    """Compare two models on the problems that both answered: paired difference and McNemar.

    Examples:

        statllm compare runs/scpo/iteration_0 runs/scpo/iteration_2

        statllm compare a-scores.parquet b-scores.parquet --column majority_answer_correct
    """
    from statllm.estimators.proportions import proportion
    from statllm.evaluation import compare as paired

    tables = [_table(path) for path in (a, b)]
    name = column or _default_column(tables, (a, b))
    labels = [_zero_one(table, name, path) for table, path in zip(tables, (a, b), strict=True)]
    difference, test = paired(labels[0], labels[1], name)
    common = set(labels[0]["prompt_id"].to_pylist()) & set(labels[1]["prompt_id"].to_pylist())
    figures: list[Any] = []
    for table, path in zip(labels, (a, b), strict=True):
        rows = zip(table["prompt_id"].to_pylist(), table[name].to_pylist(), strict=True)
        right = [value for key, value in rows if key in common]
        figures.append(proportion(sum(right), len(right)).named(f"{path}", "share of problems"))
    figures.append(difference.named("B - A, paired", "share of problems"))
    console().print(estimates(f"{name} on {len(common)} common problems", figures))
    console().print(test.summary())


def _table(path: Path) -> pa.Table:
    """Read scores; of a run folder the last evaluation, of an iteration folder its own."""
    from statllm._formats import read_rows
    from statllm.stages import Run

    if path.is_dir():
        if (path / "run.yaml").is_file():
            run = Run.open(path)
            return read_rows(run.path(run.n_iterations, "evaluation.parquet"))
        return read_rows(path / "evaluation.parquet")
    return read_rows(path)


def _default_column(tables: list[pa.Table], paths: tuple[Path, Path]) -> str:
    for name in _COLUMNS:
        if all(name in table.column_names for table in tables):
            return name
    raise InputError(
        f"{paths[0]} and {paths[1]} share none of the columns {', '.join(_COLUMNS)}; "
        "name one with --column"
    )


def _zero_one(table: pa.Table, name: str, path: Path) -> pa.Table:
    """Return prompt_id and the column as 0/1; a list must have one sample."""
    import pyarrow as pa

    for wanted in ("prompt_id", name):
        if wanted not in table.column_names:
            raise InputError(f"{path} has no column '{wanted}'")
    values = table[name].to_pylist()
    flat = []
    for row, value in enumerate(values):
        if isinstance(value, list):
            if len(value) != 1:
                raise InputError(
                    f"{path}: '{name}' has {len(value)} samples in row {row}, one was expected; "
                    "run `statllm score` and compare majority_answer_correct"
                )
            value = value[0]
        if value not in (0, 1):
            hint = "" if value is None else "; in majority_answer_correct ties are broken"
            raise InputError(f"{path}: '{name}' is {value} in row {row}, 0 or 1 was expected{hint}")
        flat.append(bool(value))
    return pa.table({"prompt_id": table["prompt_id"], name: pa.array(flat, pa.bool_())})
