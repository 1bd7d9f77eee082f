"""Our losses, weights and normaliser inside of trl's DPOTrainer."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.training.logprobs import disable_dropout, response_logps
from statllm.training.objectives import assert_start, pair_figures
from statllm.training.reference import REFERENCE_COLUMNS
from statllm.training.settings import PreferenceSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

ROW_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids", "weight")


class PairCollator(DataCollatorForPreference):
    """trl's collator, which knows nothing of weights, plus the weights."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad a list of rows; the batch is [all chosen; all rejected]."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch["weight"] = torch.tensor([row["weight"] for row in examples], dtype=torch.float32)
        return batch


# Settings of our own loop that trl's trainer doesn't read.
_ONLY_OURS = ("layout", "weight_dtype", "gradient_dtype", "lora_rank", "eval_every", "keep_best")


class WeightedDPOTrainer(DPOTrainer):
    """trl's DPOTrainer on token ids as they are, with our losses, weights and normaliser.

    The gradient of a step is ``Σ_i ∇ loss_i / B`` with B the pairs that the step really has (the
    last one of an epoch may be short), so that the size of the micro-batches can't change the
    result. transformers' own mean over micro-batches gives the rows of a short one more weight.
    Padded, one process; `statllm.training.preference.preference_trainer` does the same faster.

    Parameters
    ----------
    model : PreTrainedModel
        The model that the run starts from, in float32.
    rows : pa.Table
        ``prompt_ids``, ``chosen_ids``, ``rejected_ids`` and ``weight``, and no other column, as
        `statllm.training.data.to_rows` makes them.
    settings : PreferenceSettings
    tokenizer : PreTrainedTokenizerBase
        Only for the padding token; nothing is tokenized here.
    folder : Path
        For checkpoints and the reference's log-probabilities.
    micro_batch_size : int, optional
        Pairs per forward pass, a divisor of the batch size; left out, the whole batch.
    ref_model : PreTrainedModel, optional
        The reference; left out, it is `model` as given.
    starts_at_reference : bool
        Whether model and reference are the same at step 0. The first batch then must have a loss
        of ln 2 and margins of 0, or the run ends: anything else means that policy and reference
        aren't computed alike (dropout, another precision, another reference than thought).
    callbacks : sequence of TrainerCallback

    Raises
    ------
    InputError
        If `rows` has other columns, or the settings ask for a norm over the batch.
    RuntimeError
        If the step-0 check fails, or a loss isn't a number.
    """

    # The losses are divided by the whole batch, so transformers must not divide by micro-batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: PreTrainedModel,
        rows: pa.Table,
        settings: PreferenceSettings,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        *,
        micro_batch_size: int | None = None,
        ref_model: PreTrainedModel | None = None,
        starts_at_reference: bool = True,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        if settings.nll_norm == "token":
            raise InputError("nll_norm token needs the whole batch at once; trl has micro-batches")
        plain = PreferenceSettings()
        for name in _ONLY_OURS:
            if getattr(settings, name) != getattr(plain, name):
                raise InputError(f"{name} would be ignored here; `train_preference` has it")
        self.settings = settings
        self._folder = folder
        self._rows_of_step: list[dict[str, Tensor]] = []
        self._check_start = starts_at_reference
        if ref_model is None and not settings.precompute_reference:
            ref_model = copy.deepcopy(model)
        self._rows = rows
        for each in (model, ref_model):
            if each is not None:
                disable_dropout(each)
        pad = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        super().__init__(
            model=model,
            ref_model=ref_model,
            args=DPOConfig(
                **trl_arguments(settings, folder, micro_batch_size or settings.batch_size),
                beta=settings.beta,
                max_length=None,
                precompute_ref_log_probs=settings.precompute_reference,
            ),
            data_collator=PairCollator(pad_token_id=pad),
            train_dataset=Dataset(rows),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        if settings.precompute_reference:
            self.ref_model = None  # it has done its work
        if self.args.world_size > 1:
            raise RuntimeError("this trainer runs in one process; start it without a launcher")
        self.remove_callback(PrinterCallback)

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

    def row_losses(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a micro-batch's pairs, and what the curve shows of them."""
        logps = self._logps(model, inputs)
        if REFERENCE_COLUMNS[0] in inputs:
            reference = torch.stack([inputs[name] for name in REFERENCE_COLUMNS], dim=1)
        else:
            with torch.no_grad():
                reference = self._logps(self.ref_model, inputs)
        tokens = torch.stack(inputs["completion_mask"].sum(1).chunk(2), dim=1)
        weight = inputs["weight"] if self.settings.weighted else torch.ones_like(inputs["weight"])
        found = pair_figures(self.settings, logps, reference, tokens, weight)
        if self._check_start and model.training and self.state.global_step == 0:
            assert_start(self.settings, found["margin"], tokens)
        return found

    def _logps(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Of chosen and rejected, (n_pairs, 2)."""
        with self.accelerator.autocast():
            return torch.stack(response_logps(model, inputs).chunk(2), dim=1)

    # ---- what trl would do otherwise ----

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """Rows are token ids already; trl would tokenize text anew, and drop what it can't name."""
        if set(dataset.column_names) != set(ROW_COLUMNS):
            raise InputError(
                f"rows have columns {', '.join(dataset.column_names)}; "
                f"{', '.join(ROW_COLUMNS)} were expected"
            )
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        """Columns that reach the collator; trl's own list has no weight."""
        columns: Any = [*ROW_COLUMNS, *REFERENCE_COLUMNS]
        self._signature_columns = columns

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Add the reference's log-probabilities; kept in the folder, so a resumed run has them.

        trl's version caches by a fingerprint that data in memory never finds again.
        """
        path = self._folder / "reference.parquet"
        if not path.exists():
            write_parquet(self._reference(dataset, batch_size), path)
        reference, table = read_parquet(path), self._rows
        for column in REFERENCE_COLUMNS:
            table = table.append_column(column, reference[column])
        return Dataset(table)

    def _reference(self, dataset: Any, batch_size: int) -> pa.Table:
        """Log-probabilities of all pairs under the reference, longest first to pad little."""
        model = self.ref_model or self.model
        lengths = [pc.list_value_length(self._rows[name]).to_numpy() for name in ROW_COLUMNS[:3]]
        order = np.argsort(-(lengths[0] + np.maximum(lengths[1], lengths[2])), kind="stable")
        result = np.empty((2, len(order)), np.float32)
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            batch = self._prepare_inputs(self.data_collator([dataset[int(row)] for row in part]))
            with torch.no_grad():
                for side, logps in enumerate(self._logps(model, batch).T):
                    result[side, part] = logps.float().cpu().numpy()
        return pa.table(dict(zip(REFERENCE_COLUMNS, result, strict=True)))

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: trl would write one, citations and all, at every checkpoint."""

    def _send_telemetry(self) -> None:
        """None is sent."""


def trl_arguments(settings: PreferenceSettings, folder: Path, micro: int) -> dict[str, Any]:
    """Return the settings as keyword arguments of trl's configuration."""
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
        "save_strategy": "steps" if settings.checkpoint_every else "no",
        "save_steps": settings.checkpoint_every or 10**9,
        "logging_steps": 1,  # the curve has every step
        "logging_nan_inf_filter": False,  # it would hide them
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "remove_unused_columns": False,
    }
