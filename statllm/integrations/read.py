"""One reader for all logs: it looks what a file is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from statllm.errors import InputError
from statllm.files import existing_file
from statllm.integrations.alpaca_eval import is_alpaca_eval, read_alpaca_eval
from statllm.integrations.inspect_log import is_inspect, read_inspect
from statllm.integrations.lm_eval import is_lm_eval, read_lm_eval
from statllm.integrations.plain import read_plain
from statllm.integrations.scores import Scores


def read_scores(
    path: str | Path,
    metric: str | None = None,
    *,
    filter: str | None = None,
    cluster: str | None = None,
    item: str | None = None,
    where: Mapping[str, str] | None = None,
) -> Scores:
    """Read scores from any log that is known.

    Parameters
    ----------
    path : str or Path
        lm-evaluation-harness: ``samples_*.jsonl`` or a folder of them. Inspect: ``.eval`` or its
        ``.json``. AlpacaEval: ``annotations.json``. Else a table: Parquet, JSON lines or CSV.
    metric : str, optional
        The metric, the scorer, or the column of scores.
    filter : str, optional
        Of lm-evaluation-harness.
    cluster : str, optional
        A key of the document, of the metadata, or a column.
    item : str, optional
        Of a table: the column that names items.
    where : mapping of str to str, optional
        Of a table: only rows whose columns have these values.

    Raises
    ------
    InputError
        If the file is none of these, or as its reader says.
    """
    path = Path(path)
    if path.is_dir():
        if any(path.rglob("samples_*.jsonl")):
            return read_lm_eval(path, metric, filter, cluster)
        logs = [*sorted(path.glob("*.eval")), *sorted(path.glob("*.json"))]
        if any(path.glob("*.parquet")) or not logs:
            return read_plain(path, metric, cluster, item, where)
        if len(logs) > 1:
            raise InputError(f"{path} holds {len(logs)} logs; name one, {logs[0]} say")
        path = logs[0]
    existing_file(path)
    suffix = path.suffix.lower()
    lines = suffix in (".jsonl", ".ndjson") and _first_is_lm_eval(path)
    if where and (lines or suffix in (".eval", ".json")):
        raise InputError(f"{path} is a log, not a table; --where has no effect")
    if suffix == ".eval":
        return read_inspect(path, metric, cluster)
    if suffix == ".json":
        try:
            log = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path} is not JSON: {error}") from error
        if is_inspect(log):
            return read_inspect(path, metric, cluster)
        if is_alpaca_eval(log):
            return read_alpaca_eval(path, cluster)
        raise InputError(f"{path} is neither a log of Inspect nor annotations of AlpacaEval")
    if lines:
        return read_lm_eval(path, metric, filter, cluster)
    if filter is not None:
        raise InputError(f"{path} is no log of lm-evaluation-harness; --filter has no effect")
    return read_plain(path, metric, cluster, item, where)


def _first_is_lm_eval(path: Path) -> bool:
    with path.open("rb") as handle:
        for line in handle:
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError:
                    return False
                return isinstance(row, dict) and is_lm_eval(row)
    return False
