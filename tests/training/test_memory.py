"""The estimate of memory: exact where it can be, near what a process takes, and its advice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MixtralConfig,
    OPTConfig,
)

from statllm.errors import InputError
from statllm.training import PreferenceSettings, train_preference
from statllm.training.logprobs import padded_logps
from statllm.training.memory import _left, available_memory, check_memory, estimate_memory
from statllm.training.packing import Row
from statllm.training.preference import preference_trainer
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
    # bfloat16 weights, float32 gradients, copies and two moments; gradients in bfloat16: 2 less
    for gradient, each in (("float32", 18), ("bfloat16", 16)):
        half = LanguageModelSettings(
            weight_dtype="bfloat16", dtype="bfloat16", gradient_dtype=gradient
        )
        found = estimate_memory(llama_8b(), half, 8192)
        assert (found.weights + found.gradients + found.optimizer) / GIB == pytest.approx(
            8.03e9 * each / GIB, rel=0.01
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


def test_padded_rows_have_the_logits_of_all_positions() -> None:
    """As a model of 256,000 tokens whose attention can't be shared has them."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(GemmaConfig(num_hidden_layers=1))
    found = estimate_memory(model, LanguageModelSettings(), 8192)
    assert found.logits == 12 * 8192 * 256_000


@pytest.mark.parametrize("half", [False, True])
def test_logits_of_padded_rows_are_what_torch_allocates(half: bool) -> None:
    """Of rows that are nearly all response."""
    config = LlamaConfig(
        vocab_size=20_000, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    ids = np.random.default_rng(0).integers(3, 20_000, 98).astype(np.int32)
    rows = [Row(ids[:2], (ids, ids))] * 2

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            padded_logps(model, rows, torch.device("cpu")).sum().backward()
        model.zero_grad()

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    taken = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    settings = LanguageModelSettings(layout="padded")
    assert np.cumsum(taken).max() == pytest.approx(
        estimate_memory(model, settings, 400).logits, rel=0.05
    )


def test_available_memory() -> None:
    import psutil

    found = available_memory(torch.device("cpu"))
    assert 0 < found <= psutil.virtual_memory().total


@pytest.mark.parametrize(("version", "total"), [(2, ""), (1, "total_")])
def test_files_that_a_cgroup_holds_make_way(tmp_path: Path, version: int, total: str) -> None:
    names = [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")]
    limit, used = names[2 - version]
    (tmp_path / limit).write_text("1000\n")
    (tmp_path / used).write_text("900\n")
    stat = {"anon": 300, "inactive_file": 1, "active_file": 1}
    stat |= {f"{total}inactive_file": 500, f"{total}active_file": 100}
    (tmp_path / "memory.stat").write_text("".join(f"{k} {v}\n" for k, v in stat.items()))
    assert _left((tmp_path, limit, used)) == 1000 - 900 + 600
    (tmp_path / limit).write_text("max\n")
    assert _left((tmp_path, limit, used)) is None
    assert _left((tmp_path / "absent", limit, used)) is None


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_layer=2, n_embd=64, n_head=2, vocab_size=300),
        OPTConfig(hidden_size=64, ffn_dim=256, num_hidden_layers=2, num_attention_heads=2,
                  word_embed_proj_dim=64, vocab_size=300),
        MixtralConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, vocab_size=300,
                      num_attention_heads=2, num_key_value_heads=2, num_local_experts=4),
    ],
    ids=lambda config: config.model_type,
)  # fmt: skip
def test_layers_of_other_kinds(config: Any) -> None:
    """What torch keeps of them is of the same order."""
    model = AutoModelForCausalLM.from_config(config)
    ids = torch.randint(0, 300, (1, 50))
    kept = saved(model, lambda: model(ids, use_cache=False).logits)
    estimate = estimate_memory(model, LanguageModelSettings(), 50).activations
    assert 0.4 < estimate / kept < 2.5


def test_a_model_without_attention() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(MambaConfig(num_hidden_layers=2))
    found = estimate_memory(model, LanguageModelSettings(), 50)
    assert found.activations > 0
    assert found.weights == 4 * sum(part.numel() for part in model.parameters())


