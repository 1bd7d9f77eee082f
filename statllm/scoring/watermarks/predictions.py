"""What a model would say at every place of a text that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from statllm.errors import InputError
from statllm.ragged import IntArray, Ragged

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOGITS = 1 << 26  # numbers of logits at a time: 256 MB


def windows_of(texts: Ragged, longest: int) -> Ragged:
    """Cut rows into pieces of at most `longest` tokens, one after the other.

    Raises
    ------
    ValueError
        If `longest` is below 2: nothing could be predicted.

    Examples
    --------
    >>> windows_of(Ragged.from_lists([[1, 2, 3, 4, 5], [], [6]]), 2).to_lists()
    [[1, 2], [3, 4], [5], [6]]
    """
    if longest < 2:
        raise ValueError(f"longest must be at least 2, not {longest}")
    starts = texts.positions % longest == 0
    return Ragged(texts.values, np.append(np.flatnonzero(starts), len(texts.values)))


def predicted_tokens(
    model: PreTrainedModel,
    texts: Ragged,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> IntArray:
    """Return the model's token at every place, given the tokens of the row before it.

    Parameters
    ----------
    model : transformers causal language model
    texts : Ragged of int
        Token ids; no row longer than the model's context.
    temperature : float
        0: the most probable token. Above: one is drawn.
    seed : int
        Of the draws; a row's draws depend on its place and length, not on the batch.

    Returns
    -------
    ndarray of int64, shape (n_tokens,)
        Flat like `texts`; -1 for the first token of a row.

    Raises
    ------
    InputError
        If a row is too long, a token isn't the model's, or the model gives NaN.

    Examples
    --------
    >>> from statllm.lab import model_path
    >>> from statllm.models import load_model
    >>> model = load_model(model_path(), device="cpu")
    >>> predicted_tokens(model, Ragged.from_lists([[5, 6, 7]])).shape
    (3,)
    """
    import torch

    if temperature < 0:
        raise InputError(f"temperature must not be negative, it is {temperature}")
    embeddings: Any = model.get_input_embeddings()
    vocabulary = int(embeddings.weight.shape[0])
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and texts.lengths.max(initial=0) > longest:
        raise InputError(f"a text has {texts.lengths.max()} tokens, the model reads {longest}")
    wrong = (texts.values < 0) | (texts.values >= vocabulary)
    if wrong.any():
        token = texts.values[np.flatnonzero(wrong)[0]]
        raise InputError(f"token {token} isn't the model's: it has {vocabulary}")
    out = np.full(len(texts.values), -1, np.int64)
    order = np.argsort(texts.lengths, kind="stable")
    order = order[texts.lengths[order] > 1]
    start = 0
    while start < len(order):
        width = int(texts.lengths[order[start]])
        size = max(1, _LOGITS // (vocabulary * width))
        rows = order[start : start + size]
        # rows grow longer along the order: as many as fit with the width of the last one
        while len(rows) > 1 and len(rows) * int(texts.lengths[rows[-1]]) * vocabulary > _LOGITS:
            rows = rows[: len(rows) - max(1, len(rows) // 8)]
        lengths = texts.lengths[rows]
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : lengths[place]] = torch.from_numpy(texts.row(row).astype(np.int64))
        mask = torch.arange(ids.shape[1])[None] < torch.from_numpy(lengths)[:, None]
        with torch.no_grad():
            logits = model(
                input_ids=ids.to(model.device),
                attention_mask=mask.long().to(model.device),
                use_cache=False,
            ).logits.float()
        for place, row in enumerate(rows):
            own = logits[place, : lengths[place] - 1]
            if bool(torch.isnan(own).any()):
                raise InputError("the model gives NaN for a text")
            if temperature > 0:  # Gumbel's trick
                state = np.random.SeedSequence((seed, int(row))).generate_state(1, np.uint32)
                generator = torch.Generator().manual_seed(int(state[0]))
                noise = torch.empty(own.shape).exponential_(generator=generator)
                own = own / temperature - noise.log().to(own.device)
            out[texts.offsets[row] + 1 : texts.offsets[row + 1]] = own.argmax(-1).cpu().numpy()
        start += len(rows)
    return out
