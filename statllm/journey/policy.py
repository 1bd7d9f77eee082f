"""The next step of a solution, from any source of samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.journey.tree import End
from statllm.sampling.sampler import open_backend
from statllm.sampling.settings import SamplingSettings
from statllm.sampling.stop_strings import StopStrings
from statllm.scoring.answers import AnswerRule, extract

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from statllm.sampling.backend import Backend

#: What decides the texts, but how many are drawn.
_DECISIVE = (
    "temperature", "top_p", "max_new_tokens", "seed", "dtype", "near_tie", "backend", "engine",
    "endpoint",
)  # fmt: skip

#: How a response says that this is its answer; a number alone may be any step's.
_MARKED: tuple[AnswerRule, ...] = ("hash", "boxed", "final")


@dataclass(frozen=True)
class Partial:
    """A solution so far."""

    prompt_id: str
    prompt: Any
    so_far: str = ""

    @property
    def key(self) -> str:
        """Name for random numbers: the same beginning is always continued alike."""
        if not self.so_far:
            return self.prompt_id
        return f"{self.prompt_id}/{hashlib.sha256(self.so_far.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Step:
    """A continuation up to the end of a step, and how it ended."""

    text: str
    end: End


class StepPolicy:
    """A model that goes on with solutions, step by step or to their end.

    Random numbers follow from the seed, the problem and the solution so far, so a search that was
    stopped writes the same when it goes on.

    Parameters
    ----------
    steps, whole : Backend
        Sources of one step and of whole responses; they may be the same.
    step_end : str
        Text that ends a step and belongs to it.
    digest : str
        Of the model's content.
    """

    def __init__(self, steps: Backend, whole: Backend, step_end: str, digest: str) -> None:
        self.steps, self.whole, self.step_end = steps, whole, step_end
        decisive = {
            kind: {name: getattr(backend.settings, name) for name in _DECISIVE}
            for kind, backend in (("steps", steps), ("whole", whole))
        }
        self.identity = json.dumps([digest, step_end, decisive], sort_keys=True)

    def next_steps(self, partials: Sequence[Partial], n: int) -> list[list[Step]]:
        """Return `n` next steps of each solution.

        Parameters
        ----------
        partials : sequence of Partial
        n : int

        Returns
        -------
        list of list of Step
            Empty for a solution that leaves the model no room for another step.

        Raises
        ------
        InputError
            If a prompt is null, empty or too long.
        """
        found: list[list[Step]] = []
        for texts in self._drawn(self.steps, partials, n):
            found.append([self._step(text, stopped, ids) for text, stopped, ids in texts])
        return found

    def complete(self, partials: Sequence[Partial], n: int) -> list[list[str]]:
        """Return `n` continuations of each solution to its end; as `next_steps`."""
        return [[text for text, _, _ in texts] for texts in self._drawn(self.whole, partials, n)]

    def begin(self, journal: Path | None) -> None:
        """Keep what a server answers in a file, from which a killed search goes on."""
        keep = getattr(self.steps, "begin", None)
        if keep is not None:
            keep(journal)

    def close(self) -> None:
        """Give back what the backends hold."""
        for backend in {id(one): one for one in (self.steps, self.whole)}.values():
            backend.close()

    def _drawn(
        self, backend: Backend, partials: Sequence[Partial], n: int
    ) -> list[list[tuple[str, bool, bool]]]:
        """Texts with whether they stopped by themselves, and whether their tokens are known."""
        inner: Any = backend.backend if isinstance(backend, StopStrings) else backend
        encoded = self._encoded(backend, inner, partials)
        asked = [place for place, ids in enumerate(encoded) if ids is not None]
        found: list[list[tuple[str, bool, bool]]] = [[] for _ in partials]
        if not asked:
            return found
        keys = [partials[place].key for place in asked]
        decoded = backend.sample(keys, [encoded[place] or [] for place in asked], range(n))
        # The text with what ended it, where tokens are known: StopStrings would take it off.
        texts = inner.text([one.token_ids.tolist() for one in decoded])
        for number, (one, text) in enumerate(zip(decoded, texts, strict=True)):
            found[asked[number // n]].append((text, one.stopped, len(one.token_ids) > 0))
        return found

    def _encoded(
        self, backend: Backend, inner: Any, partials: Sequence[Partial]
    ) -> list[list[int] | None]:
        """Token ids; None for a solution (not a prompt) that has become too long."""
        keys = [one.key for one in partials]
        whole = [
            one.prompt + one.so_far if isinstance(one.prompt, str) else one.prompt
            for one in partials
        ]
        try:
            encoded: list[list[int] | None] = list(backend.encode(keys, whole))
        except InputError:
            encoded = []
            for key, text, one in zip(keys, whole, partials, strict=True):
                try:
                    encoded += backend.encode([key], [text])
                except InputError:
                    if not one.so_far:
                        raise
                    encoded.append(None)
            backend.encode(
                [key for key, ids in zip(keys, encoded, strict=True) if ids is not None],
                [text for text, ids in zip(whole, encoded, strict=True) if ids is not None],
            )
        for place, one in enumerate(partials):
            if one.so_far and not isinstance(one.prompt, str) and encoded[place] is not None:
                encoded[place] = _with_reply(inner, one, encoded[place] or [])
        return encoded

    def _step(self, text: str, stopped: bool, known: bool) -> Step:
        # A blank line is no step, it belongs to the step after it, if one is there.
        blank = len(text) - len(text.lstrip())
        place = text.find(self.step_end, blank if blank < len(text) else 0)
        if place >= 0:
            text = text[: place + len(self.step_end)]
            return Step(text, "answer" if has_answer(text) else "open")
        if not stopped:
            return Step(text, "cut")
        if known or has_answer(text):
            return Step(text, "answer")
        # A server that tells no tokens: it has stopped at the step's end and kept that to itself.
        return Step(text + self.step_end, "open")


def has_answer(text: str) -> bool:
    """Whether a text marks a final answer.

    Examples
    --------
    >>> has_answer("Then 16 * 3 = 48."), has_answer("#### 48")
    (False, True)
    """
    return any(extract(text, rule) is not None for rule in _MARKED)


def open_policy(
    model: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    sampling: SamplingSettings,
    step_end: str,
    max_step_tokens: int,
) -> StepPolicy:
    """Open a model as a policy.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
        As for `statllm.sampling.sample`.
    sampling : SamplingSettings
        Of whole responses; `n` isn't used.
    step_end : str
    max_step_tokens : int
        Longest step, in tokens.

    Raises
    ------
    InputError
        If the model can't be loaded, or `step_end` is empty.

    Examples
    --------
    >>> from statllm.lab import model_path, problems
    >>> policy = open_policy(model_path(), SamplingSettings(max_new_tokens=80), ".", 24)
    >>> row = problems("test", 1).to_pylist()[0]
    >>> steps = policy.next_steps([Partial(row["prompt_id"], row["prompt"])], 4)
    >>> len(steps[0])
    4
    """
    if not step_end:
        raise InputError("step_end is empty: it is the text that ends a step")
    # transformers decodes to the end whatever the stop strings are: it is cheaper to cut here.
    strings = () if sampling.backend == "transformers" else (step_end,)
    short = sampling.model_copy(update={"max_new_tokens": max_step_tokens, "stop_strings": strings})
    steps, digest, _ = open_backend(model, short)
    if sampling.backend == "transformers":
        from statllm.sampling.transformers_backend import TransformersBackend

        assert isinstance(steps, TransformersBackend)
        return StepPolicy(
            steps, TransformersBackend(steps.model, steps.tokenizer, sampling), step_end, digest
        )
    if sampling.backend == "openai":
        whole, _, _ = open_backend(model, sampling)
        return StepPolicy(steps, whole, step_end, digest)
    return StepPolicy(steps, _Whole(steps), step_end, digest)


class _Whole:
    """Stands for whole responses of an engine that is open for steps: it can't have two."""

    def __init__(self, backend: Backend) -> None:
        self.settings = backend.settings

    def __getattr__(self, name: str) -> Any:
        raise InputError(
            "whole responses with backend vllm need an engine of their own: serve the model, and "
            "use backend openai"
        )

    def close(self) -> None:
        """Do nothing."""


def _with_reply(inner: Any, one: Partial, ids: list[int]) -> list[int] | None:
    """Token ids of a conversation in which the assistant has written a part of its reply."""
    tokenizer = getattr(inner, "tokenizer", None)
    if tokenizer is None:
        raise InputError(
            f"prompt_id '{one.prompt_id}' is a list of messages: to go on with a reply, the "
            "model's folder must be known, for its tokenizer"
        )
    whole = [*ids, *tokenizer(one.so_far, add_special_tokens=False)["input_ids"]]
    longest = getattr(getattr(inner, "model", None), "config", None)
    most = getattr(longest, "max_position_embeddings", None) or getattr(inner, "_longest", None)
    if most is not None and len(whole) + inner.settings.max_new_tokens > most:
        return None
    return whole
