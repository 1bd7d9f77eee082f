"""Sampling from a server that speaks OpenAI's protocol: vLLM, transformers, hosted models."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from statllm.errors import InputError
from statllm.models import check_model_folder, is_local, load_tokenizer, model_digest, stop_ids
from statllm.sampling.answers import Answer, Journal
from statllm.sampling.calls import Call, Caller
from statllm.sampling.decode import Decoded
from statllm.sampling.encode import decode_texts, encode_prompts, longest_sequence
from statllm.sampling.failures import missing_samples
from statllm.sampling.random import stream_keys

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from statllm.sampling.settings import SamplingSettings


@dataclass(frozen=True)
class Answered(Decoded):
    """A sample from a server; its arrays are empty where the answer doesn't tell them."""

    answer: Answer


class OpenAIBackend:
    """A model behind an OpenAI-compatible server.

    Every sample is a request of its own, with a seed made from (seed, prompt_id, sample number)
    as for the other backends: one that fails leaves all others as they are, and a restart asks
    for the samples that are missing and no others. Whether a seed gives the same text again is
    the server's affair; what has been answered once is kept.

    vLLM is recognised by its list of models. It tells token ids; with a model folder it also gets
    them, so that prompts are encoded and texts decoded here as for the other backends, and it is
    told to leave out what the model's generation_config.json would change (top-k and penalties).
    Of other servers only texts, finish reasons, numbers of tokens and, where they tell them,
    log-probabilities are known; the other columns are null. `transformers serve` draws samples only
    if the model's generation_config.json has ``do_sample``, and from one stream of random numbers.

    Parameters
    ----------
    source : path or str
        A model folder, of which the server has a copy, or the server's name for a model.
    settings : SamplingSettings

    Raises
    ------
    InputError
        If the `openai` client isn't installed, the server can't be reached or refuses the key,
        or the folder isn't a model's.
    """

    def __init__(self, source: str | Path, settings: SamplingSettings) -> None:
        if settings.server is None:
            raise InputError("backend openai needs --server, such as http://127.0.0.1:8000/v1")
        if settings.adapter is not None:
            raise InputError(
                "a server has a name of its own for a model with its adapter: give that as "
                "--served-name, or as the model, instead of --adapter"
            )
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise InputError("backend openai needs its client: pip install openai") from error
        self.settings = settings
        folder = check_model_folder(source) if is_local(source) else None
        key = os.environ.get(settings.api_key_variable)
        models = list_models(settings, key)
        self.served, described = served_model(models, str(source), folder, settings.served_name)
        self.vllm = described.get("owned_by") == "vllm"
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.digest = self._digest(folder, adapted=bool(described.get("parent")))
        self._longest: int | None = None
        self._stop: list[int] = []
        if folder is not None and self.vllm and settings.endpoint != "chat":
            self._open_folder(folder, described.get("max_model_len"))
        self._caller = Caller(settings, key)
        self._prompts: dict[str, object] = {}
        self._texts: list[str] = []
        self._told_ids = False
        self.begin(None)

    def _digest(self, folder: Path | None, adapted: bool) -> str:
        """What identifies the model, and how it is asked."""
        content = "" if folder is None else model_digest(folder)
        if folder is None or adapted:  # two servers may mean two things by one name
            name = f"{self.settings.server} {self.served} {content}".rstrip()
            content = hashlib.sha256(name.encode()).hexdigest()
        return f"{content} {'vllm' if self.vllm else 'plain'}"

    def _open_folder(self, folder: Path, served_length: object) -> None:
        from transformers import AutoConfig, GenerationConfig

        self.tokenizer = load_tokenizer(folder)
        lengths = [longest_sequence(AutoConfig.from_pretrained(folder)), served_length]
        self._longest = min((n for n in lengths if isinstance(n, int)), default=None)
        generation = (
            GenerationConfig.from_pretrained(folder)
            if (folder / "generation_config.json").is_file()
            else None
        )
        self._stop = stop_ids(generation, self.tokenizer)

    def begin(self, journal: Path | None) -> None:
        """Take and keep answers in a file from here on; None keeps them in memory only."""
        self._journal = Journal(journal)
        self._counted: set[str] = set()

    def encode(self, prompt_ids: Sequence[str], prompts: Sequence[object]) -> list[list[int]]:
        """Return the token ids of all prompts; empty lists where only the server knows them."""
        if self.tokenizer is not None:
            length = self.settings.max_new_tokens
            return encode_prompts(self.tokenizer, prompt_ids, prompts, length, self._longest)
        for prompt_id, prompt in zip(prompt_ids, prompts, strict=True):
            if not isinstance(prompt, str | list):
                raise InputError(f"the prompt of prompt_id '{prompt_id}' is null")
            if not prompt:
                raise InputError(f"the prompt of prompt_id '{prompt_id}' is empty")
            if isinstance(prompt, list) and self.settings.endpoint == "completions":
                raise InputError(
                    f"the prompt of prompt_id '{prompt_id}' is a list of messages, which endpoint "
                    "completions doesn't take"
                )
        self._prompts = dict(zip(prompt_ids, prompts, strict=True))
        return [[] for _ in prompts]

    def sample(
        self,
        prompt_ids: Sequence[str],
        prompts: Sequence[Sequence[int]],
        numbers: range,
        on_token: Callable[[int, int], None] = lambda tokens, finished: None,
    ) -> list[Decoded]:
        """Return the samples of these numbers of each prompt, prompt after prompt.

        Raises
        ------
        SamplesMissing
            If some have failed. All others have been asked for by then: the same call, without
            the prompts that lack samples, takes them from the journal.
        """
        n = len(numbers)
        ids = [prompt_id for prompt_id in prompt_ids for _ in range(n)]
        places = np.tile(np.arange(n), len(prompt_ids)) + numbers.start
        seeds = stream_keys(self.settings.seed, ids, places) >> np.uint64(1)  # theirs are signed
        calls = [
            self._request(ids[i], prompts[i // n], int(places[i]), int(seeds[i]))
            for i in range(len(ids))
        ]
        answers = self._journal.answers

        def count(call: Call) -> None:
            if call.key not in self._counted:
                self._counted.add(call.key)
                on_token(answers[call.key].n_tokens or 0, 1)

        def done(call: Call, answer: Answer) -> None:
            self._journal.add(call.key, answer)
            count(call)

        for call in calls:
            if call.key in answers:
                count(call)
        with self._journal:
            failures = self._caller.run([call for call in calls if call.key not in answers], done)
        if failures:
            raise missing_samples(failures, len(prompt_ids), None)
        found = [answers[call.key] for call in calls]
        self._texts = [answer.text for answer in found]
        self._told_ids = all(answer.token_ids is not None for answer in found)
        return [self._decoded(answer) for answer in found]

    def _request(self, prompt_id: str, ids: Sequence[int], number: int, seed: int) -> Call:
        """What is sent for one sample."""
        settings = self.settings
        prompt = self._prompts.get(prompt_id)
        chat = not ids and (settings.endpoint == "chat" or not isinstance(prompt, str))
        body: dict[str, Any] = {
            "model": self.served,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_new_tokens,
            "seed": seed,
        }
        if settings.stop_strings:
            body["stop"] = list(settings.stop_strings)
        if chat:
            text = isinstance(prompt, str)
            body["messages"] = [{"role": "user", "content": prompt}] if text else prompt
        else:
            body["prompt"] = list(ids) or prompt
        if settings.token_logprobs:
            # /completions wants the number of alternatives; vLLM can do without any.
            body["logprobs"] = True if chat else 0 if self.vllm else 1
        if self.vllm:
            body |= {"return_token_ids": True, "top_k": 0, "min_p": 0.0}
            body |= {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
            body |= {"stop_token_ids": self._stop} if self._stop else {}
        name = json.dumps([self.digest, prompt_id, number, body], sort_keys=True)
        key = hashlib.sha256(name.encode()).hexdigest()[:32]
        return Call(prompt_id, number, chat, body, key)

    def _decoded(self, answer: Answer) -> Answered:
        """The answer with its log-probabilities under what was drawn from, where they are known."""
        model = np.array(answer.logprobs or [], dtype=np.float32)
        settings = self.settings
        if settings.temperature == 0:
            drawn = np.zeros_like(model)
        elif settings.temperature == 1 and settings.top_p == 1:
            drawn = model
        else:
            drawn = np.full_like(model, math.nan)
        ids = np.array(answer.token_ids or [], dtype=np.int32)
        return Answered(ids, drawn, model, answer.finish_reason == "stop", 0, answer)

    def text(self, token_ids: list[list[int]]) -> list[str]:
        """Return the texts, without special tokens and otherwise as generated.

        Without a tokenizer, or without token ids, they are those of the last samples as the server
        wrote them.
        """
        if self.tokenizer is not None and self._told_ids:
            return decode_texts(self.tokenizer, token_ids)
        if len(token_ids) != len(self._texts):
            raise ValueError("without token ids, only the samples drawn last have texts")
        return self._texts

    def close(self) -> None:
        """Do nothing: connections end with each call of `sample`."""


def list_models(settings: SamplingSettings, key: str | None) -> list[dict[str, Any]]:
    """Return the server's models; none if it can't list them.

    Raises
    ------
    InputError
        If the server can't be reached, or refuses the key.
    """
    from openai import APIConnectionError, APIStatusError, OpenAI

    try:
        with OpenAI(
            base_url=settings.server,
            api_key=key or "none",
            max_retries=min(settings.retries, 2),
            timeout=min(settings.timeout, 30.0),
        ) as client:
            listed = json.loads(client.models.with_raw_response.list().text)
    except APIStatusError as error:
        if error.status_code in (404, 405, 500, 501):  # 500: transformers without a hub cache
            return []
        raise InputError(
            f"server {settings.server} refuses its list of models: status {error.status_code}"
            + (f" (the key is in {settings.api_key_variable})" if error.status_code == 401 else "")
        ) from error
    except APIConnectionError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"server {settings.server} can't be reached: {reason}") from error
    except ValueError as error:
        raise InputError(
            f"server {settings.server} doesn't speak OpenAI's protocol: /models isn't JSON"
        ) from error
    models = listed.get("data") if isinstance(listed, dict) else None
    return [model for model in models or [] if isinstance(model, dict) and "id" in model]


def served_model(
    models: Sequence[dict[str, Any]], source: str, folder: Path | None, name: str | None
) -> tuple[str, dict[str, Any]]:
    """Return what the server calls the model, and how it describes it.

    Examples
    --------
    >>> served_model([{"id": "a"}, {"id": "b", "owned_by": "vllm"}], "b", None, None)
    ('b', {'id': 'b', 'owned_by': 'vllm'})
    >>> served_model([], "gpt", None, None)
    ('gpt', {})
    """
    known = {str(model["id"]): model for model in models}
    wanted = [name] if name else [source]
    if folder is not None and not name:
        wanted += [str(folder), str(folder.resolve()), folder.resolve().name]
    for one in wanted:
        if one in known:
            return one, known[one]
    if name:
        return name, {}
    whole = [model for model in models if not model.get("parent")]  # without adapters
    if len(whole) == 1 and whole[0].get("owned_by") == "vllm":
        if folder is None:
            names = ", ".join(f"'{one}'" for one in known)
            raise InputError(f"the server has no model '{source}', only {names}")
        return str(whole[0]["id"]), whole[0]
    return source, {}
