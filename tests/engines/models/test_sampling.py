"""Sampling on engines: the samples are those from memory, whatever the pieces."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.engines import EngineSettings, Source
from statllm.engines.sampling import sample_file
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.sampling import SamplingSettings, sample

pytestmark = pytest.mark.usefixtures("one_ray")
Pieces = Callable[..., EngineSettings]
TWO = SamplingSettings(n=2, max_new_tokens=80)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("stop", [None, "anytime"])
def test_samples_are_those_of_the_table_in_memory(
    folder: Path, engine: str, stop: Any, pieces: Pieces, same_but_for_rounding: Any
) -> None:
    if engine == "ray" and stop:
        pytest.skip("one kind is enough for Ray, whose actors take seconds to start")
    settings = SamplingSettings(n=6, max_new_tokens=80, stop=stop, alpha=0.3, round=2)
    source = Source(folder / "prompts.parquet")
    found = sample_file(
        model_path(), source, folder / "s.parquet", settings, settings=pieces(engine)
    )
    expected = sample(model_path(), pq.read_table(source.path), settings, progress=False)
    written = pq.read_table(folder / "s.parquet")
    rounded = {"token_logprobs", "token_logprobs_model", "logprob"}
    same_but_for_rounding(written, expected, rounded)
    assert found.n_prompts == 26
    assert found.n_tokens == sum(sum(row) for row in expected["n_tokens"].to_pylist())
    assert sorted(path.name for path in folder.iterdir()) == ["prompts.parquet", "s.parquet"]


def test_batches_like_shards_give_the_same_log_probabilities(folder: Path, pieces: Pieces) -> None:
    settings = TWO.model_copy(update={"shard_size": 8})
    expected = sample(model_path(), problems("test", 26, 0), settings, progress=False)
    pq.write_table(problems("test", 26, 0), folder / "prompts.parquet")
    sample_file(
        model_path(), Source(folder / "prompts.parquet"), folder / "s", settings,
        settings=pieces("local", batch_rows=8),
    )  # fmt: skip
    assert Generations.read(folder / "s").table.equals(expected)


def test_ray_and_any_number_of_workers_write_the_same_bytes(folder: Path, pieces: Pieces) -> None:
    pytest.importorskip("ray")
    source, found = Source(folder / "prompts.parquet"), set()
    for name, settings in (
        ("a", pieces("local")),
        ("b", pieces("local", workers=2)),
        ("c", pieces("ray")),
    ):
        sample_file(model_path(), source, folder / f"{name}.parquet", TWO, settings=settings)
        found.add(digest(folder / f"{name}.parquet"))
    assert len(found) == 1


_RUN = """
import sys
from pathlib import Path
from statllm.engines import EngineSettings, Source
from statllm.engines.sampling import sample_file
from statllm.lab import model_path
from statllm.sampling import SamplingSettings

folder = Path(sys.argv[1])
sample_file(model_path(), Source(folder / "prompts.parquet"), folder / "s.parquet",
            SamplingSettings(n=2, max_new_tokens=80),
            settings=EngineSettings(engine="local", workers=2, part_rows=2, batch_rows=2))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_gives_the_same_bytes(folder: Path, pieces: Pieces) -> None:
    settings = pieces("local", part_rows=2, batch_rows=2)
    source = Source(folder / "prompts.parquet")
    running = subprocess.Popen([sys.executable, "-c", _RUN, str(folder)])
    parts = folder / "s.parquet.parts"
    while len(list(parts.glob("samples-*.parquet"))) < 2 and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    made = {path.name: path.stat().st_mtime_ns for path in parts.glob("samples-*.parquet")}
    assert 2 <= len(made) < 14
    again: dict[str, int] = {}

    def on_part(done: int, of: int) -> None:
        again.update({path.name: path.stat().st_mtime_ns for path in parts.glob("samples-*")})

    sample_file(model_path(), source, folder / "s.parquet", TWO, settings=settings, on_part=on_part)
    assert len(again) == 14
    assert {name: again[name] for name in made} == made
    sample_file(model_path(), source, folder / "t.parquet", TWO, settings=settings)
    assert digest(folder / "s.parquet") == digest(folder / "t.parquet")


def test_an_error_names_the_rows_and_the_prompt(folder: Path, engine: str, pieces: Pieces) -> None:
    table = pa.table({"prompt_id": list("abcdef"), "prompt": ["1 + 1?"] * 4 + ["1 " * 600, "2?"]})
    pq.write_table(table, folder / "in.parquet")
    with pytest.raises(InputError, match=r"in rows 3 to 6: the prompt of prompt_id 'e' has"):
        sample_file(
            model_path(), Source(folder / "in.parquet"), folder / "s.parquet", TWO,
            settings=pieces(engine, part_rows=3, batch_rows=3),
        )  # fmt: skip
    assert not (folder / "s.parquet").exists()


@pytest.mark.parametrize(
    ("sampling", "engine", "message"),
    [
        ({"backend": "openai", "server": "http://127.0.0.1:1/v1"}, {}, "belong to one caller"),
        ({"backend": "vllm"}, {"workers": 2}, "--engine local has one worker"),
        (
            {"backend": "vllm", "engine": ("tensor_parallel_size=2",)},
            {"engine": "ray", "gpus": 1},
            "spread over 2 GPUs: it needs --gpus 2",
        ),
        ({"stop": "esc"}, {"gpus": 1}, "--gpus has no effect without --engine ray"),
    ],
)
def test_what_workers_cannot_share_is_refused(
    folder: Path, sampling: Any, engine: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sample_file(
            model_path(), Source(folder / "prompts.parquet"), folder / "s.parquet",
            SamplingSettings(**sampling), settings=EngineSettings(**{"engine": "local"} | engine),
        )  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["prompts.parquet"]


def test_a_prompt_id_in_two_pieces_is_refused(tmp_path: Path, pieces: Pieces) -> None:
    table = pa.table({"prompt_id": [*map(str, range(20)), "7"], "prompt": ["x"] * 21})
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match="must be unique, but '7' occurs twice"):
        sample_file(
            model_path(), Source(tmp_path / "in.parquet"), tmp_path / "s.parquet", TWO,
            settings=pieces("local"),
        )  # fmt: skip
