"""A killed run goes on from its shards and gives the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.shards import Shards

SETTINGS = SamplingSettings(n=4, max_new_tokens=16, shard_size=1, batch_size=4, seed=3)


@pytest.fixture(scope="module")
def many() -> pa.Table:
    """Enough prompts that a run lasts a while."""
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(40)],
            "prompt": [f"w{i} w{(3 * i) % 90}" for i in range(40)],
            "level": pa.array([[i, i + 1] for i in range(40)]),
        }
    )


@pytest.fixture
def undisturbed(llama: Path, many: pa.Table, tmp_path: Path) -> bytes:
    out = tmp_path / "undisturbed.parquet"
    sample(llama, many, SETTINGS, out=out)
    return out.read_bytes()


def test_kill_9(llama: Path, many: pa.Table, tmp_path: Path, undisturbed: bytes) -> None:
    """A separate process is killed between shards; the same call then goes on."""
    source, out = tmp_path / "prompts.parquet", tmp_path / "out.parquet"
    write_parquet(many, source)
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from statllm.files import read_parquet\n"
        "from statllm.sampling import SamplingSettings, sample\n"
        "settings = SamplingSettings.model_validate_json(sys.argv[3])\n"
        "sample(sys.argv[1], read_parquet(sys.argv[2]), settings, out=sys.argv[4])\n"
    )
    arguments = [str(llama), str(source), SETTINGS.model_dump_json(), str(out)]
    third = tmp_path / "out.parquet.shards" / "shard-00002.parquet"
    with subprocess.Popen([sys.executable, "-c", code, *arguments]) as process:
        while not third.exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    assert third.exists()

    sample(llama, many, SETTINGS, out=out)
    assert out.read_bytes() == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.parquet", "prompts.parquet", "undisturbed.parquet",
    ]  # fmt: skip


class Maker:
    """Makes shards of prompt tables, counts them, and may fail at one of them."""

    def __init__(self, prompts: pa.Table, fail_at: int | None = None) -> None:
        self.prompts, self.fail_at = prompts, fail_at
        self.made: list[slice] = []
        self.reused = 0

    def make(self, rows: slice) -> pa.Table:
        if len(self.made) == self.fail_at:
            raise KeyboardInterrupt
        self.made.append(rows)
        part = self.prompts.slice(rows.start, rows.stop - rows.start)
        return part.append_column("length", pc.utf8_length(part["prompt"]))

    def collect(self, out: Path | None, model: str = "m", **settings: int | float) -> pa.Table:
        changed = SamplingSettings(shard_size=2).model_copy(update=settings)
        shards = Shards(self.prompts, out, changed, model)
        return shards.collect(self.make, lambda rows: setattr(self, "reused", self.reused + rows))


@pytest.fixture
def stopped(prompts: pa.Table, tmp_path: Path) -> Path:
    """The output of a run that was interrupted after 3 of 4 shards."""
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        Maker(prompts, fail_at=3).collect(out)
    assert not out.exists()
    assert len(list((tmp_path / "out.parquet.shards").iterdir())) == 3
    return out


def test_complete_shards_are_reused(prompts: pa.Table, stopped: Path) -> None:
    maker = Maker(prompts)
    table = maker.collect(stopped)
    assert maker.made == [slice(6, 7)]
    assert maker.reused == 6
    assert table.equals(Maker(prompts).collect(None))
    assert read_parquet(stopped).equals(table)
    assert read_parquet(stopped).schema.metadata is None
    assert [path.name for path in stopped.parent.iterdir()] == ["out.parquet"]


def test_damaged_and_temporary_shards_are_not(prompts: pa.Table, stopped: Path) -> None:
    folder = stopped.with_name("out.parquet.shards")
    cut = folder / "shard-00001.parquet"
    cut.write_bytes(cut.read_bytes()[:-100])
    (folder / ".shard-00003.parquet.1234abcd.tmp").write_bytes(b"half a sh")
    maker = Maker(prompts)
    assert maker.collect(stopped).equals(Maker(prompts).collect(None))
    assert maker.made == [slice(2, 4), slice(6, 7)]
    assert [path.name for path in stopped.parent.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize(
    ("change", "remade"),
    [
        ({"temperature": 0.9}, 4),
        ({"seed": 1}, 4),
        ({"batch_size": 7}, 4),  # may change the last digits of log-probabilities
        ({"shard_size": 3}, 3),
        ({"model": "another"}, 4),
    ],
)
def test_shards_of_another_run_are_not(
    prompts: pa.Table, stopped: Path, change: dict[str, Any], remade: int
) -> None:
    maker = Maker(prompts)
    assert maker.collect(stopped, **change).equals(Maker(prompts).collect(None))
    assert len(maker.made) == remade


def test_only_the_shards_of_changed_prompts_are_remade(prompts: pa.Table, stopped: Path) -> None:
    changed = prompts["reference"].to_pylist()
    changed[2] = "changed"
    maker = Maker(prompts.set_column(2, "reference", pa.array(changed)))
    maker.collect(stopped)
    assert maker.made == [slice(2, 4), slice(6, 7)]
    wider = Maker(prompts.append_column("level", pa.array(range(7))))
    wider.collect(stopped)
    assert len(wider.made) == 4


def test_an_output_that_is_a_folder_is_refused_first(
    llama: Path, prompts: pa.Table, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is a folder"):
        sample(llama, prompts, SETTINGS, out=tmp_path)
    assert not any(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    prompts: pa.Table, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*file/out.parquet"):
        sample(tmp_path / "nowhere", prompts, SETTINGS, out=tmp_path / "file" / "out.parquet")


def test_travelling_columns_and_order(llama: Path, many: pa.Table, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"shard_size": 17})
    table = sample(llama, many, settings, out=tmp_path / "out.parquet")
    assert table.select(many.column_names).equals(many)
    assert read_parquet(tmp_path / "out.parquet").equals(table)
