"""Responses that end before a text, whatever computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statllm.sampling.backend import Backend
    from statllm.sampling.decode import Decoded


class StopStrings:
    """A backend whose responses end before the first of some texts.

    The text is cut before it; the tokens are those up to the one that completes it, which is what
    was drawn. Engines that know such texts stop there by themselves; with transformers a response
    is decoded to its end, and cut.

    Parameters
    ----------
    backend : Backend
    strings : sequence of str
    """

    def __init__(self, backend: Backend, strings: Sequence[str]) -> None:
        self.backend, self.strings = backend, tuple(strings)
        self.settings = backend.settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def encode(self, prompt_ids: Sequence[str], prompts: Sequence[object]) -> list[list[int]]:
        """Return the token ids of all prompts."""
        return self.backend.encode(prompt_ids, prompts)

    def sample(
        self,
        prompt_ids: Sequence[str],
        prompts: Sequence[Sequence[int]],
        numbers: range,
        on_token: Callable[[int, int], None] = lambda tokens, finished: None,
    ) -> list[Decoded]:
        """Return the samples, without the tokens that come after a text."""
        decoded = self.backend.sample(prompt_ids, prompts, numbers, on_token)
        if not all(len(one.token_ids) for one in decoded):
            return decoded  # a server that tells no ids: it has stopped by itself
        texts = self.backend.text([one.token_ids.tolist() for one in decoded])
        return [
            self._trimmed(one) if cut(text, self.strings) != text else one
            for one, text in zip(decoded, texts, strict=True)
        ]

    def _trimmed(self, one: Decoded) -> Decoded:
        """Keep the shortest beginning whose text holds one of the strings."""
        ids = one.token_ids.tolist()
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            text = self.backend.text([ids[:middle]])[0]
            if cut(text, self.strings) != text:
                high = middle
            else:
                low = middle + 1
        return replace(
            one,
            token_ids=one.token_ids[:low],
            logprobs=one.logprobs[:low],
            logprobs_model=one.logprobs_model[:low],
            stopped=True,
        )

    def text(self, token_ids: list[list[int]]) -> list[str]:
        """Return the texts, cut before the first of the strings."""
        return [cut(text, self.strings) for text in self.backend.text(token_ids)]

    def close(self) -> None:
        """Give back what the backend holds."""
        self.backend.close()


def cut(text: str, strings: Sequence[str]) -> str:
    """Return the text up to the first of the strings.

    Examples
    --------
    >>> cut("It is 7. Q: next", ["Q:", "."])
    'It is 7'
    """
    ends = [place for string in strings if (place := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text
