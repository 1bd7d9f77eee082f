"""Reward models that are encoders: prompt and response as the two texts of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.files import read_json
from statllm.scoring.reward_models.encoding import Encoded, Prompt
from statllm.scoring.reward_models.heads import weight_files
from statllm.scoring.reward_models.loading import load, padded

if TYPE_CHECKING:
    import torch


def is_encoder(folder: Path) -> bool:
    """Whether a folder holds an encoder that classifies: BERT, DeBERTa, RoBERTa and their kin.

    They call their output layer ``classifier``; decoders call it ``score``.
    """
    kinds = read_json(folder / "config.json").get("architectures") or []
    classifies = any(str(kind).endswith("ForSequenceClassification") for kind in kinds)
    return classifies and any(name.startswith("classifier.") for name in weight_files(folder))


@dataclass(frozen=True)
class Encoder:
    """A sequence classifier with one output, whose number for a pair of texts is the reward.

    Parameters
    ----------
    model, tokenizer
        Of transformers.
    """

    model: Any
    tokenizer: Any
    n_objectives: int = 0

    @classmethod
    def load(cls, folder: Path, tokenizer: Any, device: str, dtype: str) -> Encoder:
        """Load a folder's model.

        Raises
        ------
        InputError
            If it has more than one output, a weight is missing, or the dtype is unknown.
        """
        from transformers import AutoConfig

        n_outputs = AutoConfig.from_pretrained(folder).num_labels
        if n_outputs != 1:
            raise InputError(
                f"model {folder} is not a reward model: its classifier has {n_outputs} outputs, "
                "one was expected"
            )
        return cls(load(folder, "AutoModelForSequenceClassification", device, dtype), tokenizer)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a pair that the model has positions for."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        # RoBERTa's kin number them from behind that of the padding token.
        embeddings = getattr(self.model.base_model, "embeddings", None)
        first = getattr(embeddings, "padding_idx", None)
        return positions if positions is None or first is None else positions - first - 1

    def encode(self, prompt: Prompt, response: str) -> Encoded:
        """Return the tokens of the pair, with the tokenizer's own special tokens.

        Raises
        ------
        InputError
            If the prompt has several messages: these models were trained on one question.
        """
        if not isinstance(prompt, str):
            if len(prompt) != 1:
                raise InputError(
                    f"an encoder reads one question and its response, and the prompt that begins "
                    f"with {prompt[0]['content'][:40]!r} has {len(prompt)} messages"
                )
            prompt = prompt[0]["content"]
        found = self.tokenizer(prompt, response, verbose=False)
        return Encoded(list(found["input_ids"]), types=found.get("token_type_ids"))

    def outputs(self, texts: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rewards, (n, 1), and features, of which there are none."""
        import torch

        ids, mask = padded([text.ids for text in texts])
        inputs = {"input_ids": ids, "attention_mask": mask}
        types = [text.types for text in texts if text.types is not None]
        if types:
            inputs["token_type_ids"] = padded(types)[0]
        on_device = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            logits = self.model(**on_device).logits.float()
        return logits, logits[:, :0]
