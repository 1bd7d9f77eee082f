"""Reward models that are decoders: a number from the hidden states of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.scoring.reward_models.encoding import Encoded, Prompt, encode
from statllm.scoring.reward_models.heads import Head, read_head
from statllm.scoring.reward_models.loading import chosen_device, load, padded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Decoder:
    """A decoder, and the head that is computed on it in float32.

    Parameters
    ----------
    folder : Path
    model, tokenizer
        Of transformers.
    head : Head
    chat : bool
        Take a prompt that is a string for the one message of a user.
    """

    folder: Path
    model: Any
    tokenizer: Any
    head: Head
    chat: bool

    @classmethod
    def load(cls, folder: Path, tokenizer: Any, device: str, dtype: str, chat: bool) -> Decoder:
        """Load a folder's model and its head.

        Raises
        ------
        InputError
            If the head is unknown, a weight is missing, or the dtype is unknown.
        """
        head = read_head(folder, chosen_device(device))
        return cls(folder, load(folder, "AutoModel", device, dtype), tokenizer, head, chat)

    @property
    def n_objectives(self) -> int:
        """Number of rewards before they are made one."""
        return self.head.n_objectives

    @property
    def max_tokens(self) -> int | None:
        """The most positions that the model has."""
        found: int | None = getattr(
            self.model.config.get_text_config(), "max_position_embeddings", None
        )
        return found

    def encode(self, prompt: Prompt, response: str) -> Encoded:
        """Return the tokens that the head needs."""
        return encode(
            self.tokenizer,
            prompt,
            response,
            chat=self.chat,
            prompt_end=self.head.needs_prompt_end,
            cls_id=self._cls_id if self.head.appends_cls else None,
        )

    @cached_property
    def _cls_id(self) -> int:
        found = self.tokenizer.cls_token_id
        if found is None:
            raise InputError(
                f"model {self.folder} has a v_head, but its tokenizer has no CLS token"
            )
        return int(found)

    def outputs(self, texts: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rewards with objectives, and what the head reads of the text's end."""
        return reward_outputs(self.model, self.head, texts)


def reward_outputs(
    model: Any, head: Head, texts: Sequence[Encoded]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards with objectives, and the hidden states that they are of, of one batch."""
    import torch

    ids, mask = padded([text.ids for text in texts])
    ids, mask = ids.to(model.device), mask.to(model.device)
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        rows = torch.arange(len(texts), device=hidden.device)
        skip = None if head.appends_cls else model.config.get_text_config().pad_token_id
        last = hidden[rows, last_places(ids, mask, skip)].float()
        ends = torch.tensor([max(text.prompt_end, 0) for text in texts], device=hidden.device)
        return head(last, hidden[rows, ends].float()), last


def last_places(ids: torch.Tensor, mask: torch.Tensor, skip: int | None) -> torch.Tensor:
    """Place of the last token of each row, `skip` passed over as transformers' classifiers do."""
    import torch

    counted = mask.bool()
    if skip is not None:
        counted = counted & (ids != skip)
    return (torch.arange(ids.shape[1], device=ids.device) * counted).argmax(1)
