"""Evaluation on held-out pairs: against plain torch, without a trace in what is trained."""

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
from transformers import TrainerCallback

from statllm.errors import InputError
from statllm.files import sha256
from statllm.training import PreferenceSettings, TrainingSummary, train_preference

MakeTable = Callable[..., pa.Table]
Load = Callable[[Path], Any]
SETTINGS = PreferenceSettings(
    loss="scpo", batch_size=8, token_budget=64, learning_rate=3e-3, epochs=3, eval_every=2
)


def train(
    model: Path, pairs: pa.Table, held_out: pa.Table | None, out: Path, *callbacks: Any, **more: Any
) -> TrainingSummary:
    settings = SETTINGS.model_copy(update=more)
    if held_out is None:
        settings = settings.model_copy(update={"eval_every": None})
    return train_preference(
        model, pairs, out, settings, held_out=held_out, progress=False, callbacks=callbacks
    )


@torch.no_grad()
def logp(model: Any, prompt: list[int], response: list[int]) -> float:
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return float(functional.log_softmax(logits, -1)[range(len(response)), response].sum())


def test_figures_are_those_of_plain_torch(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, load: Load
) -> None:
    """The last evaluation, computed text by text from the folders; pairs share some prompts."""
    held_out = random_pairs(12, seed=3)
    prompts = held_out["prompt_ids"].to_pylist()
    groups = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]
    at = held_out.column_names.index("prompt_ids")
    same = pa.array([prompts[group] for group in groups], pa.list_(pa.int32()))
    held_out = held_out.set_column(at, "prompt_ids", same)
    summary = train(model_folder, random_pairs(19), held_out, tmp_path / "out")
    assert summary.n_held_out == 12
    policy, reference = load(tmp_path / "out"), load(model_folder)
    margins, losses, chosen = [], [], []
    for row in held_out.to_pylist():
        of = {
            (kind, name): logp(model, row["prompt_ids"], row[f"{name}_ids"])
            for kind, model in (("policy", policy), ("reference", reference))
            for name in ("chosen", "rejected")
        }
        margin = (
            of["policy", "chosen"]
            - of["reference", "chosen"]
            - of["policy", "rejected"]
            + of["reference", "rejected"]
        )
        nll = -of["policy", "chosen"] / len(row["chosen_ids"])
        losses.append(row["weight"] * (math.log1p(math.exp(-0.1 * margin)) + nll))
        margins.append(margin)
        chosen.append(of["policy", "chosen"])
    last = summary.curve.to_pylist()[-1]
    accuracy = np.array(margins) > 0
    for name, values in (("loss", losses), ("margin", margins), ("accuracy", accuracy)):
        assert last[f"eval_{name}"] == pytest.approx(np.mean(values), abs=1e-5)
        # by hand: residuals summed by prompt, each over 1 - its share
        residuals = np.asarray(values, dtype=float) - np.mean(values)
        sums, sizes = np.bincount(groups, residuals), np.bincount(groups)
        expected = np.sqrt((sums**2 / (1 - sizes / 12)).sum()) / 12
        assert last[f"eval_{name}_se"] == pytest.approx(expected, abs=1e-5)
    assert last["eval_logp_chosen"] == pytest.approx(np.mean(chosen), abs=1e-4)
    assert summary.curve["eval_loss"].is_null().to_pylist() == [True, False] * 4 + [False]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"precompute_reference": False},
        {"gradient_checkpointing": True, "dtype": "bfloat16"},
        {"layout": "padded", "nll_norm": "token"},
        {"lora_rank": 2},
    ],
    ids=lambda more: "-".join(more) or "default",
)
def test_what_is_trained_is_the_same_to_the_last_bit(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, more: dict[str, Any]
) -> None:
    pairs = random_pairs(19)
    without = train(model_folder, pairs, None, tmp_path / "a", **more)
    other = train(model_folder, pairs, random_pairs(7, seed=3), tmp_path / "b", **more)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    assert other.curve.select(without.curve.column_names).equals(without.curve)


class Weights(TrainerCallback):
    """Weights and figures at every evaluation."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[dict[str, float], torch.Tensor]] = {}

    def on_evaluate(
        self, args: Any, state: Any, control: Any, *, model: Any, metrics: Any, **_: Any
    ) -> None:
        weights = torch.cat([part.detach().flatten() for part in model.parameters()])
        self.seen[state.global_step] = (metrics, weights.clone())


@pytest.mark.parametrize(("figure", "sign"), [("loss", 1), ("margin", -1), ("accuracy", -1)])
def test_the_best_weights_are_kept(
    model_folder: Path,
    tmp_path: Path,
    random_pairs: MakeTable,
    load: Load,
    figure: str,
    sign: int,
) -> None:
    """At a rate that is too high for anything but luck, so that the last isn't the best."""
    seen = Weights()
    summary = train(
        model_folder, random_pairs(19), random_pairs(9, seed=4), tmp_path / "out", seen,
        keep_best=figure, learning_rate=0.1, eval_every=1, epochs=4,
    )  # fmt: skip
    values = {step: sign * figures[f"eval_{figure}"] for step, (figures, _) in seen.seen.items()}
    assert list(values) == list(range(1, 13))
    best = min(values, key=lambda step: (values[step], step))
    assert summary.step == best < 12
    found = torch.cat([p.detach().flatten() for p in load(tmp_path / "out").parameters()])
    assert torch.equal(found, seen.seen[best][1])
    assert summary.n_steps == 12


class KillAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", [5, 11])
def test_a_resumed_run_keeps_the_same_best(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, step: int
) -> None:
    arguments = (model_folder, random_pairs(19), random_pairs(9, seed=4))
    more = {"keep_best": "loss", "learning_rate": 0.05, "eval_every": 1, "epochs": 4}
    more |= {"checkpoint_every": 3}
    expected = train(*arguments, tmp_path / "a", **more)
    with pytest.raises(KeyboardInterrupt):
        train(*arguments, tmp_path / "b", KillAfter(step), **more)
    found = train(*arguments, tmp_path / "b", **more)
    assert found.step == expected.step
    assert found.curve.equals(expected.curve)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_held_out_pairs_that_are_missing_or_wrong(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    for more in ({"eval_every": 3}, {"keep_best": "loss"}):
        with pytest.raises(InputError, match=r"need held-out pairs \(--eval\)"):
            train_preference(
                model_folder, random_pairs(4), tmp_path / "out", PreferenceSettings(**more)
            )
    wrong = random_pairs(3).drop_columns(["rejected"])
    with pytest.raises(InputError, match="held-out pairs: column 'rejected' is missing"):
        train(model_folder, random_pairs(4), wrong, tmp_path / "out")


def test_what_is_said(
    model_folder: Path,
    tmp_path: Path,
    random_pairs: MakeTable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Prompts that are trained on, too; rows that are dropped; the figures."""
    pairs = random_pairs(8)
    mixed = pa.concat_tables([pairs.slice(0, 2), random_pairs(3, seed=7)])
    same = [*mixed["chosen_ids"].to_pylist()[:4], [5]]  # the last one doesn't end
    at = mixed.column_names.index("chosen_ids")
    mixed = mixed.set_column(at, "chosen_ids", pa.array(same, pa.list_(pa.int32())))
    settings = PreferenceSettings(batch_size=4)
    train_preference(model_folder, pairs, tmp_path / "out", settings, held_out=mixed)
    said = " ".join(capsys.readouterr().err.split())
    assert "4 of 5 held-out pairs to evaluate; 1 dropped: chosen_without_eos" in said
    assert "2 of 4 held-out prompts are trained on, too" in said
    assert "step 2, held out: loss 0.69" in said
