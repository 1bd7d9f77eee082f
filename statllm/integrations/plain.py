"""Plain tables of scores: CSV, JSON lines, Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm._formats import keep_and_rename, read_rows
from statllm.errors import InputError
from statllm.integrations.scores import Scores, as_number

#: Columns that name the item, in order of preference.
ITEMS = ("prompt_id", "item", "item_id", "doc_id", "id", "question_id", "task_id")
#: Columns that are scores, in order of preference.
SCORES = (
    "greedy_correct",
    "majority_answer_correct",
    "majority_correct",
    "correct",
    "score",
    "acc",
    "exact_match",
    "reward",
)
SAMPLES = ("sample", "epoch", "trial", "repeat")


def read_plain(
    path: str | Path,
    metric: str | None = None,
    cluster: str | None = None,
    item: str | None = None,
    where: Mapping[str, str] | None = None,
) -> Scores:
    """Read a table with one row per score, or per item with a list of scores.

    Parameters
    ----------
    path : str or Path
        Parquet, JSON lines or CSV.
    metric, cluster, item : str, optional
        Columns. Default for `metric` and `item`: the first of `SCORES` and of `ITEMS` there is.
    where : mapping of str to str, optional
        Only rows whose columns, as text, have these values: ``{"model": "base"}``.

    Returns
    -------
    Scores
        Null is NaN. Rows of one item are its samples, by a column ``sample`` (``epoch``,
        ``trial``) or in their order.

    Raises
    ------
    InputError
        Names the file, the column and the row.
    """
    return plain_scores(read_rows(path), str(path), metric, cluster, item, where)


def plain_scores(
    table: pa.Table,
    source: str,
    metric: str | None = None,
    cluster: str | None = None,
    item: str | None = None,
    where: Mapping[str, str] | None = None,
) -> Scores:
    """Read an Arrow table as `read_plain` reads a file."""
    names = table.column_names
    for name, value in (where or {}).items():
        if name not in names:
            raise InputError(f"{source} has no column '{name}'; it has {', '.join(names)}")
        table = keep_and_rename(table, {}, {name: value})
        if table.num_rows == 0:
            raise InputError(f"{source} has no row where {name} = {value}")
    models = sorted({str(m) for m in table["model"].to_pylist()}) if "model" in names else []
    if len(models) > 1:
        several = ", ".join(models[:8]) + (", …" if len(models) > 8 else "")
        raise InputError(f"{source} has several models: {several}; name one (--where model=…)")
    key = _column(item, ITEMS, names, source, "names items", "--item")
    column = _column(metric, SCORES, names, source, "is a score", "--column")
    if cluster is not None and cluster not in names:
        raise InputError(f"{source} has no column '{cluster}'; it has {', '.join(names)}")
    ids = table[key].to_pylist()
    values = table[column].to_pylist()
    numbered = next((n for n in SAMPLES if n in names), None)
    given = table[numbered].to_pylist() if numbered else None
    groups = table[cluster].to_pylist() if cluster is not None else None
    items, samples, scores, clusters = [], [], [], []
    seen: dict[str, int] = {}
    for row, (name, value) in enumerate(zip(ids, values, strict=True)):
        label = label_of(name, source, key, row)
        for each in value if isinstance(value, list) else [value]:
            number = float("nan") if each is None else as_number(each)
            if number is None:
                raise InputError(f"{source}: '{column}' is {str(each)[:40]!r} in row {row}")
            place = seen.get(label, 0)
            seen[label] = place + 1
            items.append(label)
            samples.append(_whole(given[row], source, numbered, row) if given else place)
            scores.append(number)
            if groups is not None:
                clusters.append(label_of(groups[row], source, str(cluster), row))
    return Scores(
        source,
        items,
        np.asarray(samples, np.int64),
        np.asarray(scores, np.float64),
        column,
        models[0] if models else "",
        clusters if groups is not None else None,
    )


def label_of(value: Any, source: object, column: str, row: int) -> str:
    """Return an id or a group as text; `InputError` if it's null, NaN, or no single value."""
    if value is None or value != value:
        raise InputError(f"{source}: '{column}' is null in row {row}")
    if isinstance(value, dict | list):
        raise InputError(f"{source}: '{column}' is {str(value)[:40]} in row {row}, not an id")
    return item_label(value)


def item_label(value: Any) -> str:
    """Return an item's id as text; an integer column with a gap comes as floats: 3.0 is 3."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _column(
    wanted: str | None,
    known: Sequence[str],
    names: Sequence[str],
    source: str,
    what: str,
    flag: str,
) -> str:
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{source} has no column '{wanted}'; it has {', '.join(names)}")
        return wanted
    found = next((name for name in known if name in names), None)
    if found is None:
        raise InputError(
            f"{source} has none of the columns {', '.join(known)}; say which one {what} ({flag})"
        )
    return found


def _whole(value: Any, source: str, column: str | None, row: int) -> int:
    number = as_number(value)
    if number is None or not number.is_integer():
        raise InputError(f"{source}: '{column}' is {value!r} in row {row}, not a whole number")
    return int(number)
