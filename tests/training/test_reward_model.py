"""Reward models: the loss, the head at its mode, what is held out, resuming, the folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file

from statllm.errors import InputError
from statllm.estimators.reward_laplace import fit_bradley_terry
from statllm.files import read_json, read_parquet
from statllm.generations import Generations
from statllm.scoring.reward_models import RewardModel, add_rewards
from statllm.training.reward_model import (
    RewardSettings,
    RewardSummary,
    held_out,
    pair_accuracy,
    train_reward_model,
)

SETTINGS = RewardSettings(
    learning_rate=3e-3, batch_size=8, epochs=6, held_out=0.25, checkpoint_every=10, seed=1
)


def preferences(n: int = 60) -> pa.Table:
    """The right sum is preferred to one that is off by more than ten."""
    rng = np.random.default_rng(0)
    rows = [(int(a), int(b)) for a, b in rng.integers(1, 5, (n, 2))]
    return pa.table(
        {
            "prompt_id": [f"p{i // 2}" for i in range(n)],
            "prompt": [f"{i}: {a} + {b}" for i, (a, b) in enumerate(rows)],
            "chosen": [f" = {a + b}" for a, b in rows],
            "rejected": [f" = {a + b}{a + b}{i % 10}" for i, (a, b) in enumerate(rows)],
        }
    )


@pytest.fixture(scope="module")
def trained(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RewardSummary]:
    out = tmp_path_factory.mktemp("reward") / "model"
    return out, train_reward_model(model_folder, preferences(), out, SETTINGS, progress=False)


def test_it_learns(trained: tuple[Path, RewardSummary]) -> None:
    out, summary = trained
    assert (summary.n_input, summary.n_pairs, summary.n_held_out) == (60, 44, 16)
    assert summary.n_steps == 6 * math.ceil(44 / 8)
    losses = summary.curve["loss"].to_numpy()
    assert losses[0] > 0.4
    assert losses[-5:].mean() < 0.3
    assert summary.accuracy.value > 0.9
    assert summary.accuracy.n == 8  # prompts, with two pairs each
    about = read_json(out / "reward_training.json")
    assert about["pair_accuracy"]["value"] == summary.accuracy.value
    assert about["n_held_out"] == 16


def test_the_loss_and_its_gradient(model_folder: Path, tmp_path: Path) -> None:
    """The first step's loss, and the gradient's norm, from transformers' own classifier."""
    from transformers import AutoTokenizer

    from statllm.training.reward_trainer import load_classifier

    table = preferences(8)
    settings = RewardSettings(
        learning_rate=1e-9, batch_size=8, max_steps=1, held_out=0, prior_precision=1.0
    )
    summary = train_reward_model(model_folder, table, tmp_path / "out", settings, progress=False)
    model = load_classifier(model_folder, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)

    def reward(prompt: str, text: str) -> torch.Tensor:
        return model(torch.tensor([[*tokenizer(prompt + text)["input_ids"], 1]])).logits[0, 0]

    losses = [
        torch.log1p(
            torch.exp(reward(r["prompt"], r["rejected"]) - reward(r["prompt"], r["chosen"]))
        )
        for r in table.to_pylist()
    ]
    loss = torch.stack(losses).mean()
    loss.backward()
    norm = math.sqrt(
        sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None)
    )
    assert summary.curve["loss"][0].as_py() == pytest.approx(loss.item(), rel=1e-5)
    assert summary.curve["grad_norm"][0].as_py() == pytest.approx(norm, rel=1e-4)
    assert math.isnan(summary.accuracy.value)


