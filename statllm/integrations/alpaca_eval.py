"""Annotations of AlpacaEval: a judge's preferences between a model and a baseline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from statllm.errors import InputError
from statllm.files import existing_file
from statllm.integrations.scores import Scores


def read_alpaca_eval(path: str | Path, cluster: str | None = None) -> Scores:
    """Read an ``annotations.json``; the score is the model's share of a win, in [0, 1].

    ``preference`` is 1 where the judge prefers the first output (the baseline's), 2 the second,
    between them for a probability; 1.5 and 0 are ties. The score is preference - 1, a tie 1/2, and
    NaN where the judge gave none.

    Parameters
    ----------
    path : str or Path
        JSON: a list of objects with ``instruction``, ``generator_2`` and ``preference``.
    cluster : str, optional
        A key of the objects, ``dataset`` say.

    Raises
    ------
    InputError
        Names the file, the entry and the key. Items are known by their instruction, so that the
        order of the entries doesn't matter.
    """
    path = Path(path)
    entries = alpaca_entries(path)
    preferences = values_of(entries, "preference", path)
    items = [instruction_id(text) for text in values_of(entries, "instruction", path)]
    scores = [
        share_of_win(value, f"{path}, entry {place}") for place, value in enumerate(preferences)
    ]
    models = {str(entry.get("generator_2", "")) for entry in entries}
    clusters = None
    if cluster is not None:
        clusters = [str(value) for value in values_of(entries, cluster, path)]
    if len(models) > 1:
        raise InputError(f"{path} has several models: {', '.join(sorted(models))}")
    return Scores(
        str(path),
        items,
        np.zeros(len(items), np.int64),
        np.asarray(scores, np.float64),
        "win against the baseline",
        models.pop(),
        clusters,
    )


def is_alpaca_eval(entries: Any) -> bool:
    """Whether parsed JSON is a list of annotations."""
    return (
        isinstance(entries, list)
        and bool(entries)
        and all(isinstance(entry, dict) for entry in entries)
        and "preference" in entries[0]
        and "instruction" in entries[0]
    )


def alpaca_entries(path: Path) -> list[dict[str, Any]]:
    """Read the objects of an ``annotations.json``.

    Raises
    ------
    InputError
        If it isn't one.
    """
    try:
        entries = json.loads(existing_file(path).read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not is_alpaca_eval(entries):
        raise InputError(
            f"{path} is not AlpacaEval's list of objects with 'instruction' and 'preference'"
        )
    return list(entries)


def values_of(entries: list[dict[str, Any]], key: str, path: Path) -> list[Any]:
    """Return what every entry has under a key; `InputError` names one without it."""
    for place, entry in enumerate(entries):
        if key not in entry:
            raise InputError(f"{path}, entry {place} has no '{key}'")
    return [entry[key] for entry in entries]


def instruction_id(instruction: Any) -> str:
    """Return the name by which an instruction is known, whatever its place in the file."""
    text = str(instruction).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16]


def share_of_win(preference: Any, where: str) -> float:
    """Return the model's share of a win, NaN where there's no preference; `where` is for errors.

    Raises
    ------
    InputError
        If it's no number, or neither 0 (a tie) nor from 1 to 2.
    """
    if preference is None:
        return float("nan")
    if isinstance(preference, bool) or not isinstance(preference, int | float):
        raise InputError(f"{where}: 'preference' is {preference!r}, not a number")
    if np.isnan(preference):
        return float("nan")
    if preference == 0:
        return 0.5
    if not 1 <= preference <= 2:
        raise InputError(f"{where}: 'preference' is {preference:g}, outside 1 to 2")
    return float(preference) - 1
