"""`sample`: K responses per prompt, as a generation table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import SAMPLE_COLUMNS, Generations
from statllm.sampling.progress import SamplingProgress
from statllm.sampling.settings import SamplingSettings
from statllm.sampling.shards import SAMPLED_COLUMNS, Shards, sampled_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def sample(
    model: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    prompts: pa.Table,
    settings: SamplingSettings | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> pa.Table:
    """Sample `settings.n` responses to every prompt.

    A token is drawn with one uniform number, a function of (seed, prompt_id, sample number,
    position), by inverting the distribution function over the vocabulary in token-id order,
    after temperature and then top-p.

    **What is guaranteed.** In float32 on the CPU (the default), a response is a function of the
    model, the prompt, its prompt_id, the sample number, `seed`, `temperature`, `top_p` and
    `max_new_tokens`: batch size, shard size, the other prompts and their order don't change it.
    Batching does change logits by rounding (some 1e-5), so a choice of token that an error of
    `near_tie` nats could change is made again on that sequence alone, without padding or cache.
    Recorded log-probabilities are those of the batch and may differ in their last digits when
    the batch does; with the same settings they don't. The number of threads, the processor
    and the torch version may change rounding everywhere, and so, very rarely, a text. In
    bfloat16 or float16, rounding is far larger than the default `near_tie`: texts then follow
    the same distribution but depend on the batch.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
        What is loaded already is used as it is, whatever `dtype` and `device` say.
    prompts : pa.Table
        One row per prompt: ``prompt_id`` (unique), ``prompt`` (a string, sent as it is, or a
        list of ``{role, content}`` messages, sent through the chat template). Other columns
        travel along.
    settings : SamplingSettings, optional
    out : path, optional
        Parquet file to write. While it is incomplete, shards are kept in ``<out>.shards``; the
        same call goes on from there after a kill, and gives the same bytes.
    progress : bool
        Show a progress line if standard error is a terminal.

    Returns
    -------
    pa.Table
        The prompts in their order, with ``response``, ``token_ids`` (with the end-of-sequence
        token), ``token_logprobs`` (nats, under the distribution that was drawn from: after
        temperature and top-p, renormalised; 0 when greedy), ``token_logprobs_model`` (nats, under
        the model itself), ``logprob`` (the sum of the latter), ``n_tokens``, ``finish_reason``
        ("stop" or "length"), and per row ``prompt_token_ids``, ``n_near_ties`` (tokens that were
        decided on the sequence alone), ``seed``, ``temperature``, ``top_p``, ``model``.

    Raises
    ------
    InputError
        If the model can't be loaded; if a prompt is null, empty or too long, or a prompt_id
        occurs twice; if the table already holds a column that the sampler writes.

    Examples
    --------
    >>> from statllm.lab import model_path, problems
    >>> settings = SamplingSettings(n=3, max_new_tokens=80)
    >>> table = sample(model_path(), problems("test", 2, 0), settings)
    >>> [len(responses) for responses in table["response"].to_pylist()]
    [3, 3]
    """
    from statllm.models import is_local, model_digest
    from statllm.sampling.transformers_backend import TransformersBackend

    settings = SamplingSettings() if settings is None else settings
    prompts = _checked(prompts)
    if isinstance(model, tuple):
        backend = TransformersBackend(*model, settings)
        digest = model_digest(model[0])
        name = Path(model[0].name_or_path or "").name or type(model[0]).__name__
    else:
        backend = TransformersBackend.load(model, settings)
        local = is_local(model)
        digest = model_digest(model if local else backend.model)
        name = Path(model).expanduser().resolve().name if local else str(model)
    label = f"{name}@{digest[:12]}"

    ids: list[str] = prompts["prompt_id"].to_pylist()
    encoded = backend.encode(ids, prompts["prompt"].to_pylist())
    shards = Shards(prompts, None if out is None else Path(out), settings, digest)
    with SamplingProgress(len(ids) * settings.n, shown=progress) as line:

        def make(rows: slice) -> pa.Table:
            decoded = backend.sample(ids[rows], encoded[rows], line.advance)
            texts = backend.text([result.token_ids.tolist() for result in decoded])
            part = prompts.slice(rows.start, rows.stop - rows.start)
            return sampled_rows(part, encoded[rows], decoded, texts, settings, label)

        return shards.collect(make, lambda rows: line.reused(rows * settings.n))


def _checked(prompts: pa.Table) -> pa.Table:
    """The prompts with text identifiers, and without columns that samples would contradict."""
    prompts = Generations(prompts).table.replace_schema_metadata(None)
    if "prompt" not in prompts.column_names:
        raise InputError(
            f"column 'prompt' is missing; the table has {', '.join(prompts.column_names)}"
        )
    for name in prompts.column_names:
        if name in SAMPLED_COLUMNS or name in SAMPLE_COLUMNS:
            raise InputError(f"column '{name}' belongs to samples; prompts must come without it")
    return prompts