def test_the_folder_is_a_classifier_with_its_covariance(
    trained: tuple[Path, RewardSummary], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    out, summary = trained
    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    assert model.config.num_labels == 1
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = [*tokenizer("1 + 1 = 2")["input_ids"], 1]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits.item()
    scorer = RewardModel(out, cache=tmp_path)
    assert scorer.score(["1 + 1"], [" = 2"])[0] == pytest.approx(expected, rel=1e-5)

    # The head and its covariance, anew: from the features of the pairs that were trained on.
    rows = preferences().to_pylist()
    aside = held_out([row["prompt_id"] for row in rows], 0.25, seed=1)
    kept = [row for row, away in zip(rows, aside, strict=True) if not away]
    prompts = [row["prompt"] for row in kept]
    chosen, rejected = (
        scorer.outputs(prompts, [row[name] for row in kept], features=True).features
        for name in ("chosen", "rejected")
    )
    x = chosen - rejected
    precision = summary.fit.prior_precision
    kept_fit = load_file(out / "reward_laplace.safetensors")
    np.testing.assert_allclose(scorer.head_weights, kept_fit["weights"], rtol=1e-5, atol=1e-7)
    w = kept_fit["weights"]
    p = 1 / (1 + np.exp(-x @ w))
    gradient = x.T @ (1 - p) - precision * w
    assert np.abs(gradient).max() < 1e-3 * np.abs(x).sum(axis=0).max()
    hessian = (x * (p * (1 - p))[:, None]).T @ x + precision * np.eye(len(w))
    np.testing.assert_allclose(kept_fit["covariance"] @ hessian, np.eye(len(w)), atol=1e-3)
    again = fit_bradley_terry(x)
    assert again.log_evidence == pytest.approx(summary.fit.log_evidence, abs=0.01)


def test_gap_variance_of_a_table(trained: tuple[Path, RewardSummary], tmp_path: Path) -> None:
    out, summary = trained
    table = Generations(
        pa.table(
            {
                "prompt_id": ["a", "b"],
                "prompt": ["2 + 2", "3 + 1"],
                "response": [[" = 4", " = 440", " = 5"], [" = 4"]],
            }
        )
    )
    model = RewardModel(out, cache=tmp_path)
    row = add_rewards(table, model, gap_variance="laplace").table.to_pylist()[0]
    found = model.outputs(["2 + 2"] * 3, table.column("response")[0].as_py(), features=True)
    best, worst = found.reward.argmax(), found.reward.argmin()
    x = found.features[best] - found.features[worst]
    assert row["reward_gap_var"] == pytest.approx(x @ summary.fit.covariance @ x, rel=1e-6)
    assert row["reward"] == found.reward.tolist()
    assert all(sd > 0 for sd in row["reward_sd"])
    long = table.with_columns({"response": [[" = 4", " = 5", "9" * 100], [" = 4", " = 7"]]})
    lenient = RewardModel(out, cache=tmp_path, too_long="null")
    rows = add_rewards(long, lenient, gap_variance="laplace").table.to_pylist()
    assert rows[0]["reward"][2] is None
    assert None not in rows[0]["reward"][:2]
    assert rows[0]["reward_gap_var"] is None  # the long one might be the best
    assert rows[0]["reward_sd"] == [None] * 3
    assert rows[1]["reward_gap_var"] > 0


def test_a_covariance_of_another_head_is_refused(
    trained: tuple[Path, RewardSummary], tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file as load
    from safetensors.torch import save_file

    folder = shutil.copytree(trained[0], tmp_path / "model")
    weights = load(folder / "model.safetensors")
    weights["score.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    table = Generations(pa.table({"prompt_id": ["a"], "prompt": ["x"], "response": [["y", "z"]]}))
    with pytest.raises(InputError, match="belongs to another head"):
        add_rewards(table, RewardModel(folder, cache=tmp_path), gap_variance="laplace")


def test_a_killed_run_goes_on_to_the_same_model(
    trained: tuple[Path, RewardSummary], model_folder: Path, tmp_path: Path
) -> None:
    from transformers import TrainerCallback

    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 17:
                raise KeyboardInterrupt

    out = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(
            model_folder, preferences(), out, SETTINGS, progress=False, callbacks=[Kill()]
        )
    assert not out.exists()
    assert (tmp_path / "model.partial" / "step_10").is_dir()
    curve = tmp_path / "curve.parquet"
    summary = train_reward_model(
        model_folder, preferences(), out, SETTINGS, progress=False, curve=curve
    )
    for name in ("model.safetensors", "reward_laplace.safetensors"):
        assert (out / name).read_bytes() == (trained[0] / name).read_bytes()
    assert not (tmp_path / "model.partial").exists()
    assert read_parquet(curve).num_rows == summary.n_steps == trained[1].n_steps


def test_rows_that_cannot_be_trained_on_are_counted(model_folder: Path, tmp_path: Path) -> None:
    table = preferences(12)
    chosen = [*table["chosen"].to_pylist()[:10], table["rejected"][10].as_py(), "x" * 300]
    table = table.set_column(2, "chosen", pa.array(chosen))
    settings = RewardSettings(max_steps=1, batch_size=4)
    summary = train_reward_model(model_folder, table, tmp_path / "o", settings, progress=False)
    assert summary.drops == {"identical": 1, "too_long": 1}
    assert summary.dropped["row"].to_pylist() == [10, 11]
    assert summary.n_pairs + summary.n_held_out + 2 == 12
    same = table.set_column(3, "rejected", table["chosen"])
    with pytest.raises(InputError, match=r"no row is left to train on: 12 identical"):
        train_reward_model(model_folder, same, tmp_path / "p", settings, progress=False)
    with pytest.raises(InputError, match="column 'chosen' is missing"):
        train_reward_model(
            model_folder, table.drop_columns(["chosen"]), tmp_path / "p", settings, progress=False
        )


def test_prompts_are_held_out_whole() -> None:
    groups = [f"g{i // 3}" for i in range(90)]
    aside = held_out(groups, 0.2, seed=0)
    assert aside.sum() == 18
    assert all(len(set(aside[i : i + 3])) == 1 for i in range(0, 90, 3))
    order = np.random.default_rng(0).permutation(90)
    np.testing.assert_array_equal(held_out([groups[i] for i in order], 0.2, 0), aside[order])
    assert (held_out(groups, 0.2, seed=1) != aside).any()
    assert not held_out(groups, 0.0).any()
    assert held_out(["a", "b"], 0.99).sum() == 1  # something is left to train on


def test_accuracy_has_the_prompt_as_unit() -> None:
    gaps = np.array([1.0, 2.0, -1.0, 3.0, -2.0, 0.0])
    alone = pair_accuracy(gaps, list("abcdef"))
    assert alone.value == pytest.approx(3.5 / 6)
    low, high = alone.interval(0.95).low, alone.interval(0.95).high
    assert 0 < low < high < 1
    whole = pair_accuracy(np.repeat([1.0, -1.0, 1.0, 1.0], 10), np.repeat(list("abcd"), 10))
    assert whole.n == 4
    assert whole.se == pytest.approx(np.std([1, 0, 1, 1], ddof=1) / 2)


def test_chats_and_strings_are_trained_on_as_they_are_scored(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "start")
    path = folder / "tokenizer_config.json"
    template = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    table = preferences(12)
    chats = pa.array([[{"role": "user", "content": p}] for p in table["prompt"].to_pylist()], kind)
    settings = RewardSettings(max_steps=2, batch_size=4, learning_rate=1e-3, held_out=0)
    weights = []
    for name, prompt, chat in (("a", chats, False), ("b", table["prompt"], True)):
        data = table.set_column(1, "prompt", prompt)
        train_reward_model(
            folder,
            data,
            tmp_path / name,
            settings.model_copy(update={"chat": chat}),
            progress=False,
        )
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert (tmp_path / "a" / "tokenizer_config.json").read_text() == path.read_text()


def test_a_reward_model_is_trained_on(trained: tuple[Path, RewardSummary], tmp_path: Path) -> None:
    """Its head is where the training starts; a head of another kind is refused."""
    import shutil

    from safetensors.torch import load_file as load
    from safetensors.torch import save_file

    settings = RewardSettings(learning_rate=1e-9, batch_size=8, max_steps=1, held_out=0)
    summary = train_reward_model(
        trained[0], preferences(8), tmp_path / "on", settings, progress=False
    )
    scorer = RewardModel(trained[0], cache=tmp_path)
    rows = preferences(8).to_pylist()
    prompts = [row["prompt"] for row in rows]
    chosen, rejected = (
        scorer.score(prompts, [row[name] for row in rows]) for name in ("chosen", "rejected")
    )
    expected = np.log1p(np.exp(rejected - chosen)).mean()
    assert summary.curve["loss"][0].as_py() == pytest.approx(expected, rel=1e-3)
    folder = shutil.copytree(trained[0], tmp_path / "athene")
    weights = load(folder / "model.safetensors")
    weights["v_head.weight"] = weights.pop("score.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"its weights 'v_head.weight' have no place"):
        train_reward_model(folder, preferences(8), tmp_path / "no", settings, progress=False)
