"""The optimizer and its rates: float32 copies of bfloat16 weights, and transformers' schedules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, get_scheduler

from statllm.files import read_json, sha256
from statllm.training import PreferenceSettings, train_preference
from statllm.training.optimizer import AdamW, MasterAdamW, make_optimizer
from statllm.training.schedule import learning_rate
from statllm.training.settings import TrainingSettings

MakeTable = Callable[..., pa.Table]


def net(dtype: torch.dtype) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)).to(dtype)


def train(
    module: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0
) -> None:
    rng = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn((8, 64), generator=rng).to(next(module.parameters()).dtype)
        (module(x).float() * torch.linspace(-1, 1, 64)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().float().flatten() for p in module.parameters()])


def test_float32_copies_move_where_bfloat16_stands_still() -> None:
    """At 5e-7 a hundred steps of plain AdamW are lost in rounding; the copies keep them."""
    settings = TrainingSettings(learning_rate=5e-7)
    exact, half, plain = net(torch.float32), net(torch.bfloat16), net(torch.bfloat16)
    exact.load_state_dict({k: v.float() for k, v in half.state_dict().items()})
    start = weights(exact)
    reference, kept = make_optimizer(exact, settings), make_optimizer(half, settings)
    assert isinstance(reference, AdamW)
    assert isinstance(kept, MasterAdamW)
    lost = torch.optim.AdamW(plain.parameters(), lr=5e-7, weight_decay=0.0)
    for module, optimizer in ((exact, reference), (half, kept), (plain, lost)):
        train(module, optimizer, 100)
    moved = (weights(exact) - start).abs()
    copies = torch.cat([part.detach().flatten() for group in kept.copies for part in group])
    order = torch.cat(
        [p.detach().float().flatten() for g in kept.param_groups for p in g["params"]]
    )
    assert torch.equal(order, copies.bfloat16().float())  # the model holds the rounded copies
    by_group = torch.cat(
        [p.detach().flatten() for g in reference.param_groups for p in g["params"]]
    )
    assert (copies - by_group).abs().mean() < 0.2 * moved.mean()
    matrix = slice(0, 64 * 64)  # biases start at 0, where bfloat16 is fine enough
    assert (weights(plain) - start)[matrix].abs().sum() < 0.1 * moved[matrix].sum()


def test_copies_survive_a_checkpoint(tmp_path: Path) -> None:
    settings = TrainingSettings(learning_rate=1e-4, weight_decay=0.1)
    one = net(torch.bfloat16)
    optimizer = make_optimizer(one, settings)
    train(one, optimizer, 5)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    two = copy.deepcopy(one)
    other = make_optimizer(two, settings)
    other.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    for module, each in ((one, optimizer), (two, other)):
        train(module, each, 5, seed=1)
    assert torch.equal(weights(one), weights(two))


def test_gradients_of_bfloat16_weights_add_up_in_float32() -> None:
    """1000 parts, each far below the spacing of their sum: against a sum in float64."""
    rng = torch.Generator().manual_seed(0)
    parts = torch.rand((1000, 64), generator=rng).bfloat16()
    exact = parts.double().sum(0)
    errors = {}
    for dtype in ("float32", "bfloat16"):
        module = torch.nn.Linear(64, 1, bias=False).bfloat16()
        settings = PreferenceSettings(weight_dtype="bfloat16", gradient_dtype=dtype)
        optimizer = make_optimizer(module, settings)
        assert isinstance(optimizer, MasterAdamW)
        assert optimizer.float32_gradients is (dtype == "float32")
        for part in parts:
            module(part).sum().backward()
        assert module.weight.grad is not None
        errors[dtype] = ((module.weight.grad[0].double() - exact) / exact).abs().max().item()
    assert errors["float32"] < 1e-6
    assert errors["bfloat16"] > 0.1


def test_norms_and_biases_do_not_decay() -> None:
    optimizer = make_optimizer(net(torch.float32), TrainingSettings(weight_decay=0.3))
    found = {tuple(p.shape): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert found == {(64, 64): 0.3, (64,): 0.0}


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [{}, {"warmup_steps": 7}, {"warmup_ratio": 0.21}])
def test_rates_are_transformers(kind: Any, warmup: dict[str, Any]) -> None:
    settings = TrainingSettings(learning_rate=3e-4, lr_scheduler=kind, **warmup)
    n_steps, steps = 30, warmup.get("warmup_steps", 7 if warmup else 0)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    name = "constant_with_warmup" if kind == "constant" else kind
    scheduler = get_scheduler(name, optimizer, steps, n_steps)
    for step in range(n_steps):
        expected = scheduler.get_last_lr()[0]
        assert learning_rate(settings, step, n_steps) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        scheduler.step()


class Stop(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "more",
    [{}, {"gradient_dtype": "bfloat16"}, {"lora_rank": 4, "learning_rate": 1e-2}],
    ids=["copies", "bfloat16-gradients", "adapter"],
)
def test_bfloat16_weights_learn_and_resume(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, more: dict[str, Any]
) -> None:
    """An adapter is in float32, and so is what it's added to at the end."""
    settings = PreferenceSettings(
        **{
            "batch_size": 4, "learning_rate": 1e-3, "epochs": 3, "checkpoint_every": 2,
            "weight_dtype": "bfloat16", "dtype": "bfloat16", "token_budget": 40, **more,
        }
    )  # fmt: skip
    summary = train_preference(model_folder, random_pairs(8), tmp_path / "a", settings)
    assert summary.curve["margin"][-1].as_py() > 0.5
    published = "bfloat16"
    if settings.lora_rank is not None:
        published = "float32"
        adapter = load_file(tmp_path / "a" / "adapter" / "adapter_model.safetensors")
        assert {part.dtype for part in adapter.values()} == {torch.float32}
    assert read_json(tmp_path / "a" / "config.json")["dtype"] == published
    with pytest.raises(KeyboardInterrupt):
        train_preference(
            model_folder, random_pairs(8), tmp_path / "b", settings, callbacks=[Stop()]
        )
    train_preference(model_folder, random_pairs(8), tmp_path / "b", settings)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
