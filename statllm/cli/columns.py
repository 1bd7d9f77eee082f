"""Columns of numbers and of verdicts, as `calibrate` and `conformal` read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from statllm.errors import InputError

#: Columns that say whether an answer is right, the first one found is used.
VERDICTS = ("majority_answer_correct", "greedy_correct", "correct")


def column(table: Any, source: Path, name: str) -> Any:
    """Return a column.

    Raises
    ------
    InputError
        If it isn't there.
    """
    if name not in table.column_names:
        raise InputError(f"{source} has no column '{name}'; it has {', '.join(table.column_names)}")
    return table[name]


def numbers(table: Any, source: Path, name: str) -> Any:
    """Return a column as float64, null as NaN.

    Raises
    ------
    InputError
        If it isn't there or doesn't hold one number per row.
    """
    import pyarrow as pa

    try:
        return column(table, source, name).cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise InputError(f"{source}: column '{name}' must hold one number per row") from error


def verdicts(table: Any, source: Path, name: str | None) -> tuple[str, Any]:
    """Return the name and the values of the column of verdicts: 1, 0, or NaN where unknown.

    Raises
    ------
    InputError
        If there's none, or a value is neither 0 nor 1: its row is named.
    """
    import numpy as np

    found = name or next((each for each in VERDICTS if each in table.column_names), None)
    if found is None:
        raise InputError(f"{source} has none of the columns {', '.join(VERDICTS)}; name one")
    values = numbers(table, source, found)
    wrong = np.flatnonzero(~np.isnan(values) & ~np.isin(values, [0, 1]))
    if len(wrong):
        row = wrong[0]
        raise InputError(f"{source}: '{found}' is {values[row]:g} in row {row}, not 0 or 1")
    return found, values
