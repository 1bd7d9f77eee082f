"""A judge's preferences between models and a baseline, with what else is known of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm._formats import read_table
from statllm.errors import InputError
from statllm.integrations.alpaca_eval import (
    alpaca_entries,
    instruction_id,
    share_of_win,
    values_of,
)
from statllm.integrations.plain import ITEMS, label_of
from statllm.integrations.scores import as_number
from statllm.scoring.words import count_words

FloatArray = NDArray[np.float64]

#: Columns of outcomes, in order of preference.
OUTCOMES = ("outcome", "win", "preference", "score")
MODELS = ("model", "generator", "generator_2")
_WORDS = {"win": 1.0, "won": 1.0, "model": 1.0, "tie": 0.5, "draw": 0.5, "loss": 0.0,
          "lose": 0.0, "lost": 0.0, "baseline": 0.0}  # fmt: skip


@dataclass(frozen=True)
class WinColumns:
    """A table's columns; None: the first known name there is, or nothing.

    Attributes
    ----------
    outcome, item, model : str or None
    length, baseline_length, words, baseline_words, limit, cluster : str or None
        Of a file of AlpacaEval `limit` and `cluster` are keys; the rest is counted.
    """

    outcome: str | None = None
    item: str | None = None
    model: str | None = None
    length: str | None = None
    baseline_length: str | None = None
    words: str | None = None
    baseline_words: str | None = None
    limit: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, eq=False)
class Wins:
    """One model against the baseline, a row per judged answer.

    Attributes
    ----------
    source, model : str
    item : ndarray of str, shape (n,)
    outcome : ndarray of float64, shape (n,)
        1 a win, 0 a loss, or between; NaN where the judge gave none.
    length, baseline_length : ndarray of float64, shape (n,), or None
    words, baseline_words, limit : ndarray of float64, shape (n,), or None
    cluster : ndarray of str, shape (n,), or None
    """

    source: str
    model: str
    item: NDArray[np.str_]
    outcome: FloatArray
    length: FloatArray | None = None
    baseline_length: FloatArray | None = None
    words: FloatArray | None = None
    baseline_words: FloatArray | None = None
    limit: FloatArray | None = None
    cluster: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.outcome)

    def rows(self, chosen: NDArray[np.bool_]) -> Wins:
        """Some of the rows."""
        arrays = {
            field.name: getattr(self, field.name)[chosen]
            for field in fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return replace(self, **arrays)


def read_wins(
    path: str | Path, columns: WinColumns | None = None, where: Mapping[str, str] | None = None
) -> list[Wins]:
    """Read AlpacaEval's ``annotations.json``, or a table with a row per judged answer.

    Parameters
    ----------
    path : str or Path
        JSON of AlpacaEval: lengths are characters, and words are counted as for AlpacaEval-LI
        (`statllm.sampling.prompts.count_words`). Or Parquet, JSON lines or CSV, in which an outcome
        is a number in [0, 1], or win, tie, loss.
    columns : WinColumns, optional
    where : mapping of str to str, optional
        Of a table: only rows whose columns, as text, have these values.

    Returns
    -------
    list of Wins
        One for each model, in the order of the file, which names it if nothing else does.

    Raises
    ------
    InputError
        Names the file, the column or key, and the row.
    """
    path, names = Path(path), columns or WinColumns()
    if path.suffix.lower() == ".json":
        if where:
            raise InputError(f"{path} is a log, not a table; --where has no effect")
        every, owner = _of_alpaca_eval(path, names)
    else:
        every, owner = _of_table(read_table(path, {}, where or {}), path, names)
    owner = [name or path.stem for name in owner]
    models = np.array(owner)
    return [replace(every.rows(models == model), model=model) for model in dict.fromkeys(owner)]


def _of_alpaca_eval(path: Path, names: WinColumns) -> tuple[Wins, list[str]]:
    """All rows, and the model of each."""
    entries = alpaca_entries(path)

    def every(key: str) -> list[Any]:
        return values_of(entries, key, path)

    shares = [
        share_of_win(value, f"{path}, entry {place}")
        for place, value in enumerate(every("preference"))
    ]
    wins = Wins(
        str(path),
        "",
        np.array([instruction_id(text) for text in every("instruction")]),
        np.array(shares),
        limit=None if names.limit is None else _floats(every(names.limit), path, names.limit),
        cluster=None if names.cluster is None else np.array([str(c) for c in every(names.cluster)]),
    )
    if all("output_1" in entry and "output_2" in entry for entry in entries):
        other, mine = (_texts(every(key), path, key) for key in ("output_1", "output_2"))
        wins = replace(
            wins,
            length=_counts(mine, len),
            baseline_length=_counts(other, len),
            words=_counts(mine, count_words),
            baseline_words=_counts(other, count_words),
        )
    return wins, [str(entry.get("generator_2", "")) for entry in entries]


def _of_table(table: pa.Table, path: Path, names: WinColumns) -> tuple[Wins, list[str]]:
    """All rows, and the model of each."""

    def values(wanted: str | None, known: Sequence[str] = (), flag: str = "") -> list[Any] | None:
        """A column, by its name or the first that is known; None where nothing is asked for."""
        name = wanted or next((each for each in known if each in table.column_names), None)
        if name is None:
            if not flag:
                return None
            raise InputError(
                f"{path} has none of the columns {', '.join(known)}; name one ({flag})"
            )
        if name not in table.column_names:
            raise InputError(
                f"{path} has no column '{name}'; it has {', '.join(table.column_names)}"
            )
        return list(table[name].to_pylist())

    def numbers(name: str | None) -> FloatArray | None:
        return None if name is None else _floats(values(name) or [], path, name)

    def labels(found: list[Any] | None, what: str) -> NDArray[np.str_] | None:
        if found is None:
            return None
        what = f"the column of {what}"
        return np.array([label_of(each, path, what, row) for row, each in enumerate(found)])

    outcome = values(names.outcome, OUTCOMES, "--outcome") or []
    item = labels(values(names.item, ITEMS, "--item"), "items")
    assert item is not None
    model = labels(values(names.model, MODELS), "models")
    wins = Wins(
        str(path), "", item, np.array([_outcome(v, path, row) for row, v in enumerate(outcome)]),
        numbers(names.length), numbers(names.baseline_length), numbers(names.words),
        numbers(names.baseline_words), numbers(names.limit),
        labels(values(names.cluster), "clusters"),
    )  # fmt: skip
    return wins, [""] * len(wins) if model is None else [str(each) for each in model]


def _texts(values: list[Any], path: Path, key: str) -> list[str]:
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{path}, entry {place}: '{key}' is {str(value)[:40]!r}, not text")
    return values


def _counts(texts: list[str], measure: Callable[[str], int]) -> FloatArray:
    return np.array([measure(text) for text in texts], np.float64)


def _floats(values: Sequence[Any], path: Path, name: str) -> FloatArray:
    """Numbers, null as NaN."""
    found = [np.nan if value is None else as_number(value) for value in values]
    if None in found:
        row = found.index(None)
        raise InputError(
            f"{path}: '{name}' is {str(values[row])[:40]!r} in row {row}, not a number"
        )
    return np.array(found, np.float64)


def _outcome(value: Any, path: Path, row: int) -> float:
    """A share of a win."""
    if value is None or value == "":
        return float("nan")
    found = _WORDS.get(str(value).strip().lower())
    number = as_number(value) if found is None else found
    if number is None or not (0 <= number <= 1 or number != number):
        raise InputError(
            f"{path}: an outcome is {str(value)[:40]!r} in row {row}; a number in [0, 1], or win, "
            "tie or loss was expected"
        )
    return number
