"""Preference training against trl's DPOTrainer: four steps, the same pairs in the same order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from statllm.training import PreferenceSettings, TrainingSummary, train_preference

Load = Callable[[Path], Any]
RATE = 1e-4  # Adam turns rounding of a vanishing gradient into as much as a step of this size


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture
def trl(
    tmp_path: Path, text_pairs: pa.Table, train_trl: Callable[..., Any]
) -> Callable[..., tuple[Any, Any]]:
    """Train a folder with trl on the pairs in the order of our first epoch, batches of 4."""
    order = np.random.default_rng([0, 0]).permutation(text_pairs.num_rows)
    rows = text_pairs.take(order).select(["prompt", "chosen", "rejected"])

    def train(folder: Path, micro: int = 4, **config: Any) -> tuple[Any, Any]:
        same = {"train_sampling_strategy": "sequential", "logging_steps": 1, **config}
        result: tuple[Any, Any] = train_trl(folder, tmp_path / "trl", rows, micro, 4, **same)
        return result

    return train


@pytest.fixture
def ours(tmp_path: Path, text_pairs: pa.Table) -> Callable[..., TrainingSummary]:
    """Train a folder with the same batches and rate."""

    def train(folder: Path, **settings: Any) -> TrainingSummary:
        same = PreferenceSettings(**{"batch_size": 4, "learning_rate": RATE, **settings})
        return train_preference(folder, text_pairs, tmp_path / "out", same, progress=False)

    return train


@pytest.fixture
def same(load: Load) -> Callable[..., None]:
    """Check a trained folder's weights, and that the training moved them."""

    def check(start: Path, found: Path, expected: Any, tolerance: float = 1e-6) -> None:
        one, two = flat(load(found)), flat(expected)
        assert (one - flat(load(start))).abs().max() > RATE
        assert (one - two).abs().max() <= tolerance

    return check


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precompute", [True, False])
def test_dpo(
    model_folder: Path,
    trl: Callable[..., Any],
    ours: Callable[..., TrainingSummary],
    same: Callable[..., None],
    precompute: bool,
    checkpointing: bool,
) -> None:
    trainer, expected = trl(
        model_folder,
        micro=2,
        precompute_ref_log_probs=precompute,
        gradient_checkpointing=checkpointing,
    )
    found = ours(
        model_folder, precompute_reference=precompute, gradient_checkpointing=checkpointing
    )
    same(model_folder, found.model, expected)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert np.allclose(found.curve["loss"].to_numpy(), losses, atol=1e-4)


KINDS: dict[str, dict[str, Any]] = {
    "Granite": {"attention_multiplier": 0.2, "embedding_multiplier": 3.0, "logits_scaling": 4.0},
    "Llama": {"num_key_value_heads": 1},
    "Mistral": {"sliding_window": None, "num_key_value_heads": 1},
    "Olmo2": {},
    "Phi3": {},
    "Qwen2": {"num_key_value_heads": 1},
    "Qwen3": {"head_dim": 24, "num_key_value_heads": 1},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_dpo_of_other_architectures(
    kind: str,
    tmp_path: Path,
    make_model: Callable[..., Path],
    trl: Callable[..., Any],
    ours: Callable[..., TrainingSummary],
    same: Callable[..., None],
) -> None:
    start = make_model(tmp_path / "start", kind=kind, **KINDS[kind])
    _, expected = trl(start)
    found = ours(start, token_budget=100)
    same(start, found.model, expected, 2e-6)


def test_irpo_is_the_sft_mix_at_micro_batches_of_one(
    model_folder: Path,
    trl: Callable[..., Any],
    ours: Callable[..., TrainingSummary],
    same: Callable[..., None],
) -> None:
    """There the mean over the tokens of the micro-batch is the mean per sequence."""
    _, expected = trl(model_folder, micro=1, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.7])
    same(model_folder, ours(model_folder, loss="irpo", alpha=0.7).model, expected)


@pytest.mark.parametrize("loss", ["hinge", "robust", "ipo"])
def test_other_losses(
    model_folder: Path,
    trl: Callable[..., Any],
    ours: Callable[..., TrainingSummary],
    same: Callable[..., None],
    loss: str,
) -> None:
    config = {"label_smoothing": 0.2} if loss == "robust" else {}
    _, expected = trl(model_folder, loss_type=[loss], **config)
    found = ours(model_folder, loss=loss, label_noise=0.2, ipo_norm="token")
    same(model_folder, found.model, expected, 2e-6)


@pytest.mark.parametrize("precompute", [True, False])
def test_an_adapter(
    model_folder: Path,
    load: Load,
    trl: Callable[..., Any],
    ours: Callable[..., TrainingSummary],
    precompute: bool,
) -> None:
    """The merged weights after four steps, and the adapter that lies beside them."""
    pytest.importorskip("peft")
    from peft import LoraConfig, PeftModel

    rank = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    torch.manual_seed(0)  # of A, as ours draws it
    _, trained = trl(
        model_folder,
        learning_rate=1e-2,
        peft_config=LoraConfig(**rank, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"),
    )
    out = ours(
        model_folder,
        learning_rate=1e-2,
        lora_rank=4,
        lora_alpha=8,
        lora_targets=("q_proj", "down_proj"),
        precompute_reference=precompute,
    ).model
    found = load(out)
    beside = PeftModel.from_pretrained(load(model_folder), str(out / "adapter"))
    assert (flat(beside.merge_and_unload()) - flat(found)).abs().max() <= 1e-6
    moved = (flat(found) - flat(load(model_folder))).abs()
    assert moved.max() > 1e-3
    weights = dict(found.named_parameters())
    for name, part in load(model_folder).named_parameters():
        if "q_proj" not in name and "down_proj" not in name:
            assert torch.equal(weights[name], part)
    expected = flat(trained.merge_and_unload())
    assert (flat(found) - expected).norm() <= 1e-3 * (expected - flat(load(model_folder))).norm()
