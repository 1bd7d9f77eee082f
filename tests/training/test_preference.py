"""Preference training as a whole: its checks, its curve, its reference, what it refuses."""

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
from transformers import AutoTokenizer

from statllm.errors import InputError
from statllm.training import PreferenceSettings, train_preference
from statllm.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
MakeTable = Callable[..., pa.Table]
Load = Callable[[Path], Any]
LAYOUTS = ("shared", "packed", "padded")


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


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
