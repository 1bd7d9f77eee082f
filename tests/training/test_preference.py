"""The preference trainer against trl, against plain torch, and against its own symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional

from statllm.errors import InputError
from statllm.training import PreferenceSettings, train_preference
from statllm.training.preference import PreferenceTrainer

MakeTrainer = Callable[..., PreferenceTrainer]
MakeTable = Callable[..., pa.Table]


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def trainer(model_folder: Path, tmp_path: Path) -> MakeTrainer:
    """Build a trainer; nothing is saved between steps."""
    number = iter(range(100))

    def make(rows: pa.Table, reference: Path | None = None, **settings: Any) -> PreferenceTrainer:
        model, tokenizer = load(model_folder)
        folder = tmp_path / str(next(number))
        defaults = {"learning_rate": 1e-3, "checkpoint_every": None, "max_grad_norm": 0.0}
        return PreferenceTrainer(
            model,
            rows,
            PreferenceSettings(**{**defaults, **settings}),
            tokenizer,
            folder,
            ref_model=None if reference is None else load(reference)[0],
        )

    return make


class Recorder:
    """Gradients at every optimizer step, and the rows that each was computed on."""

    def __init__(self, trainer: PreferenceTrainer) -> None:
        from transformers import TrainerCallback

        self.gradients: list[torch.Tensor] = []
        self.batches: list[list[dict[str, torch.Tensor]]] = [[]]
        recorder = self

        class Callback(TrainerCallback):
            def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
                recorder.gradients.append(flat_gradient(model))
                recorder.batches.append([])

        trainer.add_callback(Callback())
        losses = trainer.row_losses

        def recording(model: Any, inputs: Any) -> Any:
            recorder.batches[-1].append({name: value.clone() for name, value in inputs.items()})
            return losses(model, inputs)

        trainer.row_losses = recording  # type: ignore[method-assign]


def flat_gradient(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()]).clone()


def flat_weights(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def first_gradient(trainer: PreferenceTrainer) -> torch.Tensor:
    recorder = Recorder(trainer)
    trainer.args.max_steps = 1
    trainer.train()
    return recorder.gradients[0]


def plain_gradient(
    folder: Path, rows: list[dict[str, Any]], beta: float, alpha: float, reference: Path
) -> torch.Tensor:
    """The step's gradient written out in plain torch: no padding, no batching, no trl."""
    model, ref = load(folder)[0], load(reference)[0]

    def logp(of: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
        ids = torch.tensor([prompt + response])
        logits = of(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        return functional.log_softmax(logits, -1)[range(len(response)), response].sum()

    total = torch.zeros(())
    for row in rows:
        sides = [(row["prompt_ids"], row[name]) for name in ("chosen_ids", "rejected_ids")]
        chosen, rejected = (logp(model, *side) for side in sides)
        with torch.no_grad():
            ref_chosen, ref_rejected = (logp(ref, *side) for side in sides)
        logit = beta * (chosen - ref_chosen - rejected + ref_rejected)
        dpo = torch.log1p(torch.exp(-logit))
        total = total + row["weight"] * (dpo + alpha * -chosen / len(row["chosen_ids"]))
    (total / len(rows)).backward()
    return flat_gradient(model)


def close(left: torch.Tensor, right: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return bool((left - right).norm() <= tolerance * right.norm())


# ---- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("fused", [False, True])
def test_gradient_is_that_of_plain_torch(
    trainer: MakeTrainer,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    precompute: bool,
    fused: bool,
    random_rows: MakeTable,
) -> None:
    if fused:  # the path of GPUs, which trl's kernel also has on a CPU
        monkeypatch.setattr("statllm.training.logprobs.plain_head", lambda config: False)
    rows = random_rows(6)
    made = trainer(
        rows,
        loss="scpo",
        beta=0.5,
        batch_size=6,
        micro_batch_size=2,
        precompute_reference=precompute,
    )
    expected = plain_gradient(model_folder, rows.to_pylist(), 0.5, 1.0, model_folder)
    assert close(first_gradient(made), expected)


def test_gradient_with_another_reference(
    model_folder: Path, other_model_folder: Path, tmp_path: Path, random_rows: MakeTable
) -> None:
    rows = random_rows(4)
    for precompute in (True, False):
        model, tokenizer = load(model_folder)
        made = PreferenceTrainer(
            model,
            rows,
            PreferenceSettings(
                loss="irpo", use_weights=True, batch_size=4, precompute_reference=precompute
            ),
            tokenizer,
            tmp_path / str(precompute),
            ref_model=load(other_model_folder)[0],
            starts_at_reference=False,
        )
        made.args.max_grad_norm = 0.0
        expected = plain_gradient(model_folder, rows.to_pylist(), 0.1, 1.0, other_model_folder)
        assert close(first_gradient(made), expected)


def test_short_last_batch_is_a_mean_over_its_own_pairs(
    trainer: MakeTrainer, model_folder: Path, random_rows: MakeTable
) -> None:
    # 11 pairs: steps of 8 and 3, the latter in micro-batches of 2 and 1. With a vanishing rate
    # the model stays where it is, so every gradient can be computed at the start.
    rows = random_rows(11)
    for micro in (1, 2, 8):
        made = trainer(rows, loss="scpo", batch_size=8, micro_batch_size=micro, learning_rate=1e-30)
        recorder = Recorder(made)
        made.train()
        weights = {round(row["weight"], 6): row for row in rows.to_pylist()}
        for gradient, batches, size in zip(
            recorder.gradients, recorder.batches, (8, 3), strict=False
        ):
            used = [weights[round(w, 6)] for b in batches for w in b["weight"].double().tolist()]
            assert len(used) == size
            assert close(gradient, plain_gradient(model_folder, used, 0.1, 1.0, model_folder))


def test_micro_batches_do_not_change_the_result(
    trainer: MakeTrainer, random_rows: MakeTable
) -> None:
    rows = random_rows(19)  # 8 + 8 + 3
    trained = []
    for micro in (8, 2, 1):
        made = trainer(rows, loss="scpo", batch_size=8, micro_batch_size=micro, epochs=2)
        start = flat_weights(made.model)
        made.train()
        trained.append(flat_weights(made.model))
    assert (trained[0] - start).abs().max() > 1e-3
    for other in trained[1:]:
        assert (trained[0] - other).abs().max() <= 1e-6


def test_zero_weight_pair_has_no_gradient(trainer: MakeTrainer, random_rows: MakeTable) -> None:
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
    one = first_gradient(trainer(zeroed, loss="scpo", batch_size=4))
    two = first_gradient(trainer(swapped, loss="scpo", batch_size=4))
    assert close(one, two)
    alone = zeroed.slice(2, 1)
    assert not first_gradient(trainer(alone, loss="scpo", batch_size=1)).any()


def test_weights_scale_gradients(trainer: MakeTrainer, random_rows: MakeTable) -> None:
    rows = random_rows(4)
    tripled = rows.set_column(3, "weight", pa.array(3 * rows["weight"].to_numpy()))
    one = first_gradient(trainer(rows, loss="scpo", batch_size=4))
    three = first_gradient(trainer(tripled, loss="scpo", batch_size=4))
    assert close(three, 3 * one)
    ignored = first_gradient(trainer(tripled, loss="irpo", batch_size=4))
    assert close(ignored, first_gradient(trainer(rows, loss="irpo", batch_size=4)))


def test_order_of_pairs_does_not_matter(trainer: MakeTrainer, random_rows: MakeTable) -> None:
    rows = random_rows(6)
    shuffled = rows.take(np.random.default_rng(3).permutation(6))
    one = first_gradient(trainer(rows, loss="scpo", batch_size=6))
    assert close(first_gradient(trainer(shuffled, loss="scpo", batch_size=6)), one)


def test_swapping_chosen_and_rejected_flips_the_dpo_gradient(
    trainer: MakeTrainer, random_rows: MakeTable
) -> None:
    # At the reference the sigmoid is 1/2 on both sides, so the gradients are opposite.
    rows = random_rows(4)
    swapped = rows.rename_columns(["prompt_ids", "rejected_ids", "chosen_ids", "weight"]).select(
        rows.column_names
    )
    one = first_gradient(trainer(rows, batch_size=4))
    assert close(first_gradient(trainer(swapped, batch_size=4)), -one)


def test_padding_does_not_matter(trainer: MakeTrainer, random_rows: MakeTable) -> None:
    made = trainer(random_rows(3), batch_size=3)
    batch = made.data_collator([made.train_dataset[i] for i in range(3)])
    wider = dict(batch)
    for name, fill in (("input_ids", 0), ("attention_mask", 0), ("completion_mask", 0)):
        wider[name] = functional.pad(batch[name], (0, 7), value=fill)
    with torch.no_grad():
        for one, two in zip(
            made._logps(made.model, batch), made._logps(made.model, wider), strict=True
        ):
            assert torch.allclose(one, two, atol=1e-4)


# ---- trl as oracle ------------------------------------------------------------------------------

RATE = 1e-4  # Adam turns rounding of a vanishing gradient into as much as a step of this size


def text_pairs() -> pa.Table:
    prompts = ["How many apples does Ann have?", "How many pages?"] * 5
    rng = np.random.default_rng(5)
    answers = [[f" {a} + {b} = {a + b}." for a, b in rng.integers(1, 60, (10, 2))] for _ in "cr"]
    return pa.table(
        {
            "prompt_id": [str(i) for i in range(10)],
            "prompt": prompts,
            "chosen": answers[0],
            "rejected": answers[1],
            "weight": [1.0] * 10,
        }
    )


def train_trl(
    folder: Path, out: Path, rows: pa.Table, micro: int, batch: int, **config: Any
) -> tuple[Any, Any]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = load(folder)
    trl = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(out),
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=batch // micro,
            learning_rate=RATE,
            max_steps=4,
            bf16=False,
            gradient_checkpointing=False,
            max_length=None,
            seed=0,
            data_seed=0,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            **config,
        ),
        train_dataset=Dataset(rows),
        processing_class=tokenizer,
    )
    trl.train()
    return trl, model


@pytest.mark.parametrize("fused", [True, False])
def test_dpo_is_trls_after_four_steps(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool
) -> None:
    if fused:
        monkeypatch.setattr("statllm.training.logprobs.plain_head", lambda config: False)
    table = text_pairs()
    trl, expected = train_trl(
        model_folder, tmp_path / "trl", table.select(["prompt", "chosen", "rejected"]), 4, 4
    )
    settings = PreferenceSettings(
        loss="dpo", batch_size=4, max_steps=4, learning_rate=RATE, precompute_reference=False
    )
    seen = []
    from transformers import TrainerCallback

    class Look(TrainerCallback):
        def on_train_begin(self, *_: Any, train_dataloader: Any, **__: Any) -> None:
            seen.append(train_dataloader.dataset)

    train_preference(model_folder, table, tmp_path / "out", settings, callbacks=[Look()])
    for name in ("prompt_ids", "chosen_ids", "rejected_ids"):  # its tokenizer path, too
        assert list(seen[0][name]) == list(trl.train_dataset[name])
    ours = load(tmp_path / "out")[0]
    one, two = flat_weights(ours), flat_weights(expected)
    assert (one - flat_weights(load(model_folder)[0])).abs().max() > 1e-4
    if fused:
        assert torch.equal(one, two)
    else:
        assert (one - two).abs().max() <= 1e-6


def test_irpo_is_trls_sft_mix_at_micro_batches_of_one(model_folder: Path, tmp_path: Path) -> None:
    # There the mean over the tokens of the micro-batch is the mean per sequence.
    table = text_pairs()
    _, expected = train_trl(
        model_folder,
        tmp_path / "trl",
        table.select(["prompt", "chosen", "rejected"]),
        1,
        4,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 0.7],
    )
    settings = PreferenceSettings(
        loss="irpo", alpha=0.7, batch_size=4, max_steps=4, learning_rate=RATE
    )
    # 10 pairs: trl's steps are 4 + 4 + 2, and it divides the last by its 2 micro-batches
    train_preference(model_folder, table, tmp_path / "out", settings)
    ours = load(tmp_path / "out")[0]
    assert (flat_weights(ours) - flat_weights(expected)).abs().max() <= 1e-6


