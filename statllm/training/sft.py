"""Supervised fine-tuning on responses alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from statllm.training.callbacks import with_callbacks
from statllm.training.lora import adapted
from statllm.training.objectives import ResponseObjective
from statllm.training.sequences import Sequences, choose_layout
from statllm.training.settings import SFTSettings
from statllm.training.trainer import OnStep, Trainer, silent

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback


def sft_trainer(
    model: PreTrainedModel,
    rows: pa.Table,
    settings: SFTSettings,
    folder: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    on_step: OnStep = silent,
) -> Trainer:
    """Return what trains a model on responses.

    Parameters
    ----------
    model : PreTrainedModel
    rows : pa.Table
        ``prompt_ids``, ``response_ids`` and ``weight``.
    settings : SFTSettings
    folder : Path
        For checkpoints.
    callbacks : sequence of TrainerCallback
    on_step : callable
        See `statllm.training.trainer.Trainer`.

    Raises
    ------
    InputError
        If the model can't be computed as `settings.layout` says.
    """
    layout = choose_layout(settings.layout, model.config)
    sequences = Sequences(rows, ("response_ids",), layout, settings.token_budget)
    policy: Any = model if settings.lora_rank is None else adapted(model, settings)
    return Trainer(
        policy,
        ResponseObjective(sequences, rows["weight"].to_numpy(), settings),
        settings,
        folder,
        callbacks=with_callbacks(callbacks, settings, folder),
        on_step=on_step,
    )
