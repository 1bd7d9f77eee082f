"""`sample`: K responses per prompt, as a generation table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import SAMPLE_COLUMNS, Generations
from statllm.sampling.failures import Failure, SamplesMissing, missing_samples, write_failures
from statllm.sampling.progress import SamplingProgress
from statllm.sampling.settings import SamplingSettings
from statllm.sampling.shards import SAMPLED_COLUMNS, Shards, check_output, sampled_rows
from statllm.sampling.stop_strings import StopStrings
from statllm.sampling.stopping import (
    STOP_COLUMNS,
    check_scoring,
    sample_until_decided,
    with_decisions,
)
from statllm.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from statllm.sampling.backend import Backend


def sample(
    model: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    prompts: pa.Table,
    settings: SamplingSettings | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    scoring: ScoringSettings | None = None,
) -> pa.Table:
    """Sample `settings.n` responses to every prompt, or as many as decide its answer.

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

    **Stopping.** With `settings.stop`, samples are drawn in rounds and a prompt is left alone once
    its answers have decided; see `statllm.sampling.stopping` for what that guarantees, and for
    which statistics of such samples still mean what they say. The texts of a prompt are the first
    of those that it gets without stopping, bit for bit.

    **Servers.** With backend openai, whatever a server fails to answer, all other prompts get their
    samples, and each answer is kept as it arrives. If any sample is missing in the end, the output
    isn't written (unless `settings.allow_failures`); ``<out>.failures.jsonl`` lists what is
    missing, and the same call asks for that and nothing else.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
        What is loaded already is used as it is, whatever `dtype` and `device` say. With backend
        openai: a model folder, or the server's name for a model.
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
    scoring : ScoringSettings, optional
        How answers are found and compared, for `settings.stop`; as `statllm.scoring.score` does.

    Returns
    -------
    pa.Table
        The prompts in their order, with ``response``, ``token_ids`` (with the end-of-sequence
        token), ``token_logprobs`` (nats, under the distribution that was drawn from: after
        temperature and top-p, renormalised; 0 when greedy), ``token_logprobs_model`` (nats, under
        the model itself), ``logprob`` (the sum of the latter), ``n_tokens``, ``finish_reason``
        ("stop" or "length"), and per row ``prompt_token_ids``, ``n_near_ties`` (tokens that were
        decided on the sequence alone), ``seed``, ``temperature``, ``top_p``, ``model``. With
        `settings.stop` also the decisions, see `statllm.sampling.stopping.with_decisions`.

    Raises
    ------
    InputError
        If the model can't be loaded; if a prompt is null, empty or too long, or a prompt_id
        occurs twice; if the table already holds a column that the sampler writes; if a prompt has
        more different answers than `settings.n_answers`.
    SamplesMissing
        An `InputError` with ``failures``, if a server has failed some samples.

    Examples
    --------
    >>> from statllm.lab import model_path, problems
    >>> settings = SamplingSettings(n=3, max_new_tokens=80)
    >>> table = sample(model_path(), problems("test", 2, 0), settings)
    >>> [len(responses) for responses in table["response"].to_pylist()]
    [3, 3]
    >>> settings = SamplingSettings(n=8, max_new_tokens=80, stop="anytime", alpha=0.2)
    >>> table = sample(model_path(), problems("test", 2, 0), settings)
    >>> table["stop_rule"].to_pylist(), table["stop_error_bound"].to_pylist()
    (['kt', 'kt'], [0.2, 0.2])
    """
    settings = SamplingSettings() if settings is None else settings
    scoring = (scoring or ScoringSettings()) if settings.stop else None
    prompts = check_prompts(prompts, scoring)
    path = None if out is None else Path(out)
    if path is not None:
        check_output(path)
    backend, digest, label = open_backend(model, settings)
    # a server's answers cost time and money: they are kept before their shard is complete
    keep_answers: Callable[[Path | None], None] | None = getattr(backend, "begin", None)
    failures: list[Failure] = []

    try:
        ids: list[str] = prompts["prompt_id"].to_pylist()
        encoded = backend.encode(ids, prompts["prompt"].to_pylist())
        shards = Shards(prompts, path, settings, digest, scoring)
        with SamplingProgress(len(ids) * settings.n, shown=progress) as line:

            def make(rows: slice) -> pa.Table:
                if keep_answers:
                    keep_answers(shards.journal(rows))
                part = prompts.slice(rows.start, rows.stop - rows.start)
                table, missing = draw_rows(backend, label, part, encoded[rows], scoring, line)
                failures.extend(missing)
                return table

            table = shards.collect(make, lambda rows: line.skip(rows * settings.n))
    finally:
        backend.close()
    if path is not None:
        write_failures(failures, path)
    if failures and not settings.allow_failures:
        raise missing_samples(failures, len(ids), path)
    return table


def draw_rows(
    backend: Backend,
    label: str,
    prompts: pa.Table,
    encoded: Sequence[Sequence[int]],
    scoring: ScoringSettings | None,
    line: SamplingProgress,
) -> tuple[pa.Table, list[Failure]]:
    """Sample some prompts from a backend that is open.

    Parameters
    ----------
    backend : Backend
        Its settings say how many samples, and when to stop.
    label : str
        Of the model, for the column ``model``.
    prompts : pa.Table
        From `check_prompts`.
    encoded : sequence of token-id lists
        From `backend.encode`, in the order of the prompts.
    scoring : ScoringSettings, or None
        With `settings.stop`: how answers are read.
    line : SamplingProgress

    Returns
    -------
    table : pa.Table
        As `sample` returns it, without the prompts that lack samples.
    failures : list of Failure
        The samples that they lack.
    """
    settings = backend.settings
    ids: list[str] = prompts["prompt_id"].to_pylist()

    def draw(rows: list[int]) -> pa.Table:
        part = prompts.take(pa.array(rows, pa.int64()))
        names, asked = [ids[row] for row in rows], [encoded[row] for row in rows]
        if scoring:
            drawn = sample_until_decided(backend, names, asked, scoring, line)
            counts = np.array([len(one.decoded) for one in drawn], dtype=np.int64)
            decoded = [sample for one in drawn for sample in one.decoded]
            texts = [text for one in drawn for text in one.texts]
        else:
            counts = np.full(part.num_rows, settings.n)
            decoded = backend.sample(names, asked, range(settings.n), line.advance)
            texts = backend.text([result.token_ids.tolist() for result in decoded])
        table = sampled_rows(part, asked, decoded, texts, counts, settings, label)
        return with_decisions(table, drawn, settings) if scoring else table

    failures: list[Failure] = []
    left = list(range(len(ids)))
    while True:
        try:
            return draw(left), failures
        except SamplesMissing as missing:
            failures.extend(missing.failures)
            lost = {failure.prompt_id for failure in missing.failures}
            left = [row for row in left if ids[row] not in lost]


def open_backend(
    model: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase], settings: SamplingSettings
) -> tuple[Backend, str, str]:
    """Open the backend of the settings; whoever opens it closes it.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
        As for `sample`.
    settings : SamplingSettings

    Returns
    -------
    backend : Backend
    digest : str
        Of the model's content.
    label : str
        Of the model, for people.

    Raises
    ------
    InputError
        If the model can't be loaded, or settings contradict the backend.
    """
    backend, digest, label = _opened(model, settings)
    if settings.stop_strings:
        backend = StopStrings(backend, settings.stop_strings)
    return backend, digest, label


def _opened(
    model: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase], settings: SamplingSettings
) -> tuple[Backend, str, str]:
    from statllm.adapters import adapted_digest
    from statllm.models import is_local, model_digest
    from statllm.sampling.transformers_backend import TransformersBackend

    if settings.engine and settings.backend != "vllm":
        raise InputError("engine arguments are vLLM's: they need backend vllm")
    if settings.adapter and isinstance(model, tuple):
        raise InputError("an adapter needs a model folder or hub name, not a model that is loaded")
    if settings.server and settings.backend != "openai":
        raise InputError("a server needs backend openai")
    if settings.backend == "openai":
        if isinstance(model, tuple):
            raise InputError("backend openai needs a model folder or the server's name of a model")
        from statllm.sampling.openai_backend import OpenAIBackend

        asked = OpenAIBackend(model, settings)
        # of a model that only the server has, nothing but its name is known
        label = _labelled(model, asked.digest) if is_local(model) else str(model)
        return asked, asked.digest, label
    if settings.backend == "vllm":
        from statllm.sampling.vllm_backend import VllmBackend

        if isinstance(model, tuple) or not is_local(model):
            raise InputError("backend vllm needs a model folder")
        digest = adapted_digest(model_digest(model), settings.adapter)
        return VllmBackend(model, settings), digest, _labelled(model, digest)
    if isinstance(model, tuple):
        digest = model_digest(model[0])
        name = Path(model[0].name_or_path or "").name or type(model[0]).__name__
        return TransformersBackend(*model, settings), digest, f"{name}@{digest[:12]}"
    loaded = TransformersBackend.load(model, settings)
    digest = model_digest(model if is_local(model) else loaded.model)
    digest = adapted_digest(digest, settings.adapter)
    return loaded, digest, _labelled(model, digest)


def _labelled(model: str | Path, digest: str) -> str:
    from statllm.models import is_local

    name = Path(model).expanduser().resolve().name if is_local(model) else str(model)
    return f"{name}@{digest[:12]}"


def check_prompts(prompts: pa.Table, scoring: ScoringSettings | None) -> pa.Table:
    """Return the prompts with text identifiers.

    Parameters
    ----------
    prompts : pa.Table
        One row per prompt.
    scoring : ScoringSettings, or None
        Where sampling stops by answers: how they are read.

    Raises
    ------
    InputError
        If a prompt_id occurs twice, the column of prompts is missing, another one belongs to
        samples, or answers can't be read with these settings.
    """
    prompts = Generations(prompts).table.replace_schema_metadata(None)
    if "prompt" not in prompts.column_names:
        raise InputError(
            f"column 'prompt' is missing; the table has {', '.join(prompts.column_names)}"
        )
    also = STOP_COLUMNS if scoring else ()
    for name in prompts.column_names:
        if name in SAMPLED_COLUMNS or name in SAMPLE_COLUMNS or name in also:
            raise InputError(f"column '{name}' belongs to samples; prompts must come without it")
    if scoring:
        check_scoring(scoring)
    return prompts