def test_negative_control_trl_drops_weights_silently(model_folder: Path, tmp_path: Path) -> None:
    rows = text_pairs().select(["prompt", "chosen", "rejected"])
    weighted = rows.append_column("weight", pa.array(np.linspace(0, 5, 10)))
    with_weights = train_trl(model_folder, tmp_path / "a", weighted, 4, 4)[1]
    without = train_trl(model_folder, tmp_path / "b", rows, 4, 4)[1]
    assert torch.equal(flat_weights(with_weights), flat_weights(without))


# ---- checks -------------------------------------------------------------------------------------


def test_wrong_reference_is_found_at_step_0(
    trainer: MakeTrainer, other_model_folder: Path, random_rows: MakeTable
) -> None:
    for precompute in (True, False):
        made = trainer(
            random_rows(4),
            reference=other_model_folder,
            batch_size=4,
            precompute_reference=precompute,
        )
        with pytest.raises(RuntimeError, match=r"at step 0 the DPO loss is .* instead of ln 2"):
            made.train()


def test_attention_dropout_is_off(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, make_model: Callable[..., Path]
) -> None:
    leaky = make_model(tmp_path / "leaky", attention_dropout=0.3)
    settings = PreferenceSettings(batch_size=4, max_steps=1)
    summary = train_preference(leaky, random_pairs(4), tmp_path / "out", settings)
    assert summary.curve["loss_dpo"][0].as_py() == pytest.approx(math.log(2), abs=1e-5)


