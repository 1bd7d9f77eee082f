"""Sample logs of lm-evaluation-harness: `samples_TASK_TIME.jsonl` of `--log_samples`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from statllm.errors import InputError
from statllm.files import existing_file
from statllm.integrations.scores import Scores, as_number, chosen

#: Keys of a line that aren't metrics.
_OWN = {
    "doc_id",
    "doc",
    "target",
    "arguments",
    "resps",
    "filtered_resps",
    "filter",
    "metrics",
    "doc_hash",
    "prompt_hash",
    "target_hash",
    "input",
}
_NAME = re.compile(r"samples_(?P<task>.+?)_\d{4}-\d{2}-\d{2}T.*")


def read_lm_eval(
    path: str | Path,
    metric: str | None = None,
    filter: str | None = None,
    cluster: str | None = None,
) -> Scores:
    """Read the scores of a task, or of a folder of tasks.

    An item is ``TASK/DOC_ID``. A task with several filters (``strict-match``,
    ``flexible-extract``) has a line per document and filter; one filter is read.

    Parameters
    ----------
    path : str or Path
        A ``.jsonl`` file, or a folder with ``samples_*.jsonl`` files.
    metric : str, optional
        Default: the first that the lines list under ``metrics``, or their first numeric key.
    filter : str, optional
        Default: the first in the file; `Scores.notes` says so where there are several.
    cluster : str, optional
        ``task``, or a key of ``doc`` (``doc.category``, or ``category``).

    Raises
    ------
    InputError
        Names the file, the line and the key.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.rglob("samples_*.jsonl"))
        if not files:
            raise InputError(f"{path} has no samples_*.jsonl file")
    else:
        files = [existing_file(path)]
    _one_run(files, path)
    rows = [(file, number, row) for file in files for number, row in _lines(file)]
    if not rows:
        raise InputError(f"{path} has no lines")
    filters = list(dict.fromkeys(str(row["filter"]) for _, _, row in rows if "filter" in row))
    notes: tuple[str, ...] = ()
    if filters:
        used, notes = chosen(filter, filters, path, "filter", "--filter")
        rows = [each for each in rows if str(each[2].get("filter", used)) == used]
    elif filter is not None:
        raise InputError(f"{path} has no filters")
    known = _metrics(rows[0][2])
    if metric is not None and metric in rows[0][2] and metric not in _OWN:
        known = [metric]
    name, also = chosen(metric, known, path, "metric", "--column")
    items, scores, clusters, prints = [], [], [], []
    for file, number, row in rows:
        where = f"{file} line {number}"
        if row.get("doc_id") is None:
            raise InputError(f"{where} has no 'doc_id'")
        task = _task(file)
        items.append(f"{task}/{row['doc_id']}")
        if name not in row:
            raise InputError(f"{where} has no '{name}'")
        value = as_number(row[name])
        if value is None:
            raise InputError(f"{where}: '{name}' is {str(row[name])[:40]!r}, not a number")
        scores.append(value)
        prints.append(str(row.get("doc_hash") or row.get("prompt_hash") or ""))
        if cluster is not None:
            clusters.append(_cluster(row, task, cluster, where))
    return Scores(
        str(path),
        items,
        np.zeros(len(items), np.int64),
        np.asarray(scores, np.float64),
        name,
        _model(files[0]),
        clusters if cluster is not None else None,
        prints if all(prints) else None,
        notes + also + _design(rows, files),
    )


def _one_run(files: list[Path], path: Path) -> None:
    """A folder holds each task once, of one model."""
    seen: dict[str, Path] = {}
    for file in files:
        other = seen.setdefault(_task(file), file)
        if other is not file:
            raise InputError(f"{path} has two logs of one task: {other} and {file}; give one")
    models = sorted({_model(file) for file in files})
    if len(models) > 1:
        raise InputError(f"{path} has logs of several models: {', '.join(models)}; give one folder")


def _design(rows: list[tuple[Path, int, dict[str, Any]]], files: list[Path]) -> tuple[str, ...]:
    """What a reader should know of how prompts were pooled and repeated."""
    notes = []
    if len(files) > 1:
        notes.append(f"{len(files)} tasks are pooled: every prompt counts the same")
    answers = rows[0][2].get("resps")
    first = answers[0] if isinstance(answers, list) and answers else None
    if rows[0][2].get("target") is not None and isinstance(first, list) and len(first) > 1:
        notes.append(f"{len(first)} responses a prompt; the log has one verdict, of the filter")
    return tuple(notes)


def is_lm_eval(row: dict[str, Any]) -> bool:
    """Whether a JSON line is one of a sample log."""
    return "doc_id" in row and ("filtered_resps" in row or "resps" in row)


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as handle:  # binary: text mode would also end lines at '\r'
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{file} line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{file} line {number} is not an object")
            yield number, row


def _metrics(row: dict[str, Any]) -> list[str]:
    listed = row.get("metrics")
    if isinstance(listed, list) and listed:
        return [str(name) for name in listed]
    return [key for key, value in row.items() if key not in _OWN and as_number(value) is not None]


def _task(file: Path) -> str:
    found = _NAME.fullmatch(file.stem)
    return found["task"] if found else "task"


def _model(file: Path) -> str:
    """The harness puts the logs of a model into a folder of its name, ``/`` as ``__``."""
    return file.parent.name.replace("__", "/") if _NAME.fullmatch(file.stem) else ""


def _cluster(row: dict[str, Any], task: str, key: str, where: str) -> str:
    if key == "task":
        return task
    value: Any = row.get("doc")
    for part in key.removeprefix("doc.").split("."):
        if not isinstance(value, dict) or part not in value:
            raise InputError(f"{where}: 'doc' has no '{key.removeprefix('doc.')}'")
        value = value[part]
    return str(value)
