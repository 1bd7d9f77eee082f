"""Supervised fine-tuning on responses alone, on the same optimizer batch as the preferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainingArguments
from trl.trainer.utils import add_fused_lm_head, pad

from statllm.training.logprobs import disable_dropout, response_logps
from statllm.training.losses import nll_loss
from statllm.training.settings import SFTSettings
from statllm.training.trainer import OptimizerBatchTrainer, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback


def collate_examples(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, Tensor]:
    """Pad examples on the right.

    Examples
    --------
    >>> row = {"prompt_ids": [5, 6], "response_ids": [7, 1], "weight": 1.0}
    >>> collate_examples([row], pad_id=0)["completion_mask"]
    tensor([[0, 0, 1, 1]])
    """
    ids = [torch.tensor([*row["prompt_ids"], *row["response_ids"]]) for row in rows]
    starts = [len(row["prompt_ids"]) for row in rows]
    masks = [
        (torch.arange(len(row)) >= start).long() for row, start in zip(ids, starts, strict=True)
    ]
    return {
        "input_ids": pad(ids, padding_value=pad_id, padding_side="right"),
        "attention_mask": pad([torch.ones_like(row) for row in ids], 0, padding_side="right"),
        "completion_mask": pad(masks, 0, padding_side="right"),
        "weight": torch.tensor([row["weight"] for row in rows], dtype=torch.float32),
    }


class SFTTrainer(OptimizerBatchTrainer):
    """Weighted NLL per token of the response, ``Σ_i w_i NLL_i / |y_i|``, over the optimizer batch.

    trl's SFTTrainer takes the mean over the tokens of the batch, where a long response weighs
    more; a mean per sequence is the NLL term of IRPO and ScPO.

    Parameters
    ----------
    model : PreTrainedModel
        In float32.
    rows : pa.Table
        ``prompt_ids``, ``response_ids`` and ``weight``.
    settings : SFTSettings
    tokenizer : PreTrainedTokenizerBase
        Only for the padding token.
    folder : Path
        For checkpoints.
    callbacks : sequence of TrainerCallback
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: pa.Table,
        settings: SFTSettings,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        *,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.settings = settings
        disable_dropout(model)
        add_fused_lm_head(model)
        pad_id = tokenizer.pad_token_id
        if pad_id is None:
            pad_id = tokenizer.eos_token_id
        super().__init__(
            model=model,
            args=TrainingArguments(**trainer_arguments(settings, folder)),
            data_collator=lambda rows: collate_examples(rows, pad_id),
            train_dataset=Dataset(rows),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )

    def row_losses(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a micro-batch's examples, and what the curve shows of them."""
        with self.accelerator.autocast():
            logps = response_logps(model, inputs)
        nll = nll_loss(logps, inputs["completion_mask"].sum(1))
        weight = inputs["weight"] if self.settings.use_weights else torch.ones_like(nll)
        return {"loss": weight * nll, "loss_nll": nll, "logp": logps, "weight": weight}
