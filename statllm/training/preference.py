"""Preference training: pairs of responses, and the reference that they are compared under."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from statllm.training.callbacks import with_callbacks
from statllm.training.held_out import HeldOut
from statllm.training.lora import adapted
from statllm.training.objectives import PairObjective
from statllm.training.reference import reference_logps
from statllm.training.sequences import SequenceLogps, Sequences, choose_layout
from statllm.training.settings import PreferenceSettings
from statllm.training.trainer import OnStep, Trainer, silent

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback


def preference_trainer(
    model: PreTrainedModel,
    rows: pa.Table,
    settings: PreferenceSettings,
    folder: Path,
    *,
    reference: PreTrainedModel | None = None,
    reference_path: Path | None = None,
    held_out: pa.Table | None = None,
    held_out_reference_path: Path | None = None,
    starts_at_reference: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
    on_step: OnStep = silent,
) -> Trainer:
    """Return what trains a model on pairs.

    Parameters
    ----------
    model : PreTrainedModel
        The model that the run starts from.
    rows : pa.Table
        ``prompt_ids``, ``chosen_ids``, ``rejected_ids`` and ``weight``, as
        `statllm.training.data.to_rows` makes them.
    settings : PreferenceSettings
    folder : Path
        For checkpoints.
    reference : PreTrainedModel, optional
        Left out, it is `model` as given.
    reference_path : Path, optional
        Where the reference's log-probabilities are kept; left out, in `folder`.
    held_out : pa.Table, optional
        As `rows`: pairs that are evaluated, and not trained on.
    held_out_reference_path : Path, optional
        As `reference_path`, of these.
    starts_at_reference : bool
        Whether model and reference are the same at step 0, which is then checked.
    callbacks : sequence of TrainerCallback
    on_step : callable
        See `statllm.training.trainer.Trainer`.

    Raises
    ------
    InputError
        If the model can't be computed as `settings.layout` says.
    """
    layout = choose_layout(settings.layout, model.config)
    n = rows.num_rows
    every = rows if held_out is None else pa.concat_tables([rows, held_out])
    sequences = Sequences(every, ("chosen_ids", "rejected_ids"), layout, settings.token_budget)
    objective = PairObjective(
        sequences,
        every["weight"].to_numpy(),
        settings,
        n_rows=n,
        starts_at_reference=starts_at_reference,
    )
    live = settings.needs_reference and not settings.precompute_reference
    if live and reference is None and settings.lora_rank is None:
        reference = copy.deepcopy(model)
    policy: Any = model if settings.lora_rank is None else adapted(model, settings)
    trainer = Trainer(
        policy,
        objective,
        settings,
        folder,
        held_out=None if held_out is None else HeldOut(objective, settings),
        callbacks=with_callbacks(callbacks, settings, folder),
        on_step=on_step,
    )
    if not settings.needs_reference:
        return trainer
    # without a reference of its own, the model is it as long as nothing was trained
    module = trainer.module
    if reference is not None:
        reference.requires_grad_(False)
        module = SequenceLogps(reference, sequences).to(trainer.processes.device)
    if live:
        objective.reference = module if reference is not None else _Unadapted(policy, module)
    else:
        parts = [(reference_path or folder / "reference.parquet", range(n))]
        if held_out is not None:
            path = held_out_reference_path or folder / "reference-held-out.parquet"
            parts.append((path, range(n, every.num_rows)))
        objective.reference = np.concatenate(
            [
                reference_logps(module, sequences, part, path, trainer.processes, settings.dtype)
                for path, part in parts
            ]
        )
    return trainer


class _Unadapted(torch.nn.Module):
    """The model without its adapter."""

    def __init__(self, model: Any, module: torch.nn.Module) -> None:
        super().__init__()
        self._parts = (model, module)  # a tuple, so that they aren't submodules

    def forward(self, rows: Sequence[int]) -> torch.Tensor:
        model, module = self._parts
        with model.disable_adapter():
            logps: torch.Tensor = module(rows)
        return logps
