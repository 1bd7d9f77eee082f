"""Sampling with transformers, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from statllm.adapters import merge_adapter
from statllm.errors import InputError
from statllm.models import load_model, load_tokenizer, stop_ids
from statllm.sampling.decode import Decoded, decode
from statllm.sampling.encode import decode_texts, encode_prompts, longest_sequence
from statllm.sampling.random import stream_keys

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from statllm.sampling.settings import SamplingSettings


class TransformersBackend:
    """A model with its tokenizer, as a source of samples.

    Parameters
    ----------
    model, tokenizer
        As transformers loads them; the model is used as it is, on its device and in its dtype.
    settings : SamplingSettings

    Raises
    ------
    InputError
        From the methods: a prompt without tokens or too long for the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: SamplingSettings,
    ) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.stop = stop_ids(model.generation_config, tokenizer)

    @classmethod
    def load(cls, source: str | Path, settings: SamplingSettings) -> TransformersBackend:
        """Load a model folder or hub name in the dtype and on the device of the settings.

        An adapter is merged into the weights, so that decoding is as fast as without.
        """
        model = load_model(source, dtype=settings.dtype, device=settings.device)
        if settings.adapter is not None:
            model = merge_adapter(model, settings.adapter)
        return cls(model, load_tokenizer(source), settings)

    def encode(self, prompt_ids: Sequence[str], prompts: Sequence[object]) -> list[list[int]]:
        """Return the token ids of all prompts, each of which leaves room for a response."""
        return encode_prompts(
            self.tokenizer,
            prompt_ids,
            prompts,
            self.settings.max_new_tokens,
            longest_sequence(self.model.config),
        )

    def sample(
        self,
        prompt_ids: Sequence[str],
        prompts: Sequence[Sequence[int]],
        numbers: range,
        on_token: Callable[[int, int], None] = lambda tokens, finished: None,
    ) -> list[Decoded]:
        """Return the samples of these numbers of each prompt, prompt after prompt.

        Sequences are decoded in batches of prompts of similar length, which saves padding.
        """
        n, size = len(numbers), self.settings.batch_size
        lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        order = np.repeat(np.argsort(lengths, kind="stable"), n)
        places = np.tile(np.arange(n), len(prompts))
        results: list[Decoded | None] = [None] * len(order)
        for start in range(0, len(order), size):
            rows, place = order[start : start + size], places[start : start + size]
            used, owner = np.unique(rows, return_inverse=True)
            ids = [prompt_ids[row] for row in rows]
            keys = stream_keys(self.settings.seed, ids, numbers.start + place)
            try:
                decoded = decode(
                    self.model,
                    [prompts[row] for row in used],
                    owner,
                    keys,
                    self.stop,
                    self.settings,
                    on_token,
                )
            except FloatingPointError as error:
                raise InputError(f"the model can't be sampled from: {error}") from error
            for at, result in zip(rows * n + place, decoded, strict=True):
                results[at] = result
        return [result for result in results if result is not None]

    def text(self, token_ids: list[list[int]]) -> list[str]:
        """Return the texts, without special tokens and otherwise as generated."""
        return decode_texts(self.tokenizer, token_ids)

    def close(self) -> None:
        """Do nothing: the model lives in this process and goes with its last reference."""
