"""Logs of Inspect: `.eval` archives and `.json` files."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from statllm.errors import InputError
from statllm.files import existing_file
from statllm.integrations.scores import Scores, as_number, chosen

_ZSTD = 93  # of the zip format


def read_inspect(path: str | Path, metric: str | None = None, cluster: str | None = None) -> Scores:
    """Read the scores of an Inspect log; epochs are samples.

    Parameters
    ----------
    path : str or Path
        ``.eval`` or ``.json``. Inspect's own package isn't needed.
    metric : str, optional
        A scorer, or ``SCORER.KEY`` for one whose value is a dictionary. Default: the first.
        C, P, I and N are 1, 1/2, 0 and 0, as Inspect's own `value_to_float`.
    cluster : str, optional
        A key of the samples' metadata.

    Returns
    -------
    Scores
        A sample without a score (it failed) is NaN.

    Raises
    ------
    InputError
        Names the file, the sample and the key.
    """
    path = existing_file(Path(path))
    header, samples = _archive(path) if path.suffix == ".eval" else _json(path)
    for place, sample in enumerate(samples):
        _check(sample, f"{path}, sample {place}")
    names = _scorers(samples)
    if not names:
        status = header.get("status", "unknown")
        raise InputError(f"{path} has no scored samples (status: {status})")
    name, notes = chosen(metric, names, path, "scorer", "--column")
    items, epochs, scores, clusters, prints = [], [], [], [], []
    for place, sample in enumerate(samples):
        where = f"{path}, sample {sample.get('id', place)}"
        if "id" not in sample:
            raise InputError(f"{where} has no 'id'")
        items.append(str(sample["id"]))
        epochs.append(_epoch(sample, where))
        scores.append(_score(sample, name, where))
        given = json.dumps(sample.get("input"), sort_keys=True)
        prints.append(hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest())
        if cluster is not None:
            metadata = sample.get("metadata") or {}
            if not isinstance(metadata, dict) or cluster not in metadata:
                raise InputError(f"{where}: its metadata has no '{cluster}'")
            clusters.append(str(metadata[cluster]))
    evaluation = header.get("eval")
    model = evaluation.get("model") if isinstance(evaluation, dict) else None
    return Scores(
        str(path),
        items,
        np.asarray(epochs, np.int64),
        np.asarray(scores, np.float64),
        name,
        str(model or ""),
        clusters if cluster is not None else None,
        prints,
        notes,
    )


def is_inspect(log: Any) -> bool:
    """Whether parsed JSON is an Inspect log."""
    return isinstance(log, dict) and "eval" in log and "samples" in log


def _json(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        log = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(log, dict) or "eval" not in log:
        raise InputError(f"{path} is no log of Inspect: it has no 'eval'")
    samples = log.get("samples") or []
    if not isinstance(samples, list):
        raise InputError(f"{path}: its 'samples' are no list")
    return log, samples


def _archive(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            members = {info.filename: info for info in archive.infolist()}

            def read(name: str) -> Any:
                info = members[name]
                if info.compress_type == _ZSTD:
                    return json.loads(_zstandard(raw, info))
                return json.loads(archive.read(info))

            # A run that was cut off has no header.json, only what it started with.
            head = next((n for n in ("header.json", "_journal/start.json") if n in members), None)
            if head is None:
                raise InputError(f"{path} is no log of Inspect: it has no header.json")
            inside = sorted(n for n in members if n.startswith("samples/") and n.endswith(".json"))
            header = read(head)
            return (header if isinstance(header, dict) else {}), [read(name) for name in inside]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise InputError(f"{path} can't be read as an Inspect archive: {error}") from error


def _zstandard(raw: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """Decompress a member that Inspect wrote with Zstandard, which zipfile reads from 3.14 on."""
    import pyarrow as pa

    raw.seek(info.header_offset)
    header = raw.read(30)
    skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    raw.seek(skip, 1)
    compressed = raw.read(info.compress_size)
    if not info.file_size:
        return b""
    return bytes(pa.decompress(compressed, info.file_size, codec="zstd"))


def _check(sample: Any, where: str) -> None:
    """A sample is an object, and so are its scores where it has some."""
    if not isinstance(sample, dict):
        raise InputError(f"{where} is not an object")
    if not isinstance(sample.get("scores") or {}, dict):
        raise InputError(f"{where}: its 'scores' are no object")


def _epoch(sample: dict[str, Any], where: str) -> int:
    number = as_number(sample.get("epoch", 1))
    if number is None or not number.is_integer():
        raise InputError(f"{where}: 'epoch' is {str(sample['epoch'])[:40]!r}, not a whole number")
    return int(number)


def _scorers(samples: list[dict[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for sample in samples:
        for scorer, score in (sample.get("scores") or {}).items():
            value = score.get("value") if isinstance(score, dict) else score
            if isinstance(value, dict):
                names.update(dict.fromkeys(f"{scorer}.{key}" for key in value))
            else:
                names[scorer] = None
    return list(names)


def _score(sample: dict[str, Any], name: str, where: str) -> float:
    scores = sample.get("scores") or {}
    scorer, _, key = name.partition(".")
    if name in scores:
        scorer, key = name, ""
    if scorer not in scores:
        return float("nan")
    score = scores[scorer]
    value = score.get("value") if isinstance(score, dict) else score
    if key:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return float("nan")
    number = as_number(value)
    if number is None:
        raise InputError(f"{where}: {name} is {str(value)[:40]!r}, not a number or C, P, I, N")
    return number
