"""A killed run goes on to the same last bit; a finished one leaves nothing but its model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import TrainerCallback

from statllm.errors import InputError
from statllm.files import sha256
from statllm.training import PreferenceSettings, train_preference

MakeTable = Callable[..., pa.Table]
# 19 pairs in steps of 8, 8 and 3: three epochs are nine steps, with checkpoints inside and at the
# end of epochs.
SETTINGS = PreferenceSettings(
    loss="scpo", batch_size=8, token_budget=64, learning_rate=1e-3, epochs=3, checkpoint_every=2
)


class Killed(Exception):
    """Stands for whatever ends a process."""


class KillAt(TrainerCallback):
    def __init__(self, event: str, step: int) -> None:
        def kill(args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == step:
                raise Killed

        setattr(self, event, kill)


@pytest.fixture(scope="module")
def undisturbed(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory, random_pairs: MakeTable
) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_preference(
        model_folder,
        random_pairs(19),
        folder / "model",
        SETTINGS,
        curve=folder / "training.parquet",
        progress=False,
    )
    return folder


@pytest.mark.parametrize(
    ("event", "step", "precompute"),
    [
        ("on_step_end", 1, True),  # before any checkpoint
        ("on_step_end", 3, True),  # first step after a checkpoint at step 2, end of an epoch
        ("on_save", 4, True),
        ("on_substep_end", 6, False),
        ("on_step_begin", 8, True),
        ("on_train_end", 9, True),  # trained, not yet published
    ],
)
def test_resumed_is_bitwise_the_undisturbed(
    model_folder: Path,
    tmp_path: Path,
    random_pairs: MakeTable,
    undisturbed: Path,
    event: str,
    step: int,
    precompute: bool,
) -> None:
    settings, expected = SETTINGS, undisturbed
    if not precompute:
        settings = SETTINGS.model_copy(update={"precompute_reference": False})
        expected = tmp_path / "undisturbed"
        train(model_folder, expected, random_pairs(19), settings)
    with pytest.raises(Killed):
        train(model_folder, tmp_path, random_pairs(19), settings, KillAt(event, step))
    assert not (tmp_path / "model").exists()
    train(model_folder, tmp_path, random_pairs(19), settings)
    assert sha256(tmp_path / "model") == sha256(expected / "model")
    assert sha256(tmp_path / "training.parquet") == sha256(expected / "training.parquet")


def train(
    model: Path, folder: Path, pairs: pa.Table, settings: PreferenceSettings, *callbacks: Any
) -> None:
    train_preference(
        model,
        pairs,
        folder / "model",
        settings,
        curve=folder / "training.parquet",
        progress=False,
        callbacks=callbacks,
    )


def test_resuming_skips_the_steps_that_are_done(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    with pytest.raises(Killed):
        train(model_folder, tmp_path, random_pairs(19), SETTINGS, KillAt("on_step_begin", 7))
    steps: list[int] = []

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            steps.append(state.global_step)

    train(model_folder, tmp_path, random_pairs(19), SETTINGS, Watch())
    assert steps == [7, 8, 9]


def test_a_torn_checkpoint_is_not_used(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, undisturbed: Path
) -> None:
    with pytest.raises(Killed):
        train(model_folder, tmp_path, random_pairs(19), SETTINGS, KillAt("on_step_end", 5))
    partial = tmp_path / "model.partial"
    # What a kill in the middle of saving step 6 leaves behind: a temporary folder, half full.
    torn = partial / ".step_6.0123abcd.tmp"
    shutil.copytree(partial / "step_4", torn)
    (torn / "optimizer.pt").write_bytes(b"half")
    train(model_folder, tmp_path, random_pairs(19), SETTINGS)
    assert sha256(tmp_path / "model") == sha256(undisturbed / "model")


def test_nothing_is_left_behind_and_the_model_folder_is_clean(undisturbed: Path) -> None:
    assert sorted(os.listdir(undisturbed)) == ["model", "training.parquet"]
    names = sorted(os.listdir(undisturbed / "model"))
    assert names == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for name in names:
        assert str(undisturbed).encode() not in (undisturbed / "model" / name).read_bytes()


def test_the_model_folder_is_the_starting_one_but_for_weights(
    undisturbed: Path, model_folder: Path
) -> None:
    before, after = (
        json.loads((f / "config.json").read_text()) for f in (model_folder, undisturbed / "model")
    )
    assert after == before
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (undisturbed / "model" / name).read_bytes() == (model_folder / name).read_bytes()


def test_what_is_not_ours_is_not_touched(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    (tmp_path / "model").mkdir()
    note = tmp_path / "model" / "note.txt"
    note.write_text("mine")
    with pytest.raises(InputError, match="exists and isn't a model folder"):
        train(model_folder, tmp_path, random_pairs(4), SETTINGS)
    (tmp_path / "model").rename(tmp_path / "model.partial")
    with pytest.raises(InputError, match=r"model\.partial is in the way"):
        train(model_folder, tmp_path, random_pairs(4), SETTINGS)
    assert (tmp_path / "model.partial" / "note.txt").read_text() == "mine"
    with pytest.raises(InputError, match="is the model that the training starts from"):
        train_preference(model_folder, random_pairs(4), model_folder, SETTINGS)


def test_an_older_result_is_replaced(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, undisturbed: Path
) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    train(model_folder, tmp_path, random_pairs(19), SETTINGS)
    assert sha256(tmp_path) == sha256(undisturbed)


def test_an_unfinished_run_with_other_settings_is_not_continued(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    with pytest.raises(Killed):
        train(model_folder, tmp_path, random_pairs(19), SETTINGS, KillAt("on_step_end", 3))
    other = SETTINGS.model_copy(update={"beta": 0.2})
    with pytest.raises(InputError, match=r"unfinished training with another 'beta'"):
        train(model_folder, tmp_path, random_pairs(19), other)
    with pytest.raises(InputError, match=r"unfinished training with another 'data'"):
        train(model_folder, tmp_path, random_pairs(19, seed=1), SETTINGS)
    train(
        model_folder, tmp_path, random_pairs(19), SETTINGS.model_copy(update={"logging_steps": 1})
    )


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable, undisturbed: Path
) -> None:
    train(model_folder, tmp_path / "same", random_pairs(19), SETTINGS)
    assert sha256(tmp_path / "same") == sha256(undisturbed)
    other = SETTINGS.model_copy(update={"seed": 1})
    train(model_folder, tmp_path / "other", random_pairs(19), other)
    assert sha256(tmp_path / "other" / "model") != sha256(undisturbed / "model")
