"""Preference training against plain torch, against trl, and against its own symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer, TrainerCallback

from statllm.errors import InputError
from statllm.training import PreferenceSettings, train_preference
from statllm.training.preference import preference_trainer
from statllm.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
MakeTable = Callable[..., pa.Table]
Load = Callable[[Path], Any]
LAYOUTS = ("shared", "packed", "padded")


class Gradients(TrainerCallback):
    """Gradients at every optimizer step."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        self.steps.append(torch.cat(grads).clone())


@pytest.fixture
def trainer(model_folder: Path, load: Load, tmp_path: Path) -> MakeTrainer:
    number = iter(range(100))

    def make(rows: pa.Table, reference: Path | None = None, **settings: Any) -> Trainer:
        callbacks = settings.pop("callbacks", ())
        same = settings.pop("starts_at_reference", True)
        defaults = {"learning_rate": 1e-3, "max_grad_norm": 0.0, "batch_size": 4}
        return preference_trainer(
            load(model_folder),
            rows,
            PreferenceSettings(**{**defaults, **settings}),
            tmp_path / str(next(number)),
            reference=None if reference is None else load(reference),
            starts_at_reference=same,
            callbacks=callbacks,
        )

    return make


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


# ---- gradients ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("loss", ["ipo", "hinge", "robust", "cdpo", "simpo"])
def test_other_losses_learn(trainer: MakeTrainer, random_rows: MakeTable, loss: str) -> None:
    made = trainer(random_rows(8), loss=loss, batch_size=8, learning_rate=3e-3, epochs=10)
    made.train()
    first, last = made.history[0], made.history[-1]
    assert last["loss"] < first["loss"]
    assert last["margin"] > first["margin"]
    expected = {"ipo": 25.0, "hinge": 1.0, "robust": math.log(2), "cdpo": math.log(2)}
    if loss != "simpo":  # at the reference the margin is 0
        assert first["loss"] == pytest.approx(expected[loss], rel=1e-4)


# ---- trl as oracle ------------------------------------------------------------------------------

RATE = 1e-4  # Adam turns rounding of a vanishing gradient into as much as a step of this size
TEXTS = ["prompt", "chosen", "rejected"]


@pytest.fixture
def in_our_order(text_pairs: pa.Table) -> pa.Table:
    """The pairs in the order of our first epoch, for trl to take one after the other."""
    order = np.random.default_rng([0, 0]).permutation(text_pairs.num_rows)
    return text_pairs.take(order)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precompute", [True, False])
def test_dpo_is_trls_after_four_steps(
    model_folder: Path,
    tmp_path: Path,
    load: Load,
    text_pairs: pa.Table,
    in_our_order: pa.Table,
    train_trl: Callable[..., Any],
    precompute: bool,
    checkpointing: bool,
) -> None:
    trl, expected = train_trl(
        model_folder,
        tmp_path / "trl",
        in_our_order.select(TEXTS),
        2,
        4,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=precompute,
        gradient_checkpointing=checkpointing,
        logging_steps=1,
    )
    settings = PreferenceSettings(
        loss="dpo",
        batch_size=4,
        learning_rate=RATE,
        precompute_reference=precompute,
        gradient_checkpointing=checkpointing,
    )
    summary = train_preference(model_folder, text_pairs, tmp_path / "out", settings)
    one, two = flat(load(tmp_path / "out")), flat(expected)
    assert (one - flat(load(model_folder))).abs().max() > 1e-4
    assert (one - two).abs().max() <= 1e-6
    losses = [row["loss"] for row in trl.state.log_history if "loss" in row]
    assert np.allclose(summary.curve["loss"].to_numpy(), losses, atol=1e-4)


def test_irpo_is_trls_sft_mix_at_micro_batches_of_one(
    model_folder: Path,
    tmp_path: Path,
    load: Load,
    text_pairs: pa.Table,
    in_our_order: pa.Table,
    train_trl: Callable[..., Any],
) -> None:
    """There the mean over the tokens of the micro-batch is the mean per sequence."""
    _, expected = train_trl(
        model_folder,
        tmp_path / "trl",
        in_our_order.select(TEXTS),
        1,
        4,
        train_sampling_strategy="sequential",
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 0.7],
    )
    settings = PreferenceSettings(loss="irpo", alpha=0.7, batch_size=4, learning_rate=RATE)
    train_preference(model_folder, text_pairs, tmp_path / "out", settings)
    assert (flat(load(tmp_path / "out")) - flat(expected)).abs().max() <= 1e-6


