"""Vectors of texts from a transformers encoder or a folder of sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.files import read_json
from statllm.models import check_model_folder
from statllm.scoring._encoders import (
    LongTexts,
    coded_texts,
    finite_rows,
    forward,
    load_encoder,
)
from statllm.scoring.model_cache import open_cache, remembered, text_key

IntArray = NDArray[np.int64]
Pooling = Literal["mean", "cls", "last"]

_MODULES = {"Transformer", "Pooling", "Normalize"}  # of sentence-transformers, that are known here
_POOLING_NAMES = {"lasttoken": "last", "mean_tokens": "mean", "cls_token": "cls"}


def embed(
    texts: Any,
    model: str | Path,
    *,
    pooling: Literal["auto"] | Pooling = "auto",
    normalize: bool | None = None,
    cache: str | Path | None = None,
    batch_tokens: int = 8192,
    long_texts: LongTexts = "error",
    device: str = "auto",
) -> NDArray[np.float32]:
    """Return a vector for each text.

    Parameters
    ----------
    texts : Arrow list column or list of lists of str
        The responses, a row per prompt.
    model : str or Path
        Folder of any transformers encoder with safetensors weights. The files that
        sentence-transformers adds to one are honoured: how it pools, whether it normalises, how
        many tokens it reads.
    pooling : {"auto", "mean", "cls", "last"}
        What becomes of the last layer's states of the tokens: their mean, the first one, the last
        one. Padding doesn't count. ``"auto"``: as the folder says, else the mean.
    normalize : bool, optional
        Whether vectors get length 1. Default: as the folder says, else not. No matter to cosines;
        to `eigenscore` it is.
    cache, batch_tokens, long_texts, device
        As for `statllm.scoring.nli.nli_logits`.

    Returns
    -------
    ndarray of float32, shape (n_samples, n_dimensions)
        One row per text, prompt after prompt: what `cosine_similarity` and `eigenscore` take,
        with the number of texts of each prompt. Equal texts have equal vectors and go through the
        model once.

    Raises
    ------
    InputError
        If a text is missing or too long, the folder isn't one of an encoder or asks for a layer
        that isn't known here, or the cache is damaged.

    Examples
    --------
    >>> texts = [["It is 7.", "seven"]]
    >>> vectors = embed(texts, "models/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> cosine_similarity(vectors, [2]).block(0)  # doctest: +SKIP
    """
    if pooling not in ("auto", *get_args(Pooling)):
        raise InputError(f"pooling must be auto, mean, cls or last, not {pooling!r}")
    recipe = _read_folder(Path(model).expanduser())
    how = recipe.pooling if pooling == "auto" else pooling
    codes, vocabulary = coded_texts(texts)

    def compute(missing: IntArray) -> Iterator[tuple[IntArray, NDArray[np.float32]]]:
        encoder = load_encoder(recipe.weights, "none", device, recipe.max_tokens)
        asked = [[vocabulary[i] for i in missing]]
        for places, output, mask in forward(encoder, asked, batch_tokens, long_texts):
            vectors = _POOLERS[how](output.last_hidden_state, mask)
            yield missing[places], finite_rows(vectors, recipe.weights)

    settings = {"kind": "embedding", "long_texts": long_texts, "pooling": how}
    settings["max_tokens"] = str(recipe.max_tokens)
    kept = open_cache(cache, recipe.weights, settings)
    vectors = remembered(kept, [text_key(text) for text in vocabulary], compute)
    if recipe.normalize if normalize is None else normalize:
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        if (norm == 0).any():
            raise InputError(f"model {model} gives a text the vector 0, which has no direction")
        vectors = vectors / norm
    aligned: NDArray[np.float32] = vectors[codes.values]
    return aligned


def _mean(states: Any, mask: Any) -> Any:
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _cls(states: Any, mask: Any) -> Any:
    return states[:, 0]


def _last(states: Any, mask: Any) -> Any:
    import torch

    return states[torch.arange(len(mask), device=mask.device), mask.sum(dim=1) - 1]


_POOLERS = {"mean": _mean, "cls": _cls, "last": _last}


@dataclass(frozen=True)
class _Recipe:
    """Where the weights are and what a folder says is to be done with the states."""

    weights: Path
    pooling: Pooling = "mean"
    normalize: bool = False
    max_tokens: int | None = None


def _read_folder(folder: Path) -> _Recipe:
    """Read ``modules.json`` and what it names; a plain encoder has none."""
    if not (folder / "modules.json").is_file():
        lone = folder / "1_Pooling" / "config.json"
        pooling = _read_pooling(lone) if lone.is_file() else "mean"
        return _Recipe(check_model_folder(folder), pooling)
    paths: dict[str, Path] = {}
    for module in read_json(folder / "modules.json"):
        kind = str(module["type"]).rpartition(".")[2]
        if kind not in _MODULES:
            raise InputError(f"model {folder} has a layer '{kind}', which isn't known here")
        paths[kind] = folder / module["path"]
    weights = check_model_folder(paths.get("Transformer", folder))
    limits = weights / "sentence_bert_config.json"
    return _Recipe(
        weights,
        _read_pooling(paths["Pooling"] / "config.json") if "Pooling" in paths else "mean",
        "Normalize" in paths,
        read_json(limits).get("max_seq_length") if limits.is_file() else None,
    )


def _read_pooling(file: Path) -> Pooling:
    """The pooling that a folder of sentence-transformers asks for."""
    config = read_json(file)
    prefix = "pooling_mode_"
    named = config.get("pooling_mode")
    modes = [named] if isinstance(named, str) else named
    if not modes:
        modes = [key.removeprefix(prefix) for key in config if key.startswith(prefix)]
        modes = [mode for mode in modes if config[prefix + mode]]
    known: list[Any] = [_POOLING_NAMES.get(mode, mode) for mode in modes]
    if len(known) != 1 or known[0] not in _POOLERS:
        raise InputError(f"{file}: pooling {' + '.join(modes) or 'none'} isn't known here")
    pooling: Pooling = known[0]
    return pooling
