"""Gradients of preference training: against plain torch, and against their own symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import TrainerCallback

from statllm.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
MakeTable = Callable[..., pa.Table]
LAYOUTS = ("shared", "packed", "padded")


class Gradients(TrainerCallback):
    """Gradients at every optimizer step."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        self.steps.append(torch.cat(grads).clone())


@pytest.fixture
def first_gradient(trainer: MakeTrainer) -> Callable[..., torch.Tensor]:
    def first(rows: pa.Table, **settings: Any) -> torch.Tensor:
        seen = Gradients()
        trainer(rows, max_steps=1, callbacks=[seen], **settings).train()
        return seen.steps[0]

    return first


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def close(left: torch.Tensor, right: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return bool((left - right).norm() <= tolerance * right.norm())


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("budget", [1, 60, 8192])
def test_gradient_is_that_of_plain_torch(
    first_gradient: Callable[..., torch.Tensor],
    model_folder: Path,
    random_rows: MakeTable,
    plain_gradient: Callable[..., torch.Tensor],
    layout: str,
    precompute: bool,
    budget: int,
) -> None:
    rows = random_rows(6)
    found = first_gradient(
        rows,
        loss="scpo",
        beta=0.5,
        batch_size=6,
        token_budget=budget,
        layout=layout,
        precompute_reference=precompute,
    )
    assert close(found, plain_gradient(model_folder, rows.to_pylist(), 0.5, 1.0, model_folder))


@pytest.mark.parametrize("precompute", [True, False])
def test_gradient_with_another_reference(
    first_gradient: Callable[..., torch.Tensor],
    model_folder: Path,
    other_model_folder: Path,
    random_rows: MakeTable,
    plain_gradient: Callable[..., torch.Tensor],
    precompute: bool,
) -> None:
    rows = random_rows(4)
    found = first_gradient(
        rows,
        reference=other_model_folder,
        starts_at_reference=False,
        loss="irpo",
        use_weights=True,
        precompute_reference=precompute,
    )
    expected = plain_gradient(model_folder, rows.to_pylist(), 0.1, 1.0, other_model_folder)
    assert close(found, expected)


def test_short_last_batch_is_a_mean_over_its_own_pairs(
    trainer: MakeTrainer,
    model_folder: Path,
    random_rows: MakeTable,
    plain_gradient: Callable[..., torch.Tensor],
) -> None:
    # 11 pairs: steps of 8 and 3. With a vanishing rate the model stays where it is, so every
    # gradient can be computed at the start.
    rows = random_rows(11)
    for budget in (1, 8192):
        seen = Gradients()
        made = trainer(
            rows,
            loss="scpo",
            batch_size=8,
            token_budget=budget,
            learning_rate=1e-30,
            callbacks=[seen],
        )
        batches = [made.batch(step).tolist() for step in range(2)]
        assert sorted(batches[0] + batches[1]) == list(range(11))
        made.train()
        for gradient, batch in zip(seen.steps, batches, strict=True):
            used = rows.take(batch).to_pylist()
            expected = plain_gradient(model_folder, used, 0.1, 1.0, model_folder)
            assert close(gradient, expected)


def test_budget_and_layout_do_not_change_the_result(
    trainer: MakeTrainer, random_rows: MakeTable
) -> None:
    rows = random_rows(19)  # 8 + 8 + 3
    trained = []
    for budget, layout in ((8192, "shared"), (60, "shared"), (1, "packed"), (200, "padded")):
        made = trainer(
            rows, loss="scpo", batch_size=8, token_budget=budget, layout=layout, epochs=2
        )
        start = flat(made.model)
        made.train()
        trained.append(flat(made.model))
    assert (trained[0] - start).abs().max() > 1e-3
    for other in trained[1:]:
        assert (trained[0] - other).abs().max() <= 2e-6


def test_zero_weight_pair_has_no_gradient(
    first_gradient: Callable[..., torch.Tensor], random_rows: MakeTable
) -> None:
    rows = random_rows(4)
    weight = rows["weight"].to_numpy().copy()
    weight[2] = 0.0
    other = random_rows(4, seed=9)
    zeroed = rows.set_column(3, "weight", pa.array(weight))
    swapped = zeroed
    for i, name in enumerate(("prompt_ids", "chosen_ids", "rejected_ids")):
        values = rows[name].to_pylist()
        values[2] = other[name].to_pylist()[2]
        swapped = swapped.set_column(i, name, pa.array(values, pa.list_(pa.int32())))
    assert close(first_gradient(zeroed, loss="scpo"), first_gradient(swapped, loss="scpo"))
    assert not first_gradient(zeroed.slice(2, 1), loss="scpo", batch_size=1).any()


def test_weights_scale_gradients(
    first_gradient: Callable[..., torch.Tensor], random_rows: MakeTable
) -> None:
    rows = random_rows(4)
    tripled = rows.set_column(3, "weight", pa.array(3 * rows["weight"].to_numpy()))
    one = first_gradient(rows, loss="scpo")
    assert close(first_gradient(tripled, loss="scpo"), 3 * one)
    assert close(first_gradient(tripled, loss="irpo"), first_gradient(rows, loss="irpo"))


def test_order_of_pairs_does_not_matter(
    first_gradient: Callable[..., torch.Tensor], random_rows: MakeTable
) -> None:
    rows = random_rows(6)
    shuffled = rows.take(np.random.default_rng(3).permutation(6))
    one = first_gradient(rows, loss="scpo", batch_size=6)
    assert close(first_gradient(shuffled, loss="scpo", batch_size=6), one)


def test_swapping_chosen_and_rejected_flips_the_gradient(
    first_gradient: Callable[..., torch.Tensor], random_rows: MakeTable
) -> None:
    # At the reference the sigmoid is 1/2 on both sides, so the gradients are opposite.
    rows = random_rows(4)
    swapped = rows.rename_columns(["prompt_ids", "rejected_ids", "chosen_ids", "weight"]).select(
        rows.column_names
    )
    assert close(first_gradient(swapped), -first_gradient(rows))


def test_token_norm_is_over_the_optimizer_batch(
    first_gradient: Callable[..., torch.Tensor], random_rows: MakeTable
) -> None:
    """Σ NLL / Σ tokens, whatever the budget: each pair's per-token NLL times its share."""
    rows = random_rows(4)
    tokens = np.array([len(ids) for ids in rows["chosen_ids"].to_pylist()])
    ones = rows.set_column(3, "weight", pa.array(np.ones(4)))
    dpo = first_gradient(ones, loss="dpo")
    found = first_gradient(ones, loss="irpo", nll_norm="token", token_budget=1) - dpo
    by_share = rows.set_column(3, "weight", pa.array(tokens / tokens.mean()))
    both = first_gradient(by_share, loss="scpo")
    only_dpo = first_gradient(by_share, loss="dpo", use_weights=True)
    assert close(found, both - only_dpo, 1e-4)
    per_sequence = first_gradient(ones, loss="irpo") - dpo
    assert not close(found, per_sequence, 1e-2)


def test_gradient_checkpointing_changes_nothing(
    first_gradient: Callable[..., torch.Tensor], random_rows: MakeTable
) -> None:
    rows = random_rows(4)
    one = first_gradient(rows, loss="scpo")
    for layout in LAYOUTS:
        two = first_gradient(rows, loss="scpo", gradient_checkpointing=True, layout=layout)
        assert close(two, one)


@pytest.mark.parametrize("loss", ["ipo", "hinge", "robust", "cdpo", "rdpo", "simpo", "pm"])
def test_other_losses_learn(trainer: MakeTrainer, random_rows: MakeTable, loss: str) -> None:
    made = trainer(random_rows(8), loss=loss, batch_size=8, learning_rate=3e-3, epochs=10)
    made.train()
    first, last = made.history[0], made.history[-1]
    assert last["loss"] < first["loss"]
    assert last["margin"] > first["margin"]
    expected = {"ipo": 25.0, "hinge": 1.0, "robust": math.log(2), "cdpo": math.log(2)}
    if loss not in ("rdpo", "simpo", "pm"):  # at the reference the margin is 0
        assert first["loss"] == pytest.approx(expected[loss], rel=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_preference_matching_has_the_gradient_of_plain_torch(
    first_gradient: Callable[..., torch.Tensor],
    random_rows: MakeTable,
    model_folder: Path,
    load: Callable[[Path], Any],
    layout: str,
) -> None:
    """Rows one by one, without padding or packing: no reference, no weights, no beta."""
    rows, model = random_rows(4), load(model_folder)
    total = torch.zeros(())
    for row in rows.to_pylist():
        logps = []
        for side in ("chosen_ids", "rejected_ids"):
            ids = torch.tensor([[*row["prompt_ids"], *row[side]]])
            laws = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            own = laws.gather(1, ids[0, 1:, None])[:, 0]
            logps.append(own[len(row["prompt_ids"]) - 1 :].sum())
        total = total + torch.nn.functional.softplus(-0.7 * (logps[0] - logps[1])) / 4
    total.backward()
    expected = torch.cat([part.grad.flatten() for part in model.parameters()])
    found = first_gradient(rows, loss="pm", entropy=0.7, beta=5.0, batch_size=4, layout=layout)
    assert close(found, expected)
