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
    path = existing_file(Path(path))
    try:
        entries = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not is_alpaca_eval(entries):
        raise InputError(f"{path} is not a list of objects with 'instruction' and 'preference'")
    items, scores, clusters, models = [], [], [], set()
    for place, entry in enumerate(entries):
        for key in ("instruction", "preference"):
            if key not in entry:
                raise InputError(f"{path}, entry {place} has no '{key}'")
        text = str(entry["instruction"]).encode("utf-8", "surrogatepass")
        items.append(hashlib.sha256(text).hexdigest()[:16])
        scores.append(_share(entry["preference"], f"{path}, entry {place}"))
        models.add(str(entry.get("generator_2", "")))
        if cluster is not None:
            if cluster not in entry:
                raise InputError(f"{path}, entry {place} has no '{cluster}'")
            clusters.append(str(entry[cluster]))
    if len(models) > 1:
        raise InputError(f"{path} has several models: {', '.join(sorted(models))}")
    return Scores(
        str(path),
        items,
        np.zeros(len(items), np.int64),
        np.asarray(scores, np.float64),
        "win against the baseline",
        models.pop(),
        clusters if cluster is not None else None,
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


def _share(preference: Any, where: str) -> float:
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
