"""Writing watermarks with transformers: any scheme as a LogitsProcessor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from statllm.errors import InputError
from statllm.estimators.watermark.prf.bernoulli_green import Sbw, VllmRedGreen
from statllm.estimators.watermark.prf.dipmark import Dipmark
from statllm.estimators.watermark.prf.sglang_gumbel import SglangGumbel
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.estimators.watermark.prf.vllm_gumbel import VllmDualGumbel, VllmGumbel
from statllm.models import load_model, load_tokenizer, stop_ids
from statllm.sampling.encode import decode_texts, encode_prompts, longest_sequence

if TYPE_CHECKING:
    from statllm.estimators.watermark.marks import Scheme


class WatermarkProcessor(LogitsProcessor):
    """Replaces the next token's law by the scheme's law under its key.

    Gumbel-max and SynthID need the law that is sampled from. `generate` applies processors that it
    is given before its own temperature and truncation: leave these at 1 and off there, and give
    the temperature here. It is the reference that detectors are tested
    against, row by row in NumPy, not a serving path.

    Parameters
    ----------
    scheme : Scheme
    prompt_length : int
        Tokens of the (padded) prompt, which every row of `generate`'s input has.
    prompt_is_context : bool, optional
        Whether the prompt's tokens count as context. Default: as the scheme's own engine has it,
        not for vLLM's and SynthID, else yes.
    temperature : float
        Divides the logits before.
    skip_repeated : bool
        Leave a context alone that the response had before, where the scheme's own engine does
        (vLLM, SGLang, SynthID, DiPmark): the same context would draw the same token.

    Raises
    ------
    ValueError
        If the temperature isn't positive.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> processor = WatermarkProcessor(make_scheme("vllm-gumbel", key=42), prompt_length=2)
    >>> logits = torch.zeros(1, 8)
    >>> int((processor(torch.tensor([[5, 6]]), logits) > -torch.inf).sum())  # one token is left
    1
    """

    def __init__(
        self,
        scheme: Scheme,
        prompt_length: int,
        *,
        prompt_is_context: bool | None = None,
        temperature: float = 1.0,
        skip_repeated: bool = True,
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.scheme, self.prompt_length, self.temperature = scheme, prompt_length, temperature
        if prompt_is_context is None:
            prompt_is_context = not isinstance(
                scheme, (VllmGumbel, VllmDualGumbel, VllmRedGreen, Sbw, SynthId)
            )
        self.start = 0 if prompt_is_context else prompt_length
        self.width = _remembered_width(scheme) if skip_repeated else 0
        self._seen: list[set[tuple[int, ...]]] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return log-probabilities of the watermarked law, shape (n_rows, vocabulary)."""
        if input_ids.shape[1] == self.prompt_length:
            self._seen = [set() for _ in range(len(input_ids))]
        logits = scores.double() / self.temperature
        laws = torch.softmax(logits, dim=-1).cpu().numpy()
        out = logits.to(scores.dtype)
        for row, tokens in enumerate(input_ids.cpu().numpy()):
            prefix = np.asarray(tokens[self.start :], np.int64)
            if self.width:
                context = tuple(prefix[-self.width :].tolist())
                if context in self._seen[row]:
                    continue
                self._seen[row].add(context)
            law = self.scheme.reweighted(laws[row], prefix)
            with np.errstate(divide="ignore"):
                out[row] = torch.from_numpy(np.log(law)).to(out)
        return out


def _remembered_width(scheme: Scheme) -> int:
    """Tokens of the contexts that the scheme's engine marks once only; 0 if it marks all."""
    if isinstance(scheme, (VllmGumbel, VllmDualGumbel, VllmRedGreen, SglangGumbel, Dipmark)):
        return scheme.context_width
    return scheme.ngram - 1 if isinstance(scheme, SynthId) else 0


def sample_watermarked(
    model: str | Path,
    prompts: pa.Table,
    scheme: Scheme,
    *,
    max_new_tokens: int = 200,
    min_new_tokens: int = 0,
    temperature: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> pa.Table:
    """Sample one watermarked response per prompt, by transformers' generate.

    Parameters
    ----------
    model : str or Path
        A folder or a name on the hub.
    prompts : pyarrow.Table
        ``prompt_id`` and ``prompt``; other columns travel along.
    scheme : Scheme
    max_new_tokens, min_new_tokens : int
        Tokens of the longest and the shortest response.
    temperature : float
    seed : int
        Of what the scheme leaves to chance; Gumbel-max leaves nothing.
    device : str

    Returns
    -------
    pyarrow.Table
        The prompts with ``response`` and ``token_ids``, lists of one.

    Raises
    ------
    InputError
        If the model can't be loaded, or a prompt is null, empty or too long for it, or the scheme's
        vocabulary isn't the model's.
    """
    tokenizer = load_tokenizer(model)
    loaded = load_model(model, device=device)
    size, of_scheme = loaded.config.vocab_size, getattr(scheme, "vocabulary", None)
    if of_scheme not in (None, size):
        raise InputError(
            f"vocabulary of {scheme.name} is {of_scheme}, the model's logits have {size}"
        )
    names, texts = prompts["prompt_id"].to_pylist(), prompts["prompt"].to_pylist()
    longest = longest_sequence(loaded.config)
    encoded = encode_prompts(tokenizer, names, texts, max_new_tokens, longest)
    stops = stop_ids(loaded.generation_config, tokenizer)
    torch.manual_seed(seed)
    responses: list[list[int]] = []
    generate: Any = loaded.generate
    for ids in encoded:
        processor = WatermarkProcessor(scheme, len(ids), temperature=temperature)
        given = torch.tensor([ids], device=loaded.device)
        out = generate(
            given,
            attention_mask=torch.ones_like(given),
            generation_config=GenerationConfig(
                do_sample=True,
                top_k=0,
                max_new_tokens=max_new_tokens,
                min_new_tokens=min_new_tokens or None,
                eos_token_id=stops or None,
                pad_token_id=stops[0] if stops else 0,
            ),
            logits_processor=LogitsProcessorList([processor]),
        )
        responses.append(out[0, len(ids) :].tolist())
    decoded = decode_texts(tokenizer, responses)
    prompts = prompts.append_column("response", pa.array([[text] for text in decoded]))
    kind = pa.list_(pa.list_(pa.int32()))
    return prompts.append_column("token_ids", pa.array([[ids] for ids in responses], kind))
