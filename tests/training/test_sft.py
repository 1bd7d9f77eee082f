"""SFT: a mean per sequence over the optimizer batch, the prompt masked, drops counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, TrainerCallback

from statllm.files import sha256
from statllm.training import SFTSettings, train_sft

MakeTable = Callable[..., pa.Table]


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture
def examples(random_rows: MakeTable) -> pa.Table:
    rows = random_rows(11)
    return pa.table(
        {
            "prompt_ids": rows["prompt_ids"],
            "response_ids": rows["chosen_ids"],
            "weight": rows["weight"],
        }
    )


class Gradient(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        self.steps.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())


@pytest.mark.parametrize("weighted", [True, False])
def test_gradient_is_that_of_plain_torch(
    model_folder: Path, tmp_path: Path, examples: pa.Table, weighted: bool
) -> None:
    model = load(model_folder)
    total = torch.zeros(())
    for row in examples.to_pylist():
        prompt, response = row["prompt_ids"], row["response_ids"]
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        nll = functional.cross_entropy(logits, torch.tensor(response))  # a mean over its tokens
        total = total + (row["weight"] if weighted else 1.0) * nll / examples.num_rows
    total.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    seen = Gradient()
    settings = SFTSettings(batch_size=12, token_budget=64, max_grad_norm=0.0, use_weights=weighted)
    summary = train_sft(model_folder, examples, tmp_path / "out", settings, callbacks=[seen])
    assert (seen.steps[0] - expected).norm() <= 1e-5 * expected.norm()
    assert summary.curve["loss"][0].as_py() == pytest.approx(total.item(), rel=1e-5)


def test_micro_batches_do_not_change_the_result(
    model_folder: Path, tmp_path: Path, examples: pa.Table
) -> None:
    trained = []
    for micro in (4096, 64, 1):
        settings = SFTSettings(
            batch_size=8, token_budget=micro, learning_rate=1e-4, epochs=2, max_grad_norm=0.0
        )
        train_sft(model_folder, examples, tmp_path / str(micro), settings)
        trained.append(flat(load(tmp_path / str(micro))))
    assert (trained[0] - flat(load(model_folder))).abs().max() > 1e-4
    assert all((trained[0] - other).abs().max() <= 1e-6 for other in trained[1:])


def test_texts_drops_and_learning(model_folder: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt_id": ["a", "b", "c", "d"],
            "prompt": ["Ann has 3 apples."] * 4,
            "response": [" 3 + 4 = 7.", "", " 5 + " * 40, " 6"],
            "response_finish": ["stop", "stop", "stop", "length"],
        }
    )
    settings = SFTSettings(batch_size=4, learning_rate=1e-2, epochs=30)
    summary = train_sft(model_folder, table, tmp_path / "out", settings, progress=False)
    assert summary.drops == {"empty_response": 1, "response_without_eos": 1, "too_long": 1}
    assert summary.dropped["prompt_id"].to_pylist() == ["b", "c", "d"]
    assert (summary.n_input, summary.n_pairs, summary.n_steps) == (4, 1, 30)
    assert summary.curve["loss"][-1].as_py() < 0.5


def test_resumed_is_bitwise_the_undisturbed(
    model_folder: Path, tmp_path: Path, examples: pa.Table
) -> None:
    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    settings = SFTSettings(batch_size=4, learning_rate=1e-3, epochs=2, checkpoint_every=2)
    train_sft(model_folder, examples, tmp_path / "a", settings)
    with pytest.raises(KeyboardInterrupt):
        train_sft(model_folder, examples, tmp_path / "b", settings, callbacks=[Kill()])
    train_sft(model_folder, examples, tmp_path / "b", settings)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_weights_scale_the_loss(model_folder: Path, tmp_path: Path, examples: pa.Table) -> None:
    doubled = examples.set_column(2, "weight", pa.array(2 * np.asarray(examples["weight"])))
    seen = [Gradient(), Gradient()]
    settings = SFTSettings(batch_size=16, max_grad_norm=0.0)
    for table, callback in zip((examples, doubled), seen, strict=True):
        train_sft(model_folder, table, tmp_path / "out", settings, callbacks=[callback])
    one, two = seen[0].steps[0], seen[1].steps[0]
    assert (two - 2 * one).norm() <= 1e-5 * two.norm()
