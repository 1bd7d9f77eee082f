"""Prompt and response as a reward model reads them: one sequence of tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Text as it is, or messages.
Prompt = str | Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Encoded:
    """A prompt with its response.

    Parameters
    ----------
    ids : list of int
        Tokens of both.
    prompt_end : int
        Place of the last token of the prompt's turns; -1 where it wasn't asked for.
    types : list of int, optional
        Of an encoder's tokens: which text of the pair each belongs to.
    """

    ids: list[int]
    prompt_end: int = -1
    types: list[int] | None = None


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    response: str,
    *,
    chat: bool = False,
    prompt_end: bool = False,
    cls_id: int | None = None,
) -> Encoded:
    """Return the tokens of a prompt with its response.

    Messages, and the response as the assistant's last one, go through the tokenizer's chat
    template, without the opening of another turn. A prompt that is a string is put before the
    response as it is, nothing between them; the two are tokenized together, with the tokenizer's
    own special tokens, and end with its end-of-sequence token, also where the response was cut.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    prompt : str or sequence of messages
    response : str
        Without end-of-sequence token.
    chat : bool
        Take a string for the one message of a user.
    prompt_end : bool
        Find where the prompt's turns end. For messages it's the last token that the chat template
        gives them alone; in the template of Llama 3 ``<|eot_id|>``.
    cls_id : int, optional
        Token to put behind everything.

    Raises
    ------
    InputError
        If there are messages, but no chat template; if the text has no tokens; or if the tokens
        of the prompt alone aren't the first ones of the whole, and its end was asked for.
    """
    if chat and isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt + response, verbose=False)["input_ids"])
        end = tokenizer.eos_token_id
        if isinstance(end, int) and ids[-1:] != [end]:
            ids.append(end)
        alone = list(tokenizer(prompt, verbose=False)["input_ids"]) if prompt_end else []
    else:
        messages = [dict(message) for message in prompt]
        ids = _chat(tokenizer, [*messages, {"role": "assistant", "content": response}])
        alone = _chat(tokenizer, messages) if prompt_end else []
    if not ids:
        raise InputError("a prompt with its response has no tokens")
    if prompt_end and (not alone or ids[: len(alone)] != alone):
        raise InputError(
            f"the reward model needs the end of the prompt, but the tokens of {_short(prompt)} "
            "change when its response follows"
        )
    return Encoded(ids if cls_id is None else [*ids, cls_id], len(alone) - 1)


def text_of(prompt: Prompt) -> str:
    """Return a prompt as text that tells it from any other one.

    Examples
    --------
    >>> text_of("Hello")
    'text:Hello'
    >>> text_of([{"role": "user", "content": "Hello"}])
    'chat:[["user", "Hello"]]'
    """
    if isinstance(prompt, str):
        return f"text:{prompt}"
    turns = [[message["role"], message["content"]] for message in prompt]
    return f"chat:{json.dumps(turns, ensure_ascii=False)}"


def _chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    """Tokens of a conversation."""
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("the prompt is a list of messages, but the tokenizer has no chat template")
    given: list[Any] = list(messages)
    return list(
        tokenizer.apply_chat_template(
            given,
            add_generation_prompt=False,
            return_dict=False,
            tokenizer_kwargs={"verbose": False},
        )
    )


def _short(prompt: Prompt) -> str:
    return repr(text_of(prompt)[5:45])
