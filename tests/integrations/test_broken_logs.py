"""Logs and tables that are broken: one sentence that names the place, never a traceback."""

from __future__ import annotations

import json
import math
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.errors import InputError
from statllm.integrations import pair_scores, read_scores, read_wins


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ({"eval": {}, "samples": [5]}, "is not an object"),
        ({"eval": {}, "samples": {"a": 1}}, "'samples' are no list"),
        ({"eval": {}, "samples": [{"id": 1, "scores": [1]}]}, "'scores' are no object"),
        (
            {"eval": None, "samples": [{"id": 1, "epoch": "x", "scores": {"m": 1}}]},
            "'epoch' is 'x', not a whole number",
        ),
        (
            {"eval": {}, "samples": [{"id": 1, "epoch": None, "scores": {"m": 1}}]},
            "'epoch' is 'None', not a whole number",
        ),
    ],
)
def test_broken_logs_of_inspect(tmp_path: Path, log: Any, said: str) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    with pytest.raises(InputError, match=said):
        read_scores(path)
    if isinstance(log["samples"], list):
        archive = tmp_path / "log.eval"
        with zipfile.ZipFile(archive, "w") as inside:
            inside.writestr("header.json", json.dumps({"eval": log["eval"]}))
            inside.writestr("samples/1.json", json.dumps(log["samples"][0]))
        with pytest.raises(InputError, match=said):
            read_scores(archive)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"item": [1.0, math.nan], "score": [1, 0]}, "'item' is null in row 1"),
        ({"item": [1, 2], "score": [1, 0], "group": [1.0, math.nan]}, "'group' is null in row 1"),
        ({"item": [1, 2], "score": [1, 0], "group": [[1], [2]]}, r"'group' is \[1\] in row 0"),
        ({"item": [1, 2], "score": [1, 0], "sample": [0, math.inf]}, "'sample' is inf in row 1"),
        ({"item": [1, 2], "score": [1, 0], "sample": [0, math.nan]}, "'sample' is nan in row 1"),
    ],
)
def test_wrong_labels_of_tables(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=said):
        read_scores(path, cluster="group" if "group" in columns else None)


def test_decimals_and_groups_of_other_types(tmp_path: Path) -> None:
    first = pa.table({"item": [1, 2], "score": [Decimal("0.5"), Decimal(1)], "group": [3.0, 4.0]})
    pq.write_table(first, tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("item,score,group\n1,0,3\n2,1,4\n")
    a, b = (read_scores(tmp_path / name, cluster="group") for name in ("a.parquet", "b.csv"))
    assert a.score.tolist() == [0.5, 1.0]
    assert pair_scores(a, b, "group").design.cluster is not None  # 3.0 is 3


def test_null_where_there_must_be_a_value(tmp_path: Path) -> None:
    row = {"doc_id": None, "doc": {}, "resps": [["x"]], "metrics": ["acc"], "acc": 1.0}
    log = tmp_path / "samples_t_2026-01-01T00-00-00.jsonl"
    log.write_text(json.dumps(row))
    with pytest.raises(InputError, match="line 1 has no 'doc_id'"):
        read_scores(log)
    path = tmp_path / "annotations.json"
    entry = {"instruction": "i", "preference": 2, "output_1": "a b", "output_2": None}
    path.write_text(json.dumps([entry]))
    with pytest.raises(InputError, match="entry 0: 'output_2' is 'None', not text"):
        read_wins(path)
