"""Work with a model: pieces are all rows, and the model is opened once and closed."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from statllm.engines import EngineSettings, run
from statllm.engines.models import FineSource, ModelEngineSettings, ModelWork
from statllm.engines.ray_data import n_actors
from statllm.errors import InputError


@pytest.mark.parametrize("rows", [1, 7, 20, 500])
@pytest.mark.parametrize("batch", [3, 64])
def test_pieces_are_all_rows_in_order(tmp_path: Path, rows: int, batch: int) -> None:
    table = pa.table(
        {"qid": [f"p{i}" for i in range(100)], "task": ["a" if i % 3 else "b" for i in range(100)]}
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=33)
    source = FineSource(tmp_path / "in.parquet", {"prompt_id": "qid"}, {"task": "a"})
    parts = source.parts(rows)
    assert [part.first for part in parts] == list(np.cumsum([0, *(p.rows for p in parts)])[:-1])
    assert max(part.rows for part in parts) <= rows
    assert len({source.fingerprint(part) for part in parts}) == len(parts)
    read = [pair for part in parts for pair in source.batches(part, batch)]
    assert all(table.num_rows <= min(batch, rows) for _, table in read)
    found = pa.concat_tables([table for _, table in read])
    expected = table.filter(pc.equal(table["task"], "a")).rename_columns(["prompt_id", "task"])
    assert found.equals(expected)
    for first, one in read:  # a batch's number is the file's, whatever is left out
        assert int(one["prompt_id"][0].as_py()[1:]) - first in (0, 1)
    only = [one for part in parts for _, one in source.batches(part, batch, ["prompt_id"])]
    assert pa.concat_tables(only)["prompt_id"].equals(expected["prompt_id"])


@dataclass(frozen=True)
class Opened(ModelWork[str]):
    """Counts how often its model is opened and closed."""

    events: list[str] = field(default_factory=list)
    outputs: tuple[str, ...] = ("rows",)

    def decides(self) -> dict[str, Any]:
        return {}

    def open(self, closing: ExitStack) -> str:
        self.events.append("open")
        closing.callback(self.events.append, "close")
        return "model"

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        assert self.model == "model"
        if "p25" in table["prompt_id"].to_pylist():
            raise InputError("p25 is bad")
        self.events.append("batch")
        return {"rows": table}, {}


def test_a_model_is_opened_once_and_closed_whatever_happens(
    tmp_path: Path, answers: pa.Table
) -> None:
    import torch

    torch.set_num_threads(2)
    out = {"rows": tmp_path / "out.parquet"}
    for n, ends in ((25, None), (30, "in rows 24 to 30: p25 is bad")):
        pq.write_table(answers.slice(0, n), tmp_path / "in.parquet")
        work, source = Opened(), FineSource(tmp_path / "in.parquet")
        if ends is None:
            run(source, work, out, ModelEngineSettings(workers=1, part_rows=8, batch_rows=8))
        else:
            with pytest.raises(InputError, match=ends):
                run(source, work, out, ModelEngineSettings(workers=1, part_rows=8, batch_rows=8))
        assert work.events == ["open", *["batch"] * (3 + (ends is None)), "close"]
        assert torch.get_num_threads() == 2


def test_an_open_model_stays_where_it_is() -> None:
    work = Opened()
    assert work.model == "model"
    copied = pickle.loads(pickle.dumps(work))
    assert "model" not in vars(copied)
    assert copied.model == "model"
    assert copied.events == ["open", "open"]


def test_ray_gets_as_many_actors_as_there_are_gpus_for() -> None:
    assert n_actors({"CPU": 64.0, "GPU": 8.0}, 0) == 64
    assert n_actors({"CPU": 64.0, "GPU": 8.0}, 1) == 8
    assert n_actors({"CPU": 64.0, "GPU": 8.0}, 2) == 4
    assert n_actors({"CPU": 64.0, "GPU": 1.0}, 0.25) == 4
    with pytest.raises(InputError, match="Ray has 1 GPUs here"):
        n_actors({"CPU": 64.0, "GPU": 1.0}, 2)
    assert ModelEngineSettings.of(EngineSettings(engine="ray")).workers == 1
    assert ModelEngineSettings.of(EngineSettings(engine="ray", gpus=1)).workers is None
