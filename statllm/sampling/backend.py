"""What a source of samples must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from statllm.sampling.decode import Decoded
    from statllm.sampling.settings import SamplingSettings


class Backend(Protocol):
    """A model with its tokenizer, as a source of samples."""

    settings: SamplingSettings

    def encode(self, prompt_ids: Sequence[str], prompts: Sequence[object]) -> list[list[int]]:
        """Return the token ids of all prompts, each of which leaves room for a response."""
        ...

    def sample(
        self,
        prompt_ids: Sequence[str],
        prompts: Sequence[Sequence[int]],
        numbers: range,
        on_token: Callable[[int, int], None] = lambda tokens, finished: None,
    ) -> list[Decoded]:
        """Return the samples of these numbers of each prompt, prompt after prompt."""
        ...

    def text(self, token_ids: list[list[int]]) -> list[str]:
        """Return the texts, without special tokens and otherwise as generated."""
        ...

    def close(self) -> None:
        """Give back what the backend holds outside this process."""
        ...
