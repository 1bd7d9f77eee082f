"""What preference training and SFT share: the optimizer batch, the curve, whole checkpoints."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers.utils.logging
from torch import Tensor
from transformers import PrinterCallback, Trainer

from statllm.files import atomic_folder
from statllm.training.folder import STEP
from statllm.training.settings import TrainingSettings


class OptimizerBatchTrainer(Trainer):
    """A Trainer whose step is the mean of the rows' losses over the optimizer batch.

    The gradient of a step is ``Σ_i ∇ loss_i / B`` with B the rows that the step really has (the
    last one of an epoch may be short), so that the size of the micro-batches can't change the
    result. transformers' own mean over micro-batches gives the rows of a short one more weight.

    Subclasses say what the losses are, in `row_losses`.
    """

    # The losses are divided by the whole batch, so Trainer must not divide by micro-batches.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._rows_of_step: list[dict[str, Tensor]] = []
        self._save_into: Path | None = None
        super().__init__(*args, **kwargs)
        if self.args.world_size > 1:
            raise RuntimeError("training runs in one process; start it without a launcher")
        self.remove_callback(PrinterCallback)

    def row_losses(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss`` and what else the curve shows, each of shape (n_rows,)."""
        raise NotImplementedError

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], int]:
        """Collect the micro-batches of a step and count its rows."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(len(batch["weight"]) for batch in batches)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Sum of the micro-batch's losses over the rows of the whole optimizer batch."""
        rows = self.row_losses(model, inputs)
        if model.training:
            self._rows_of_step.append({name: value.detach() for name, value in rows.items()})
        loss = rows["loss"].sum() / (num_items_in_batch or len(rows["loss"]))
        return (loss, {}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means over the optimizer batch; a loss that isn't a number ends the run."""
        if self._rows_of_step:
            for name in self._rows_of_step[0]:
                values = torch.cat([rows[name] for rows in self._rows_of_step])
                logs[name] = values.double().mean().item()
            logs["n_rows"] = len(values)
            self._rows_of_step.clear()
            if not math.isfinite(logs["loss"]):
                raise RuntimeError(f"the loss is {logs['loss']} at step {self.state.global_step}")
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Nobody reads it, and counting the parameters at every micro-batch costs time."""
        return 0

    # ---- checkpoints: Trainer's content, in a folder that is whole or absent ----

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._save_into or self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir))
        with atomic_folder(folder / f"{STEP}{self.state.global_step}") as self._save_into:
            super()._save_checkpoint(model, trial)
        self._save_into = None
        for older in folder.glob(f"{STEP}*"):
            if int(older.name.removeprefix(STEP)) < self.state.global_step:
                shutil.rmtree(older)

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Weights only: no pickled arguments, and the tokenizer doesn't change."""
        model: Any = self.model
        with _no_bar():
            model.save_pretrained(output_dir, state_dict=state_dict)


@contextmanager
def _no_bar() -> Iterator[None]:
    """transformers shows a bar of its own for every checkpoint."""
    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def trainer_arguments(settings: TrainingSettings, folder: Path) -> dict[str, Any]:
    """Return the settings as keyword arguments of transformers' TrainingArguments."""
    micro = settings.micro_batch_size or settings.batch_size
    # A plain "constant" schedule would ignore the warm-up.
    schedule = {"constant": "constant_with_warmup"}.get(
        settings.lr_scheduler, settings.lr_scheduler
    )
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": settings.batch_size // micro,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": schedule,
        "warmup_steps": settings.warmup_steps or settings.warmup_ratio,
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.adam_beta1,
        "adam_beta2": settings.adam_beta2,
        "adam_epsilon": settings.adam_epsilon,
        "max_grad_norm": settings.max_grad_norm,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": settings.dtype == "bfloat16",
        "gradient_checkpointing": settings.gradient_checkpointing,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "save_strategy": "steps",  # which also saves at the end
        "save_steps": settings.checkpoint_every or 10**9,
        "logging_steps": 1,  # the curve has every step
        "logging_nan_inf_filter": False,  # it would hide them
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "remove_unused_columns": False,
    }
