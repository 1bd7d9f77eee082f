"""The Bradley-Terry loss on the optimizer batch that all trainers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from transformers import TrainingArguments

from statllm.errors import InputError
from statllm.models import loading
from statllm.scoring.reward_models.model import last_places, padded, quiet
from statllm.training.logprobs import disable_dropout
from statllm.training.settings import TrainingSettings
from statllm.training.trainer import OptimizerBatchTrainer, trainer_arguments

if TYPE_CHECKING:
    from transformers import TrainerCallback


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Negative log-likelihood of each preference, ``−log σ(r_chosen − r_rejected)``, nats.

    Examples
    --------
    >>> bradley_terry_loss(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0]))
    tensor([0.1269, 0.6931])
    """
    return -functional.logsigmoid(chosen - rejected)


def collate_pairs(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Pad pairs on the right: the chosen texts, then the rejected ones.

    Examples
    --------
    >>> collate_pairs([{"chosen_ids": [5, 6, 7], "rejected_ids": [5, 8]}])["input_ids"]
    tensor([[5, 6, 7],
            [5, 8, 0]])
    """
    texts = [row[f"{name}_ids"] for name in ("chosen", "rejected") for row in rows]
    ids, mask = padded(texts)
    return {"input_ids": ids, "attention_mask": mask, "weight": torch.ones(len(rows))}


def load_classifier(folder: Path, seed: int = 0) -> Any:
    """Load a decoder with one output, in float32.

    Parameters
    ----------
    folder : Path
        Of a reward model, or of a language model, whose output layer is left out.
    seed : int
        Of the output's weights where the folder has none: normal with variance 1 / width.

    Raises
    ------
    InputError
        If it's another kind of model, or its reward comes from another kind of head.
    """
    with loading(str(folder)), quiet():
        from transformers import AutoModelForSequenceClassification

        model: Any
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            num_labels=1,
            output_loading_info=True,
        )
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Linear):
        raise InputError(f"model {folder} isn't a decoder, which a reward model is trained from")
    lost = [key for key in sorted(info["unexpected_keys"]) if not key.startswith("lm_head.")]
    if lost:
        raise InputError(f"model {folder} can't be trained: its weights '{lost[0]}' have no place")
    missing = set(info["missing_keys"])
    lacking = sorted(missing - {"score.weight", "score.bias"})
    if lacking:
        raise InputError(f"model {folder} isn't complete: its weights lack {lacking[0]}")
    if missing:
        noise = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            head.weight.copy_(noise / head.weight.shape[1] ** 0.5)
            if head.bias is not None:
                head.bias.zero_()
    return model


class RewardTrainer(OptimizerBatchTrainer):
    """Mean Bradley-Terry loss over the pairs of the optimizer batch.

    Parameters
    ----------
    model : PreTrainedModel
        A sequence classifier with one output, in float32.
    rows : pa.Table
        ``chosen_ids`` and ``rejected_ids``: prompt and response together.
    settings : TrainingSettings
    tokenizer : PreTrainedTokenizerBase
    folder : Path
        For checkpoints.
    callbacks : sequence of TrainerCallback
    """

    def __init__(
        self,
        model: Any,
        rows: pa.Table,
        settings: TrainingSettings,
        tokenizer: Any,
        folder: Path,
        *,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        disable_dropout(model)
        super().__init__(
            model=model,
            args=TrainingArguments(**trainer_arguments(settings, folder)),
            data_collator=collate_pairs,
            train_dataset=Dataset(rows),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )

    def row_losses(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a micro-batch's pairs, and what the curve shows of them."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        with self.accelerator.autocast():
            hidden = model.base_model(
                input_ids=ids, attention_mask=mask, use_cache=False
            ).last_hidden_state
        places = last_places(ids, mask, model.config.get_text_config().pad_token_id)
        last = hidden[torch.arange(len(ids), device=ids.device), places].float()
        chosen, rejected = model.score(last)[:, 0].float().chunk(2)
        margin = (chosen - rejected).detach()
        return {
            "loss": bradley_terry_loss(chosen, rejected),
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "margin": margin,
            "accuracy": torch.heaviside(margin, torch.full_like(margin, 0.5)),  # a tie is a half
        }
