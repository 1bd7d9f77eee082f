"""A sampled table that is made once: a later step that was killed doesn't cost it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from statllm._version import __version__
from statllm.errors import InputError
from statllm.files import read_json, read_parquet, sha256, write_json
from statllm.sampling.sampler import sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from statllm.sampling.settings import SamplingSettings

    Model = str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase]


def sampled(
    model: Model,
    prompts: pa.Table,
    settings: SamplingSettings,
    out: Path | None,
    progress: bool = True,
) -> pa.Table:
    """Sample as `statllm.sampling.sample` does, or read `out` if it holds just that.

    ``<out>.json`` says what `out` was made from, and its digest; a model that isn't a folder counts
    by its name there. While samples are incomplete, it's what `sample` keeps that a restart goes
    on from, and so it is where a server was allowed to leave some out.
    """
    if out is None:
        return sample(model, prompts, settings, progress=progress)
    record = out.with_name(f"{out.name}.json")
    made_from = _made_from(model, prompts, settings)
    if out.is_file() and _says(record) == {"made_from": made_from, "sha256": sha256(out)}:
        return read_parquet(out)
    table = sample(model, prompts, settings, out=out, progress=progress)
    if table["response"].combine_chunks().flatten().null_count == 0:
        write_json({"made_from": made_from, "sha256": sha256(out)}, record)
    return table


def _says(record: Path) -> object:
    try:
        return read_json(record)
    except InputError:
        return None


def _made_from(model: Model, prompts: pa.Table, settings: SamplingSettings) -> str:
    """Digest of the model, the prompts and the settings."""
    from statllm.models import is_local, model_digest

    if isinstance(model, tuple):
        identity = model_digest(model[0])
    else:
        identity = model_digest(model) if is_local(model) else str(model)
    parts = {
        "model": identity,
        "settings": settings.model_dump(mode="json"),
        "schema": str(prompts.schema),
        "prompts": repr(prompts.to_pylist()),
        "statllm": __version__,
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
