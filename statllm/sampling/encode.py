"""Prompts as token ids, and token ids as texts, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from statllm.errors import InputError
from statllm.models import encode_prompt

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def longest_sequence(config: PretrainedConfig) -> int | None:
    """Positions that the model has; None where its configuration doesn't say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[str],
    prompts: Sequence[object],
    max_new_tokens: int,
    longest: int | None,
) -> list[list[int]]:
    """Return the token ids of all prompts, each of which leaves room for a response.

    Raises
    ------
    InputError
        Names the prompt that is null, without tokens or too long.
    """
    encoded = []
    for prompt_id, prompt in zip(prompt_ids, prompts, strict=True):
        if not isinstance(prompt, str | list):
            raise InputError(f"the prompt of prompt_id '{prompt_id}' is null")
        try:
            ids = encode_prompt(tokenizer, prompt)
        except InputError as error:
            raise InputError(f"prompt_id '{prompt_id}': {error}") from error
        if not ids:
            raise InputError(f"the prompt of prompt_id '{prompt_id}' has no tokens")
        if longest is not None and len(ids) + max_new_tokens > longest:
            raise InputError(
                f"the prompt of prompt_id '{prompt_id}' has {len(ids)} tokens, which with "
                f"max_new_tokens {max_new_tokens} exceeds the model's {longest} positions"
            )
        encoded.append(ids)
    return encoded


def decode_texts(tokenizer: PreTrainedTokenizerBase, token_ids: list[list[int]]) -> list[str]:
    """Return the texts, without special tokens and otherwise as generated."""
    texts: list[str] = tokenizer.batch_decode(
        token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return texts
