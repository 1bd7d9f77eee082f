"""Loggers through transformers' callbacks: what is written, and what is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.training import PreferenceSettings, train_preference

MakeTable = Callable[..., pa.Table]


def test_tensorboard_has_the_curve(
    model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    """Read back with tensorboard's own reader, from the folder that is left."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = PreferenceSettings(
        batch_size=4, learning_rate=1e-3, report_to=("tensorboard",), eval_every=2
    )
    summary = train_preference(
        model_folder, random_pairs(16), tmp_path / "out", settings, held_out=random_pairs(5, seed=1)
    )
    (folder,) = {path.parent for path in (tmp_path / "out.logs").rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = {"train/loss": "loss", "train/margin": "margin", "eval/loss": "eval_loss"}
    for tag, name in tags.items():
        values = enumerate(summary.curve[name].to_pylist(), 1)
        expected = [(step, value) for step, value in values if value is not None]
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [v for _, v in found] == pytest.approx([v for _, v in expected], abs=1e-6)


@pytest.mark.parametrize("name", ["nosuch", "tensorboard", "wandb", "trackio"])
def test_loggers_that_are_not_there(
    name: str, model_folder: Path, tmp_path: Path, random_pairs: MakeTable
) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    message = "nosuch is not supported" if name == "nosuch" else f"{name} to be installed"
    with pytest.raises(InputError, match=f"report_to: .*{message}"):
        train_preference(
            model_folder, random_pairs(4), tmp_path / "out", PreferenceSettings(report_to=(name,))
        )
