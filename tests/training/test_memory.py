"""The estimate of memory: exact where it can be, near what a process takes, and its advice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from statllm.errors import InputError
from statllm.training import PreferenceSettings, train_preference
from statllm.training.memory import available_memory, check_memory, estimate_memory
from statllm.training.settings import LanguageModelSettings

GIB = 2**30


def meta(**config: Any) -> Any:
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**config))


def llama_8b() -> Any:
    return meta(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8,
    )  # fmt: skip


def test_states_of_eight_billion_parameters() -> None:
    """16 bytes a parameter in float32: 120 GiB, and a reference 30 more (the published figures)."""
    found = estimate_memory(llama_8b(), LanguageModelSettings(), 8192, live_reference=True)
    assert (found.weights + found.gradients + found.optimizer) / GIB == pytest.approx(120, abs=1)
    assert found.reference / GIB == pytest.approx(30, abs=0.3)
    half = LanguageModelSettings(weight_dtype="bfloat16", dtype="bfloat16")
    found = estimate_memory(llama_8b(), half, 8192)
    # bfloat16 weights and gradients, float32 copies and two moments
    assert (found.weights + found.gradients + found.optimizer) / GIB == pytest.approx(
        8.03e9 * 16 / GIB, rel=0.01
    )


def test_an_adapter_is_counted_as_peft_makes_it(
    model_folder: Path, load: Callable[..., Any]
) -> None:
    pytest.importorskip("peft")
    from statllm.training.lora import adapted

    for targets in ((), ("q_proj", "down_proj")):
        settings = LanguageModelSettings(lora_rank=4, lora_targets=targets)
        found = estimate_memory(load(model_folder), settings, 100)
        model = adapted(load(model_folder), settings)
        trained = sum(part.numel() for part in model.parameters() if part.requires_grad)
        assert found.gradients == 4 * trained
        assert found.optimizer == 8 * trained


def test_what_would_fit_is_said() -> None:
    with pytest.raises(InputError, match=r"needs about \d+\.\d GiB of 80\.0: ") as caught:
        check_memory(
            llama_8b(), LanguageModelSettings(), 8192, 80 * GIB, live_reference=True, longest=900
        )
    said = str(caught.value)
    for remedy in ("precompute_reference (", "token_budget 2048 (", "lora_rank 16 ("):
        assert remedy in said
    lora = LanguageModelSettings(lora_rank=16, dtype="bfloat16", gradient_checkpointing=True)
    assert check_memory(llama_8b(), lora, 2048, 80 * GIB).total < 80 * GIB


def test_a_training_that_does_not_fit_is_refused(
    model_folder: Path,
    tmp_path: Path,
    random_pairs: Callable[..., pa.Table],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("statllm.training.memory.available_memory", lambda device: 100_000)
    with pytest.raises(InputError, match="the training needs about"):
        train_preference(
            model_folder, random_pairs(4), tmp_path / "out", PreferenceSettings(batch_size=4)
        )


def test_available_memory() -> None:
    import psutil

    found = available_memory(torch.device("cpu"))
    assert 0 < found <= psutil.virtual_memory().total


SCRIPT = """
import sys, tempfile, threading, time
from pathlib import Path
import numpy as np, pyarrow as pa, torch
from transformers import LlamaConfig, LlamaForCausalLM
from statllm.training.memory import estimate_memory
from statllm.training.preference import preference_trainer
from statllm.training.settings import PreferenceSettings

torch.set_num_threads(1)
def resident():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
peak, done = 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, resident())
        time.sleep(0.005)
config = LlamaConfig(vocab_size=4000, hidden_size=512, intermediate_size=1536, num_hidden_layers=6,
                     num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=1024)
rng = np.random.default_rng(0)
def ids():
    rows = [[*rng.integers(3, 4000, 150).tolist(), 2] for _ in range(8)]
    return pa.array(rows, pa.list_(pa.int32()))
columns = {name: ids() for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
rows = pa.table({**columns, "weight": np.ones(8)})
settings = PreferenceSettings(batch_size=8, token_budget=int(sys.argv[1]), max_steps=2)
base = resident()
with tempfile.TemporaryDirectory() as folder:
    made = preference_trainer(LlamaForCausalLM(config), rows, settings, Path(folder))
    made._save = lambda: None
    threading.Thread(target=watch).start()
    made.train()
    done = True
print(peak - base, estimate_memory(made.model, settings, int(sys.argv[1])).total)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_estimate_follows_what_a_process_takes() -> None:
    """What eight times the tokens take more is the estimate's difference, within a quarter."""
    found = []
    for budget in (453, 8 * 453):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(budget)], capture_output=True, text=True, check=True
        )
        found.append([int(word) for word in done.stdout.split()])
    (few, few_estimated), (many, many_estimated) = found
    assert many - few == pytest.approx(many_estimated - few_estimated, rel=0.25)
    assert 0.5 * few_estimated < few < few_estimated + 1e9
