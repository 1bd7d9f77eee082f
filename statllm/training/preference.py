"""The preference trainer: DPO, IRPO and ScPO on trl."""

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
from torch.nn import functional
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.training.logprobs import disable_dropout, response_logps
from statllm.training.losses import dpo_loss, margin, nll_loss, preference_loss, reward
from statllm.training.settings import PreferenceSettings
from statllm.training.trainer import OptimizerBatchTrainer, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

ROW_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids", "weight")
REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")

# Nats per square root of a token by which a model may differ from itself when its rows are
# padded differently; rounding errors of single tokens add up like that.
_NOISE = {"float32": 1e-4, "bfloat16": 5e-2}


class PairCollator(DataCollatorForPreference):
    """trl's collator, which knows nothing of weights, plus the weights."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad a list of rows; the batch is [all chosen; all rejected]."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch["weight"] = torch.tensor([row["weight"] for row in examples], dtype=torch.float32)
        return batch


class PreferenceTrainer(OptimizerBatchTrainer, DPOTrainer):  # type: ignore[misc]
    """trl's DPOTrainer on token ids as they are, with a weight per pair and our normaliser.

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
        If `rows` has other columns.
    RuntimeError
        If the step-0 check fails, or a loss isn't a number.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: pa.Table,
        settings: PreferenceSettings,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        *,
        ref_model: PreTrainedModel | None = None,
        starts_at_reference: bool = True,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.settings = settings
        self._folder = folder
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
                **trainer_arguments(settings, folder),
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

    def row_losses(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a micro-batch's pairs, and what the curve shows of them."""
        chosen, rejected = self._logps(model, inputs)
        if REFERENCE_COLUMNS[0] in inputs:
            ref_chosen, ref_rejected = (inputs[name] for name in REFERENCE_COLUMNS)
        else:
            with torch.no_grad():
                ref_chosen, ref_rejected = self._logps(self.ref_model, inputs)
        tokens, _ = inputs["completion_mask"].sum(1).chunk(2)
        weight = inputs["weight"] if self.settings.weighted else torch.ones_like(inputs["weight"])
        four = (chosen, rejected, ref_chosen, ref_rejected)
        beta, alpha = self.settings.beta, self.settings.nll_coefficient
        delta = margin(*four).detach()
        if self._check_start and model.training and self.state.global_step == 0:
            self._assert_start(delta, inputs["completion_mask"].sum(1))
        return {
            "loss": preference_loss(*four, tokens, weight, beta, alpha),
            "loss_dpo": dpo_loss(*four, beta),
            "loss_nll": nll_loss(chosen, tokens),
            "logp_chosen": chosen,
            "logp_rejected": rejected,
            "reward_chosen": reward(chosen, ref_chosen, beta),
            "reward_rejected": reward(rejected, ref_rejected, beta),
            "margin": delta,
            "accuracy": torch.heaviside(delta, torch.full_like(delta, 0.5)),  # a tie is a half
            "weight": weight,
        }

    def _logps(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        with self.accelerator.autocast():
            return response_logps(model, inputs).chunk(2)

    def _assert_start(self, delta: Tensor, n_tokens: Tensor) -> None:
        """End the run if the policy isn't its own reference."""
        chosen, rejected = n_tokens.chunk(2)
        noise = _NOISE[self.settings.dtype] * (chosen + rejected).sqrt()
        worst = (delta.abs() / noise).argmax()
        if not delta[worst].abs() <= noise[worst]:
            loss = functional.softplus(-self.settings.beta * delta).mean()
            raise RuntimeError(
                f"at step 0 the DPO loss is {loss:.6f} instead of ln 2 = {math.log(2):.6f}, and a "
                f"margin is {delta[worst]:.6f} nats instead of 0 (rounding explains "
                f"{noise[worst]:.6f}): the reference isn't the model that the run starts from"
            )

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
                for side, logps in enumerate(self._logps(model, batch)):
                    result[side, part] = logps.float().cpu().numpy()
        return pa.table(dict(zip(REFERENCE_COLUMNS, result, strict=True)))

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: trl would write one, citations and all, at every checkpoint."""

    def _send_telemetry(self) -> None:
        """None is sent."""