@pytest.mark.parametrize("loss", ["hinge", "robust", "ipo"])
def test_other_losses_are_trls(
    model_folder: Path,
    tmp_path: Path,
    load: Load,
    text_pairs: pa.Table,
    in_our_order: pa.Table,
    train_trl: Callable[..., Any],
    loss: str,
) -> None:
    config = {"label_smoothing": 0.2} if loss == "robust" else {}
    _, expected = train_trl(
        model_folder,
        tmp_path / "trl",
        in_our_order.select(TEXTS),
        4,
        4,
        train_sampling_strategy="sequential",
        loss_type=[loss],
        **config,
    )
    settings = PreferenceSettings(
        loss=loss, label_noise=0.2, ipo_norm="token", batch_size=4, learning_rate=RATE
    )
    train_preference(model_folder, text_pairs, tmp_path / "out", settings)
    assert (flat(load(tmp_path / "out")) - flat(expected)).abs().max() <= 2e-6


@pytest.mark.parametrize("precompute", [True, False])
def test_an_adapter_is_trls(
    model_folder: Path,
    tmp_path: Path,
    load: Load,
    text_pairs: pa.Table,
    in_our_order: pa.Table,
    train_trl: Callable[..., Any],
    precompute: bool,
) -> None:
    """The merged weights after four steps, and the adapter that lies beside them."""
    pytest.importorskip("peft")
    from peft import LoraConfig, PeftModel

    rank = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    torch.manual_seed(0)  # of A, as ours draws it
    _, trained = train_trl(
        model_folder,
        tmp_path / "trl",
        in_our_order.select(TEXTS),
        4,
        4,
        train_sampling_strategy="sequential",
        learning_rate=1e-2,
        peft_config=LoraConfig(**rank, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"),
    )
    settings = PreferenceSettings(
        batch_size=4,
        learning_rate=1e-2,
        lora_rank=4,
        lora_alpha=8,
        lora_targets=("q_proj", "down_proj"),
        precompute_reference=precompute,
    )
    train_preference(model_folder, text_pairs, tmp_path / "out", settings)
    found = load(tmp_path / "out")
    beside = PeftModel.from_pretrained(load(model_folder), str(tmp_path / "out" / "adapter"))
    assert (flat(beside.merge_and_unload()) - flat(found)).abs().max() <= 1e-6
    moved = (flat(found) - flat(load(model_folder))).abs()
    assert moved.max() > 1e-3
    ours = dict(found.named_parameters())
    for name, part in load(model_folder).named_parameters():
        if "q_proj" not in name and "down_proj" not in name:
            assert torch.equal(ours[name], part)
    expected = flat(trained.merge_and_unload())
    assert (flat(found) - expected).norm() <= 1e-3 * (expected - flat(load(model_folder))).norm()


# ---- checks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("precompute", [True, False])
def test_wrong_reference_is_found_at_step_0(
    trainer: MakeTrainer, other_model_folder: Path, random_rows: MakeTable, precompute: bool
) -> None:
    made = trainer(random_rows(4), reference=other_model_folder, precompute_reference=precompute)
    with pytest.raises(RuntimeError, match=r"at step 0 the DPO loss is .* instead of ln 2"):
        made.train()


def test_attention_dropout_is_off(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, make_model: Callable[..., Path]
) -> None:
    leaky = make_model(tmp_path / "leaky", attention_dropout=0.3)
    for layout in LAYOUTS:
        settings = PreferenceSettings(batch_size=4, max_steps=1, layout=layout)
        summary = train_preference(leaky, random_pairs(4), tmp_path / "out", settings)
        assert summary.curve["loss_dpo"][0].as_py() == pytest.approx(math.log(2), abs=1e-5)


def test_a_loss_that_is_not_a_number_ends_the_run(
    trainer: MakeTrainer, random_rows: MakeTable
) -> None:
    made = trainer(random_rows(8), learning_rate=1e20, epochs=3, logging_steps=1)
    with pytest.raises(RuntimeError, match=r"the loss is (nan|inf) at step \d"):
        made.train()
    assert not list(made.folder.glob("step_*"))


def test_curve_shows_the_whole_optimizer_batch(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    pairs = random_pairs(11)
    curves = []
    for budget in (8192, 1):
        settings = PreferenceSettings(
            loss="scpo", batch_size=8, token_budget=budget, learning_rate=1e-3, epochs=2
        )
        path = tmp_path / f"{budget}.parquet"
        summary = train_preference(model_folder, pairs, tmp_path / "out", settings, curve=path)
        curves.append(summary.curve.to_pandas())
        assert summary.speed is not None
        assert summary.speed.tokens > 0
    eight, one = curves
    assert one["n_rows"].tolist() == [8, 3, 8, 3]
    assert one["epoch"].tolist() == [8 / 11, 1.0, 19 / 11, 2.0]
    assert np.allclose(one, eight, rtol=1e-4, atol=1e-4)
    first = one.iloc[0]
    assert first["loss_dpo"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert abs(first["weight"] - pairs["weight"].to_numpy().mean()) < 0.3
    # the weight multiplies each pair's loss, so the loss isn't weight times mean loss
    assert (one["learning_rate"].diff().dropna() < 0).all()
    assert (one["reward_chosen"] - one["reward_rejected"]).to_numpy() == pytest.approx(
        0.1 * one["margin"].to_numpy(), abs=1e-6
    )
    assert pq.read_table(tmp_path / "1.parquet").column_names == summary.curve.column_names


def test_training_prefers_chosen(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    settings = PreferenceSettings(batch_size=8, learning_rate=3e-3, epochs=8)
    curve = train_preference(model_folder, random_pairs(16), tmp_path / "out", settings).curve
    assert curve["accuracy"][-1].as_py() == 1.0
    assert curve["margin"][-1].as_py() > 5


def test_bfloat16_keeps_weights_in_float32(
    model_folder: Path, tmp_path: Path, load: Load, random_pairs: MakeTable
) -> None:
    settings = PreferenceSettings(batch_size=8, dtype="bfloat16", learning_rate=1e-6, max_steps=2)
    train_preference(model_folder, random_pairs(8), tmp_path / "out", settings)
    trained, start = flat(load(tmp_path / "out")), flat(load(model_folder))
    # steps of 1e-6 would vanish in bfloat16's 8 bits
    assert ((trained - start) != 0).double().mean() > 0.2


def test_the_reference_lies_beside_the_pairs(
    model_folder: Path, other_model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    """Keyed by pairs and model: another run finds it, another model makes its own."""
    pairs = tmp_path / "pairs" / "pairs.parquet"
    pairs.parent.mkdir()
    pq.write_table(random_pairs(6), pairs)

    def files() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in pairs.parent.glob("reference-*")}

    settings = PreferenceSettings(batch_size=4)
    train_preference(model_folder, pairs, tmp_path / "a", settings)
    first = files()
    assert len(first) == 1
    again = PreferenceSettings(batch_size=4, loss="scpo", learning_rate=1e-4, token_budget=64)
    train_preference(model_folder, pairs, tmp_path / "b", again)
    assert files() == first
    train_preference(other_model_folder, pairs, tmp_path / "c", settings)
    assert len(files()) == 2
    name = next(iter(first))
    table = pq.read_table(pairs.parent / name)
    pq.write_table(table.slice(0, 3), pairs.parent / name)
    with pytest.raises(InputError, match="has 3 rows, the pairs have 6"):
        train_preference(model_folder, pairs, tmp_path / "d", settings)


def test_models_that_cannot_share(
    model_folder: Path,
    tmp_path: Path,
    random_pairs: MakeTable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A window is refused by name, and run padded by default."""
    from transformers import MistralConfig, MistralForCausalLM

    folder = tmp_path / "window"
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(folder)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=4, eos_token_id=1,
        max_position_embeddings=64,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    for layout in ("shared", "packed"):
        settings = PreferenceSettings(batch_size=4, layout=layout)
        with pytest.raises(InputError, match=f"layout {layout}: .*sliding window of 4 tokens"):
            train_preference(folder, random_pairs(4), tmp_path / "out", settings)
    settings = PreferenceSettings(batch_size=4)
    capsys.readouterr()
    summary = train_preference(folder, random_pairs(4), tmp_path / "out", settings)
    said = " ".join(capsys.readouterr().err.split())
    assert "rows are padded and prompts computed for each response: its attention has" in said
    assert summary.curve["loss_dpo"][0].as_py() == pytest.approx(math.log(2), abs=1e-5)
