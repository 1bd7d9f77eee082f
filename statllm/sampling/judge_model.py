"""Any source of samples as a judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError
from statllm.sampling.failures import Failure, SamplesMissing
from statllm.sampling.sampler import open_backend
from statllm.sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from statllm.sampling.backend import Backend
    from statllm.scoring.judges import Question

#: The settings that decide texts.
_DECISIVE = (
    "temperature", "top_p", "max_new_tokens", "seed", "dtype", "near_tie", "backend", "engine",
    "endpoint",
)  # fmt: skip


class BackendJudge:
    """A backend that answers questions; a `statllm.scoring.judges.JudgeModel`.

    Random numbers follow from the question's content and the vote's number, not from where in a
    table the question stands.

    Parameters
    ----------
    backend : Backend
        Its settings decide the texts; `settings.n` isn't used.
    digest : str
        Of the model's content.
    name : str
        For people.
    """

    def __init__(self, backend: Backend, digest: str, name: str) -> None:
        self.backend, self.name = backend, name
        settings = backend.settings
        decisive = {field: getattr(settings, field) for field in _DECISIVE}
        self.identity = json.dumps([digest, decisive], sort_keys=True)
        self.samples = settings.temperature > 0

    def write(
        self, keys: Sequence[str], questions: Sequence[Question], votes: range
    ) -> Iterator[tuple[int, list[str | None]]]:
        """Yield places of questions with the texts of these votes, `settings.shard_size` at a time.

        Raises
        ------
        InputError
            If a question can't be asked.
        SamplesMissing
            At the end, if a server has failed some and `settings.allow_failures` isn't set.
        """
        settings = self.backend.settings
        encoded = self._encoded(keys, questions)
        places = sorted(range(len(keys)), key=lambda place: (len(encoded[place]), keys[place]))
        failures: list[Failure] = []
        for start in range(0, len(places), settings.shard_size):
            shard = places[start : start + settings.shard_size]
            while shard:
                try:
                    names = [keys[place] for place in shard]
                    drawn = self.backend.sample(names, [encoded[place] for place in shard], votes)
                except SamplesMissing as missing:
                    failures += missing.failures
                    lost = {failure.prompt_id for failure in missing.failures}
                    for place in shard:
                        if keys[place] in lost:
                            yield place, [None for _ in votes]
                    shard = [place for place in shard if keys[place] not in lost]
                    continue
                texts = self.backend.text([sample.token_ids.tolist() for sample in drawn])
                for number, place in enumerate(shard):
                    yield place, list(texts[number * len(votes) : (number + 1) * len(votes)])
                break
        if failures and not settings.allow_failures:
            first = failures[0]
            raise SamplesMissing(
                f"the judge failed to answer {len({one.prompt_id for one in failures})} of "
                f"{len(keys)} questions ({first.kind}, {first.message}); the same call asks for "
                "these only",
                failures,
            )

    def close(self) -> None:
        """Give back what the backend holds outside this process."""
        self.backend.close()

    def _encoded(self, keys: Sequence[str], questions: Sequence[Question]) -> list[list[int]]:
        """Token ids; an error names the question by how it ends, where the response stands."""
        plain: list[Any] = [
            question if isinstance(question, str) else [dict(message) for message in question]
            for question in questions
        ]
        try:
            return self.backend.encode(keys, plain)
        except InputError as error:
            message = str(error)
            for key, question in zip(keys, plain, strict=True):
                if key in message:
                    text = question if isinstance(question, str) else question[-1]["content"]
                    shown = f"the question to the judge that ends in {text[-60:]!r}"
                    message = message.replace(f"the prompt of prompt_id '{key}'", shown)
                    message = message.replace(f"prompt_id '{key}'", shown)
            raise InputError(message) from error


def open_judge(
    model: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    settings: SamplingSettings | None = None,
) -> BackendJudge:
    """Open a model as a judge, by the backend of the settings.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
        As for `statllm.sampling.sample`.
    settings : SamplingSettings, optional
        Default: greedy, 1024 tokens at most.

    Examples
    --------
    >>> from statllm.lab import model_path
    >>> judge = open_judge(model_path())
    >>> judge.samples
    False
    """
    if settings is None:
        settings = SamplingSettings(temperature=0.0, max_new_tokens=1024)
    backend, digest, name = open_backend(model, settings)
    if isinstance(model, tuple):  # the weights' digest doesn't have the tokenizer
        tokenizer: Any = model[1]
        content = [sorted(tokenizer.get_vocab().items()), tokenizer.chat_template]
        digest += hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return BackendJudge(backend, digest, name)
