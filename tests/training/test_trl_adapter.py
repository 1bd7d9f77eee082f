"""Our losses inside of trl's DPOTrainer: against plain torch, and trl itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer, TrainerCallback

from statllm.errors import InputError
from statllm.training import PreferenceSettings
from statllm.training.data import Limits, to_rows
from statllm.training.trl_adapter import WeightedDPOTrainer

MakeTrainer = Callable[..., WeightedDPOTrainer]
MakeTable = Callable[..., pa.Table]
Load = Callable[[Path], Any]


@pytest.fixture
def trainer(model_folder: Path, load: Load, tmp_path: Path) -> MakeTrainer:
    """Build a trainer; nothing is saved between steps."""
    number = iter(range(100))

    def make(
        rows: pa.Table, micro: int | None = None, reference: Path | None = None, **settings: Any
    ) -> WeightedDPOTrainer:
        defaults = {"learning_rate": 1e-3, "checkpoint_every": None, "max_grad_norm": 0.0}
        callbacks = settings.pop("callbacks", ())
        return WeightedDPOTrainer(
            load(model_folder),
            rows,
            PreferenceSettings(**{**defaults, **settings}),
            AutoTokenizer.from_pretrained(model_folder),
            tmp_path / str(next(number)),
            micro_batch_size=micro,
            ref_model=None if reference is None else load(reference),
            callbacks=callbacks,
        )

    return make


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Gradient(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        self.steps.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("fused", [False, True])
def test_gradient_is_that_of_plain_torch(
    trainer: MakeTrainer,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    precompute: bool,
    fused: bool,
    random_rows: MakeTable,
    plain_gradient: Callable[..., torch.Tensor],
) -> None:
    if fused:  # the path of GPUs, which trl's kernel also has on a CPU
        monkeypatch.setattr("statllm.training.logprobs.plain_head", lambda config: False)
    rows, seen = random_rows(6), Gradient()
    made = trainer(
        rows,
        micro=2,
        loss="scpo",
        beta=0.5,
        batch_size=6,
        max_steps=1,
        precompute_reference=precompute,
        callbacks=[seen],
    )
    made.train()
    expected = plain_gradient(model_folder, rows.to_pylist(), 0.5, 1.0, model_folder)
    assert (seen.steps[0] - expected).norm() <= 1e-5 * expected.norm()


def test_micro_batches_do_not_change_the_result(
    trainer: MakeTrainer, random_rows: MakeTable
) -> None:
    rows = random_rows(19)  # 8 + 8 + 3
    trained = []
    for micro in (8, 2, 1):
        made = trainer(rows, micro=micro, loss="scpo", batch_size=8, epochs=2)
        start = flat(made.model)
        made.train()
        trained.append(flat(made.model))
    assert (trained[0] - start).abs().max() > 1e-3
    for other in trained[1:]:
        assert (trained[0] - other).abs().max() <= 1e-6


@pytest.mark.parametrize("fused", [True, False])
def test_dpo_is_trls_after_four_steps(
    trainer: MakeTrainer,
    model_folder: Path,
    tmp_path: Path,
    text_pairs: pa.Table,
    train_trl: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    fused: bool,
) -> None:
    """To the last bit where the head is trl's; its tokens, too."""
    if fused:
        monkeypatch.setattr("statllm.training.logprobs.plain_head", lambda config: False)
    texts = text_pairs.select(["prompt", "chosen", "rejected"])
    trl, expected = train_trl(model_folder, tmp_path / "trl", texts, 4, 4)
    limits = Limits(eos_ids={1}, vocab_size=320, max_length=64, must_end=())
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = to_rows(text_pairs, ["chosen", "rejected"], tokenizer, limits).table
    for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert rows[name].to_pylist() == list(trl.train_dataset[name])
    made = trainer(
        rows,
        batch_size=4,
        max_steps=4,
        learning_rate=1e-4,
        max_grad_norm=1.0,
        precompute_reference=False,
    )
    start = flat(made.model)
    made.train()
    one, two = flat(made.model), flat(expected)
    assert (one - start).abs().max() > 1e-4
    if fused:
        assert torch.equal(one, two)
    else:
        assert (one - two).abs().max() <= 1e-6


def test_negative_control_trl_drops_weights_silently(
    model_folder: Path, tmp_path: Path, text_pairs: pa.Table, train_trl: Callable[..., Any]
) -> None:
    rows = text_pairs.select(["prompt", "chosen", "rejected"])
    weighted = rows.append_column("weight", pa.array(np.linspace(0, 5, rows.num_rows)))
    with_weights = train_trl(model_folder, tmp_path / "a", weighted, 4, 4)[1]
    without = train_trl(model_folder, tmp_path / "b", rows, 4, 4)[1]
    assert torch.equal(flat(with_weights), flat(without))


@pytest.mark.parametrize("precompute", [True, False])
def test_wrong_reference_is_found_at_step_0(
    trainer: MakeTrainer, other_model_folder: Path, random_rows: MakeTable, precompute: bool
) -> None:
    made = trainer(
        random_rows(4),
        reference=other_model_folder,
        batch_size=4,
        precompute_reference=precompute,
    )
    with pytest.raises(RuntimeError, match=r"at step 0 the DPO loss is .* instead of ln 2"):
        made.train()


def test_rows_with_other_columns_are_refused(trainer: MakeTrainer, random_rows: MakeTable) -> None:
    rows = random_rows(4).append_column("score", pa.array([1.0] * 4))
    with pytest.raises(InputError, match="rows have columns prompt_ids, .*score; .* were expected"):
        trainer(rows)


def test_the_norm_over_a_batch_is_refused(trainer: MakeTrainer, random_rows: MakeTable) -> None:
    with pytest.raises(InputError, match="nll_norm token"):
        trainer(random_rows(4), loss="irpo", nll_norm="token")


@pytest.mark.parametrize(
    "more", [{"lora_rank": 4}, {"weight_dtype": "bfloat16"}, {"keep_best": "loss"}]
)
def test_settings_that_it_would_ignore_are_refused(
    trainer: MakeTrainer, random_rows: MakeTable, more: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"{next(iter(more))} would be ignored here"):
        trainer(random_rows(4), **more)


def test_preference_matching_moves_the_same_way_as_in_our_trainer(
    trainer: MakeTrainer, model_folder: Path, random_rows: MakeTable, load: Load, tmp_path: Path
) -> None:
    from statllm.training.preference import preference_trainer

    rows = random_rows(6)
    made = trainer(rows, micro=2, loss="pm", entropy=0.7, batch_size=6, max_steps=2)
    start = flat(made.model)
    made.train()
    settings = PreferenceSettings(
        loss="pm", entropy=0.7, batch_size=6, max_steps=2, learning_rate=1e-3, max_grad_norm=0.0,
        checkpoint_every=None,
    )  # fmt: skip
    ours = preference_trainer(load(model_folder), rows, settings, tmp_path / "ours")
    ours.train()
    moved, expected = flat(made.model) - start, flat(ours.model) - start
    assert moved.abs().max() > 1e-3
    assert (moved - expected).abs().max() <= 2e-6
