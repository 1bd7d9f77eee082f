"""kill -9 anywhere in a training, also while it writes a file, and the same run once more."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import TrainerCallback

from statllm.files import sha256, write_parquet
from statllm.training import PreferenceSettings, train_preference

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# 19 pairs in steps of 8, 8 and 3. The best evaluation's checkpoint is kept beside the latest.
SETTINGS = PreferenceSettings(
    loss="scpo", batch_size=8, token_budget=64, learning_rate=0.05, epochs=2, checkpoint_every=2,
    eval_every=1, keep_best="loss",
)  # fmt: skip
# What changes a folder raises one of these audit events before it does; the rest (safetensors
# writes from Rust) lies between two of them.
EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}


class Steps(TrainerCallback):
    """Count steps like events."""

    def on_step_end(self, *_: Any, **__: Any) -> None:
        sys.audit("os.mkdir", "", -1, -1)


@pytest.fixture
def train(
    model_folder: Path, tmp_path: Path, random_pairs: Callable[..., pa.Table]
) -> Callable[..., bool]:
    """Train in a process that dies at the n-th event; returns whether it did."""
    write_parquet(random_pairs(19), tmp_path / "pairs.parquet")
    write_parquet(random_pairs(6, seed=4), tmp_path / "dev.parquet")

    def run(folder: Path) -> None:
        train_preference(
            model_folder,
            tmp_path / "pairs.parquet",
            folder / "model",
            SETTINGS,
            held_out=tmp_path / "dev.parquet",
            curve=folder / "training.parquet",
            progress=False,
            callbacks=[Steps()],
        )

    def train(folder: Path, die_at: int | None = None) -> bool:
        child = os.fork()
        if child == 0:
            left = [die_at]

            def count(event: str, arguments: tuple[Any, ...]) -> None:
                if event not in EVENTS or left[0] is None:
                    return
                if arguments[0] == "" or str(tmp_path) in str(arguments[0]):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            try:
                torch.set_num_threads(1)  # the others weren't forked
                sys.addaudithook(count)
                run(folder)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL)
        return code != 0

    return train


@pytest.fixture
def expected(train: Callable[..., bool], tmp_path: Path) -> str:
    assert not train(tmp_path / "undisturbed")
    return sha256(tmp_path / "undisturbed")


# in the first steps, in a checkpoint, in publishing
@pytest.mark.parametrize("event", [13, 60, 145])
def test_a_killed_run_goes_on(
    train: Callable[..., bool], expected: str, tmp_path: Path, event: int
) -> None:
    assert train(tmp_path / "run", event)
    assert not train(tmp_path / "run")
    assert sha256(tmp_path / "run") == expected


@pytest.mark.slow
def test_wherever_it_is_killed(train: Callable[..., bool], expected: str, tmp_path: Path) -> None:
    event = 0
    while train(tmp_path / f"run-{event}", event):
        folder = tmp_path / f"run-{event}"
        assert not train(folder), event
        assert sha256(folder) == expected, event
        event += 1
    assert event > 100


@pytest.mark.slow
def test_killed_again_and_again(train: Callable[..., bool], expected: str, tmp_path: Path) -> None:
    """A run that never gets further than 40 events at a time comes to its end."""
    killed = 0
    while train(tmp_path / "run", 40 + killed):
        killed += 1
    assert killed > 2
    assert sha256(tmp_path / "run") == expected
