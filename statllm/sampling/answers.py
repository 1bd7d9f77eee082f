"""What an OpenAI-compatible server answers: checked, and kept line by line in a journal."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

#: Reasons for an end that mean the server broke off.
_BROKEN_OFF = ("abort", "error")


class MalformedAnswer(ValueError):
    """The server's answer can't be read as a completion."""


@dataclass(frozen=True)
class Answer:
    """One sample as the server tells it; None is what it doesn't tell.

    Parameters
    ----------
    text : str
    finish_reason : str
        "stop", "length", or a word of the server's own, such as "content_filter".
    n_tokens : int or None
    token_ids, logprobs, prompt_token_ids : list or None
    """

    text: str
    finish_reason: str
    n_tokens: int | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    prompt_token_ids: list[int] | None = None


def read_answer(body: str, chat: bool) -> Answer:
    """Read the body of a response to ``/completions`` or ``/chat/completions``.

    Raises
    ------
    MalformedAnswer
        If it isn't JSON, has not one choice, or contradicts itself.

    Examples
    --------
    >>> body = '{"choices": [{"text": "4", "finish_reason": "stop"}]}'
    >>> read_answer(body, chat=False).text
    '4'
    >>> read_answer(body[:-2], chat=False)
    Traceback (most recent call last):
    ...
    statllm.sampling.answers.MalformedAnswer: the answer isn't JSON
    """
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer("the answer isn't JSON") from error
    choices = whole.get("choices") if isinstance(whole, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise MalformedAnswer("the answer hasn't one choice")
    choice, reason = choices[0], choices[0].get("finish_reason")
    if not isinstance(reason, str) or reason in _BROKEN_OFF:
        raise MalformedAnswer(f"the answer isn't finished: finish_reason is {reason!r}")
    ids = _ids(choice.get("token_ids"), "token_ids")
    logprobs = _logprobs(choice.get("logprobs"), chat)
    if ids is not None and logprobs is not None and len(ids) != len(logprobs):
        raise MalformedAnswer(f"the answer has {len(ids)} tokens, {len(logprobs)} logprobs")
    usage = whole.get("usage")
    told = usage.get("completion_tokens") if isinstance(usage, dict) else None
    place = whole if chat else choice
    return Answer(
        text=_text(choice, chat),
        finish_reason=reason,
        n_tokens=len(ids) if ids is not None else told if _is_int32(told) else None,
        token_ids=ids,
        logprobs=logprobs,
        prompt_token_ids=_ids(place.get("prompt_token_ids"), "prompt_token_ids"),
    )


def _text(choice: Mapping[str, Any], chat: bool) -> str:
    """The text as valid Unicode; of a message without content it is empty."""
    message = choice.get("message") if chat else choice
    name = "content" if chat else "text"
    if not isinstance(message, dict) or name not in message:
        raise MalformedAnswer(f"the answer has no {name}")
    text = message[name]
    if text is None and chat:
        return ""  # cut off while it was still reasoning, or a refusal
    if not isinstance(text, str):
        raise MalformedAnswer(f"the answer's {name} isn't text")
    # A text cut inside a character may hold half of a surrogate pair.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _logprobs(given: Any, chat: bool) -> list[float] | None:
    """Log-probabilities of the sampled tokens."""
    if not isinstance(given, dict):
        return None
    if not chat:
        found = given.get("token_logprobs")
    else:
        entries = given.get("content")
        if not isinstance(entries, list):
            return None
        found = [one.get("logprob") if isinstance(one, dict) else None for one in entries]
    values = _list_of(found, (int, float), "logprobs")
    if values is not None and any(math.isnan(value) or value > 1e-3 for value in values):
        raise MalformedAnswer("the answer's logprobs aren't log-probabilities")
    return values


def _ids(given: Any, name: str) -> list[int] | None:
    """Token ids that the table's columns can hold."""
    ids = _list_of(given, int, name)
    if ids is not None and not all(map(_is_int32, ids)):
        raise MalformedAnswer(f"the answer's {name} can't be read")
    return ids


def _is_int32(value: Any) -> bool:
    """Whether it is a whole number from 0 that fits 32 bits."""
    return isinstance(value, int) and 0 <= value < 2**31


def _list_of(given: Any, kind: type | tuple[type, ...], name: str) -> list[Any] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(value, kind) for value in given):
        raise MalformedAnswer(f"the answer's {name} can't be read")
    return given


class Journal:
    """Answers by their request's key: in memory and, given a path, one line each in a file.

    A line is written when its answer arrives, so that a killed job loses none; a last line that
    was cut is left out when the file is read again.

    Parameters
    ----------
    path : Path or None

    Examples
    --------
    >>> with Journal(None) as journal:
    ...     journal.add("key", Answer("4", "stop"))
    ...     journal.answers["key"].text
    '4'
    """

    def __init__(self, path: Path | None) -> None:
        self.answers: dict[str, Answer] = {}
        self._path = path
        self._file: TextIO | None = None
        if path is not None and path.is_file():
            with path.open(encoding="ascii", errors="replace", newline="\n") as lines:
                for line in lines:
                    self._read(line)

    def _read(self, line: str) -> None:
        if not line.endswith("\n"):
            return
        try:
            entry = json.loads(line)
            key = entry.pop("key")
            self.answers[key] = Answer(**entry)
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # a line cut by a kill, with a later run's line behind it

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        self.answers[key] = answer
        if self._path is None:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="ascii", newline="\n")
            self._file.write("\n")  # ends a line that a kill has cut
        self._file.write(json.dumps({"key": key, **asdict(answer)}) + "\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Force what was written to disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
