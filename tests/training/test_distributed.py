"""Two processes over gloo give what one gives: DDP and FSDP, with unequal numbers of bins."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from statllm.training import PreferenceSettings

SCRIPT = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
import torch
from statllm.models import load_model
from statllm.training import PreferenceSettings
from statllm.training.folder import latest_checkpoint
from statllm.training.preference import preference_trainer

torch.set_num_threads(1)
kind, model, rows, out, settings, stop = sys.argv[1:]
if kind == "fsdp":  # accelerate chooses it on GPUs alone; its code runs on a CPU as well
    from accelerate import Accelerator, PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = Accelerator().state
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"], state_dict_type="SHARDED_STATE_DICT",
    )
settings = PreferenceSettings.model_validate_json(settings)
model = load_model(model, settings.weight_dtype, "cpu")
table = pq.read_table(rows)
made = preference_trainer(model, table, settings, Path(out), held_out=table.slice(3, 5))
if int(stop):
    made.n_steps = int(stop)
    made.train()
else:
    made.train(latest_checkpoint(Path(out)))
divided = any(type(part).__name__ == "DTensor" for part in made.module.parameters())
print(type(made.module).__name__, divided, made.processes.size, made.history[-1]["eval_loss"])
"""
# 19 pairs in steps of 8, 8 and 3, and a budget of two or three rows: processes often have
# different numbers of bins
SETTINGS = PreferenceSettings(
    loss="scpo", batch_size=8, token_budget=60, learning_rate=1e-3, epochs=2, checkpoint_every=2,
    lr_scheduler="constant",
)  # fmt: skip


def launch(
    kind: str, folder: Path, model: Path, size: int, settings: PreferenceSettings, stop: int = 0
) -> list[tuple[int, str, str]]:
    """Start the processes; exit code, output and errors of each."""
    paths = (model, folder / "rows.parquet", folder / kind)
    return start(
        ["-c", SCRIPT, kind, *map(str, paths), settings.model_dump_json(), str(stop)], size
    )


def start(command: list[str], size: int) -> list[tuple[int, str, str]]:
    """Start Python as a launcher does, once per process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(size):
        several = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
        }  # fmt: skip
        started.append(
            subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "OMP_NUM_THREADS": "1", **several},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate(timeout=300) for process in started]
    return [(process.returncode, *both) for process, both in zip(started, said, strict=True)]


def train(
    kind: str, folder: Path, model: Path, size: int, settings: PreferenceSettings, stop: int = 0
) -> list[str]:
    """Train to the end; what each process prints."""
    ended = launch(kind, folder, model, size, settings, stop)
    for code, _, errors in ended:
        assert code == 0, errors[-3000:]
    return [out for _, out, _ in ended]


def weights(folder: Path) -> dict[str, object]:
    return dict(load_file(folder / "step_6" / "model.safetensors"))


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_give_what_one_gives(
    kind: str, model_folder: Path, tmp_path: Path, random_rows: Callable[..., pa.Table]
) -> None:
    pytest.importorskip("accelerate")
    pq.write_table(random_rows(19), tmp_path / "rows.parquet")
    (alone,) = train("one", tmp_path, model_folder, 1, SETTINGS)
    train(kind, tmp_path, model_folder, 2, SETTINGS, stop=4)  # ends early, and goes on
    assert (tmp_path / kind / "step_4").is_dir()
    said = train(kind, tmp_path, model_folder, 2, SETTINGS)
    name = {"ddp": "DistributedDataParallel False 2", "fsdp": "FSDPSequenceLogps True 2"}[kind]
    assert all(name in each for each in said), said
    losses = [float(each.split()[-1]) for each in (alone, *said)]  # of the held-out pairs
    assert losses[1] == losses[2] == pytest.approx(losses[0], abs=1e-6)
    one, two = weights(tmp_path / "one"), weights(tmp_path / kind)
    assert one.keys() == two.keys()
    gaps = [float((one[key] - two[key]).abs().max()) for key in one]  # type: ignore[operator]
    assert max(gaps) <= 1e-6
    start = load_file(model_folder / "model.safetensors")
    moved = [float((one[key] - start[key]).abs().max()) for key in one]  # type: ignore[operator]
    assert max(moved) > 1e-3


@pytest.mark.parametrize("budget", [60, pytest.param(8192, marks=pytest.mark.slow)])
def test_the_command_runs_in_two_processes(
    budget: int, model_folder: Path, tmp_path: Path, random_pairs: Callable[..., pa.Table]
) -> None:
    """One of them writes and speaks; with the larger budget, one has no bin of its own."""
    pytest.importorskip("accelerate")
    pq.write_table(random_pairs(11), tmp_path / "pairs.parquet")
    command = ["-m", "statllm", "train", str(model_folder), str(tmp_path / "pairs.parquet"),
               "--eval", str(tmp_path / "pairs.parquet"), "--eval-every", "2", "--batch-size", "4",
               "--learning-rate", "1e-3", "--token-budget", str(budget),
               "--keep-best", "loss"]  # fmt: skip
    for size in (1, 2):
        ended = start([*command, "-o", str(tmp_path / str(size))], size)
        for code, _, errors in ended:
            assert code == 0, errors[-3000:]
        assert "11 pairs, 3 steps" in " ".join(ended[0][1].split())
        assert "11 of 11 rows to train on" in ended[0][2]
        for _, out, errors in ended[1:]:
            assert out == ""
            assert "rows to train on" not in errors
    names = {path.name for path in tmp_path.iterdir() if "reference" not in path.name}
    assert names == {"1", "2", "pairs.parquet"}
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("1", "2"))
    assert max(float((one[key] - two[key]).abs().max()) for key in one) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("fsdp", "weight_dtype bfloat16 doesn't go with FSDP"),
        ("ddp", "weight_dtype bfloat16 needs gradient_dtype bfloat16"),
    ],
)
def test_formats_that_processes_do_not_exchange(
    kind: str,
    message: str,
    model_folder: Path,
    tmp_path: Path,
    random_rows: Callable[..., pa.Table],
) -> None:
    pytest.importorskip("accelerate")
    pq.write_table(random_rows(4), tmp_path / "rows.parquet")
    half = SETTINGS.model_copy(update={"weight_dtype": "bfloat16"})
    for code, _, errors in launch(kind, tmp_path, model_folder, 2, half):
        assert code == 1
        assert "InputError" in errors
        assert message in errors
