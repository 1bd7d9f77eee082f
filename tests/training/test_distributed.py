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
made = preference_trainer(model, pq.read_table(rows), settings, Path(out))
if int(stop):
    made.n_steps = int(stop)
    made.train()
else:
    made.train(latest_checkpoint(Path(out)))
divided = any(type(part).__name__ == "DTensor" for part in made.module.parameters())
print(type(made.module).__name__, divided, made.processes.size, made.history[0]["loss"])
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
        arguments = [kind, model, folder / "rows.parquet", folder / kind]
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, *map(str, arguments),
                 settings.model_dump_json(), str(stop)],
                env={**os.environ, "OMP_NUM_THREADS": "1", **several},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )  # fmt: skip
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


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_give_what_one_gives(
    kind: str, model_folder: Path, tmp_path: Path, random_rows: Callable[..., pa.Table]
) -> None:
    pytest.importorskip("accelerate")
    pq.write_table(random_rows(19), tmp_path / "rows.parquet")
    train("one", tmp_path, model_folder, 1, SETTINGS)
    train(kind, tmp_path, model_folder, 2, SETTINGS, stop=4)  # ends early, and goes on
    assert (tmp_path / kind / "step_4").is_dir()
    said = train(kind, tmp_path, model_folder, 2, SETTINGS)
    name = {"ddp": "DistributedDataParallel False 2", "fsdp": "FSDPSequenceLogps True 2"}[kind]
    assert all(name in each for each in said), said
    one, two = weights(tmp_path / "one"), weights(tmp_path / kind)
    assert one.keys() == two.keys()
    gaps = [float((one[key] - two[key]).abs().max()) for key in one]  # type: ignore[operator]
    assert max(gaps) <= 1e-6
    start = load_file(model_folder / "model.safetensors")
    moved = [float((one[key] - start[key]).abs().max()) for key in one]  # type: ignore[operator]
    assert max(moved) > 1e-3


def test_copies_of_divided_weights_are_refused(
    model_folder: Path, tmp_path: Path, random_rows: Callable[..., pa.Table]
) -> None:
    pytest.importorskip("accelerate")
    pq.write_table(random_rows(4), tmp_path / "rows.parquet")
    half = SETTINGS.model_copy(update={"weight_dtype": "bfloat16"})
    for code, _, errors in launch("fsdp", tmp_path, model_folder, 2, half):
        assert code == 1
        assert "InputError: weight_dtype bfloat16 doesn't go with FSDP" in errors