def test_rows_with_other_columns_are_refused(trainer: MakeTrainer, random_rows: MakeTable) -> None:
    rows = random_rows(4).append_column("score", pa.array([1.0] * 4))
    with pytest.raises(InputError, match="rows have columns prompt_ids, .*score; .* were expected"):
        trainer(rows)


def test_a_loss_that_is_not_a_number_ends_the_run(
    trainer: MakeTrainer, random_rows: MakeTable
) -> None:
    made = trainer(random_rows(8), batch_size=4, learning_rate=1e20, epochs=3)
    with pytest.raises(RuntimeError, match=r"the loss is (nan|inf) at step \d"):
        made.train()


def test_curve_shows_the_whole_optimizer_batch(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    pairs = random_pairs(11)
    curves = []
    for micro in (8, 1):
        settings = PreferenceSettings(
            loss="scpo", batch_size=8, micro_batch_size=micro, learning_rate=1e-3, epochs=2
        )
        path = tmp_path / f"{micro}.parquet"
        summary = train_preference(model_folder, pairs, tmp_path / "out", settings, curve=path)
        curves.append(summary.curve.to_pandas())
    one, eight = curves[1], curves[0]
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
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "1.parquet").column_names == summary.curve.column_names


def test_training_prefers_chosen(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    settings = PreferenceSettings(batch_size=8, learning_rate=3e-3, epochs=8)
    curve = train_preference(model_folder, random_pairs(16), tmp_path / "out", settings).curve
    assert curve["accuracy"][-1].as_py() == 1.0
    assert curve["margin"][-1].as_py() > 5


def test_bfloat16_keeps_weights_in_float32(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    settings = PreferenceSettings(batch_size=8, dtype="bfloat16", learning_rate=1e-6, max_steps=2)
    train_preference(model_folder, random_pairs(8), tmp_path / "out", settings)
    trained, start = flat_weights(load(tmp_path / "out")[0]), flat_weights(load(model_folder)[0])
    # steps of 1e-6 would vanish in bfloat16's 8 bits
    assert ((trained - start) != 0).double().mean() > 0.2


def test_gradient_checkpointing_changes_nothing(
    trainer: MakeTrainer, random_rows: MakeTable
) -> None:
    rows = random_rows(4)
    one = first_gradient(trainer(rows, loss="scpo", batch_size=4))
    two = first_gradient(trainer(rows, loss="scpo", batch_size=4, gradient_checkpointing=True))
    assert close(two, one)