@pytest.mark.parametrize("layout", ["shared", "packed", "padded"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "bfloat16"},
        {"dtype": "bfloat16", "weight_dtype": "bfloat16"},
        {"dtype": "bfloat16", "gradient_checkpointing": True},
    ],
    ids=["float32", "autocast", "bfloat16", "checkpointing"],
)
def test_activations_are_what_torch_keeps(
    layout: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """What two layers more keep of each token, but for the weights' copies."""
    found = []
    for layers in (1, 3):
        folder = tmp_path / str(layers)
        folder.mkdir()
        made = tiny_trainer(folder, layers, PreferenceSettings(layout=layout, **settings))
        rows = [0, 1, 2, 3]

        def losses(made: Any = made, rows: list[int] = rows) -> torch.Tensor:
            with made._autocast():
                loss: torch.Tensor = made.objective.losses(made.module, rows, rows, 0)["loss"]
                return loss

        tokens = made.objective.tokens(rows)
        estimate = estimate_memory(made.model, made.settings, tokens)
        found.append((saved(made.model, losses), estimate.activations))
    (kept_1, estimate_1), (kept_3, estimate_3) = found
    assert kept_3 - kept_1 == pytest.approx(estimate_3 - estimate_1, rel=0.2)


def tiny_trainer(folder: Path, layers: int, settings: PreferenceSettings) -> Any:
    config = LlamaConfig(
        vocab_size=300, hidden_size=128, intermediate_size=384, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    ids = [pa.array([rng.integers(2, 300, 100) for _ in range(4)]) for _ in range(3)]
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = pa.table({**dict(zip(names, ids, strict=True)), "weight": np.ones(4)})
    model = LlamaForCausalLM(config).to(getattr(torch, settings.weight_dtype))
    return preference_trainer(model, rows, settings, folder)


def saved(model: torch.nn.Module, forward: Callable[[], torch.Tensor]) -> int:
    """Bytes that the graph of a forward pass holds, without weights and copies of weights."""
    weights = {part.untyped_storage().data_ptr() for part in model.parameters()}
    shapes = {shape for part in model.parameters() for shape in (part.shape, part.shape[::-1])}
    held: dict[int, Any] = {}  # storages, each once; they stay alive, so that no two share a place

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.shape not in shapes:
            held[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for storage in held.values())


SCRIPT = """
import json, sys, tempfile, threading, time
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
        time.sleep(0.002)
config = LlamaConfig(vocab_size=4000, hidden_size=512, intermediate_size=1536, num_hidden_layers=6,
                     num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=1024)
rng = np.random.default_rng(0)
def ids():
    return pa.array([rng.integers(3, 4000, 150) for _ in range(6)])
columns = {name: ids() for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
rows = pa.table({**columns, "weight": np.ones(6)})
budget = 3 * 452  # twice a step, so that gradients are there during a forward pass
settings = PreferenceSettings(batch_size=6, token_budget=budget, max_steps=2, require_eos=False,
                              **json.loads(sys.argv[1]))
base = resident()
with tempfile.TemporaryDirectory() as folder:
    model = LlamaForCausalLM(config).to(getattr(torch, settings.weight_dtype))
    made = preference_trainer(model, rows, settings, Path(folder))
    made._save = lambda: None
    threading.Thread(target=watch).start()
    made.train()
    done = True
print(peak - base, estimate_memory(made.model, settings, budget).total)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "bfloat16", "gradient_checkpointing": True},
        {"dtype": "bfloat16", "weight_dtype": "bfloat16"},
        {"dtype": "bfloat16", "weight_dtype": "bfloat16", "gradient_dtype": "bfloat16"},
        {"dtype": "bfloat16", "weight_dtype": "bfloat16", "lora_rank": 8},
    ],
    ids=["float32", "checkpointing", "bfloat16", "bfloat16-gradients", "adapter"],
)
def test_the_estimate_is_what_a_process_takes(settings: dict[str, Any]) -> None:
    """Within a seventh, and .1 GB of libraries; freed memory goes back to the system at once."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(settings)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_MMAP_MAX_": "1000000",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    measured, estimated = (int(word) for word in done.stdout.split())
    assert 0.86 * estimated < measured < 1.14 * estimated + 1e8
