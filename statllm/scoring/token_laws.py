"""What a causal language model thinks of texts: log p of each token, and its mean and sd.

Texts longer than the model's context are read in windows that overlap by half: each token but those
of a text's first window is predicted from at least half a context.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.ragged import FloatArray, IntArray, Ragged

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TOKENS = 1 << 13  # of a batch, padding included
_LOGITS = 1 << 24  # numbers of logits at a time, 64 MB each of a few copies
_TRY = 8  # tokens on which states and output layer are compared with the whole model
_CONTEXT = 4096  # of models that don't say how much they read


@dataclass(frozen=True, eq=False)
class TokenLaws:
    """What a model says of each token that it can predict.

    Attributes
    ----------
    log_p : Ragged of float64
        One row per text: log-probability of its tokens, nats. The first token of a text counts only
        where a start token was put before it.
    mean, sd : Ragged of float64
        Of log p(v) for v drawn from the model's law at that place: mu = sum_v p_v log p_v, which is
        the negative entropy, and sigma = sqrt(sum_v p_v (log p_v - mu)^2).
    """

    log_p: Ragged
    mean: Ragged
    sd: Ragged


def encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool = False
) -> Ragged:
    """Return the token ids of texts.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    texts : sequence of str
    special : bool
        Whether the tokenizer adds its own special tokens.

    Raises
    ------
    InputError
        If one isn't text.
    """
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"row {row} holds {type(text).__name__}, text was expected")
    if len(texts) == 0:
        return Ragged(np.zeros(0, np.int64), np.zeros(1, np.int64))
    # `verbose=False`: longer texts than the model reads are meant
    ids = tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
    return Ragged.from_lists(ids, np.int64)


def start_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return what stands before a text: the tokenizer's beginning, else its end, of text."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return None


def zlib_bytes(texts: Sequence[str]) -> IntArray:
    """Return how many bytes zlib makes of each text in UTF-8.

    Examples
    --------
    >>> zlib_bytes(["a" * 100, "abc"]).tolist()
    [12, 11]
    """
    return np.array([len(zlib.compress(text.encode())) for text in texts], np.int64)


def token_laws(
    model: PreTrainedModel,
    texts: Ragged,
    *,
    start: int | None = None,
    batch_tokens: int = _TOKENS,
) -> TokenLaws:
    """Log-probability of each token of texts, and the law's mean and sd of it.

    Texts of like lengths are read together, and logits are made, in 32 bits, for so many places at
    a time that memory depends on neither the number nor the length of texts.

    Parameters
    ----------
    model : transformers causal language model
    texts : Ragged of int
        Token ids.
    start : int, optional
        A token put before each text, so that its first token is predicted, too.
    batch_tokens : int
        Of a batch, padding included.

    Returns
    -------
    TokenLaws

    Raises
    ------
    InputError
        If a token isn't the model's, or the model gives NaN.

    Examples
    --------
    >>> from statllm.lab import model_path
    >>> from statllm.models import load_model
    >>> model = load_model(model_path(), device="cpu")
    >>> laws = token_laws(model, Ragged.from_lists([[5, 6, 7], [5]]))
    >>> laws.log_p.lengths, bool((laws.log_p.values < 0).all())
    (array([2, 0]), True)
    """
    return TokenLaws(*_read(model, texts, start, batch_tokens, moments=True))


def token_log_p(
    model: PreTrainedModel,
    texts: Ragged,
    *,
    start: int | None = None,
    batch_tokens: int = _TOKENS,
) -> Ragged:
    """Log-probability of each token of texts: `token_laws` without mean and sd, and faster.

    Parameters
    ----------
    model, texts, start, batch_tokens
        As of `token_laws`.

    Returns
    -------
    Ragged of float64

    Examples
    --------
    >>> from statllm.lab import model_path
    >>> from statllm.models import load_model
    >>> model = load_model(model_path(), device="cpu")
    >>> token_log_p(model, Ragged.from_lists([[5, 6, 7]]), start=0).lengths
    array([3])
    """
    return _read(model, texts, start, batch_tokens, moments=False)[0]


def _read(
    model: Any, texts: Ragged, start: int | None, batch_tokens: int, *, moments: bool
) -> list[Ragged]:
    import torch

    before = 0 if start is None else 1
    offsets = np.concatenate([[0], np.cumsum(np.maximum(texts.lengths + before - 1, 0))])
    offsets = offsets.astype(np.int64)
    out = np.empty((3 if moments else 1, int(offsets[-1])))
    vocabulary = _check_tokens(model, texts.values, start)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _CONTEXT
    windows = _windows(texts.lengths + before, int(context))
    with torch.inference_mode():
        read, is_whole = _reader(model, texts.values[:_TRY])
        if is_whole:
            batch_tokens = min(batch_tokens, 4 * _LOGITS // vocabulary)
        for batch in _batches(windows, batch_tokens):
            some = windows[batch]
            ids, mask = (torch.from_numpy(x).to(model.device) for x in _filled(texts, some, start))
            states, logits_of = read(ids, mask)
            # which places are predicted, and where what is found about them goes
            text, begin, end, first = some.T
            predicted = Ragged.from_lengths(np.zeros(int((end - first).sum())), end - first)
            row, place = predicted.rows, predicted.positions + first[predicted.rows]
            at = torch.from_numpy(row).to(model.device)
            column = torch.from_numpy(place - begin[row]).to(model.device)
            found = _moments(states[at, column - 1], ids[at, column], logits_of, moments)
            out[:, offsets[text[row]] + place - 1] = found
    wrong = np.flatnonzero(np.isnan(out).any(axis=0))
    if len(wrong):
        which = int(np.searchsorted(offsets, wrong[0], side="right") - 1)
        raise InputError(f"the model gives NaN for text {which}")
    return [Ragged(values, offsets) for values in out]


def _windows(lengths: IntArray, context: int) -> IntArray:
    """Text, begin, end, and first predicted place of windows that predict each token once."""
    found = []
    for text, length in enumerate(lengths.tolist()):
        if length < 2:
            continue
        end = min(length, context)
        found.append((text, 0, end, 1))
        while end < length:
            first, end = end, min(length, end + max(context // 2, 1))
            found.append((text, end - context, end, first))
    return np.array(found, np.int64).reshape(-1, 4)


def _batches(windows: IntArray, tokens: int) -> Iterator[IntArray]:
    """Yield numbers of windows of like lengths, longest first: what won't fit fails at once."""
    widths = windows[:, 2] - windows[:, 1]
    order = np.argsort(-widths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // int(widths[order[start]]))
        yield order[start : start + size]
        start += size


def _filled(
    texts: Ragged, windows: IntArray, start: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids of windows, padded on the right, and where they are."""
    before = 0 if start is None else 1
    ids = np.zeros((len(windows), int((windows[:, 2] - windows[:, 1]).max())), np.int64)
    mask = np.zeros_like(ids)
    for place, (text, begin, end, _) in enumerate(windows.tolist()):
        piece = texts.row(text)[max(begin - before, 0) : end - before]
        if before and begin == 0:
            piece = np.concatenate([[start], piece])
        ids[place, : end - begin], mask[place, : end - begin] = piece, 1
    return ids, mask


def _reader(model: Any, tokens: NDArray[Any]) -> tuple[Callable[[Tensor, Tensor], Any], bool]:
    """A function from ids and mask to states and what makes logits of them; if they are logits.

    States and output layer are taken apart, so that logits of all places are never held at once,
    where that gives the model's own logits on a few tokens; a model that scales or caps its logits
    is read as a whole.
    """
    import torch

    def whole(ids: Tensor, mask: Tensor) -> tuple[Tensor, Any]:
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits, _as_it_is

    output = model.get_output_embeddings()
    if output is None or model.base_model is model or len(tokens) == 0:
        return whole, True

    def apart(ids: Tensor, mask: Tensor) -> tuple[Tensor, Any]:
        found = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        return found.last_hidden_state, output

    sample = torch.from_numpy(tokens.astype(np.int64))[None].to(model.device)
    mask = torch.ones_like(sample)
    inner = model.base_model(input_ids=sample, attention_mask=mask, use_cache=False)
    if getattr(inner, "last_hidden_state", None) is None:  # of a wrapped model: logits already
        return whole, True
    found, expected = output(inner.last_hidden_state), whole(sample, mask)[0]
    same = found.shape == expected.shape and torch.allclose(
        found.float(), expected.float(), rtol=1e-3, atol=1e-3, equal_nan=True
    )
    return (apart, False) if same else (whole, True)


def _as_it_is(logits: Tensor) -> Tensor:
    return logits


def _moments(states: Tensor, labels: Tensor, logits_of: Any, moments: bool) -> FloatArray:
    """Log p of the labels, mu and sigma, shape (3, n) or (1, n)."""
    import torch

    parts = []
    vocabulary = int(logits_of(states[:1]).shape[-1])
    size = max(1, _LOGITS // vocabulary)
    for some, wanted in zip(states.split(size), labels.split(size), strict=True):
        log_p = logits_of(some).float().log_softmax(-1)
        own = log_p.gather(1, wanted[:, None])[:, 0]
        if not moments:
            parts.append(own[None])
            continue
        p = log_p.exp()
        log_p.masked_fill_(p == 0, 0.0)  # p log p is 0 there, not 0 times -inf
        mean = (p * log_p).sum(-1)
        # centred first: the difference of the mean square and the squared mean cancels
        variance = log_p.sub_(mean[:, None]).square_().mul_(p).sum(-1)
        parts.append(torch.stack([own, mean, variance.sqrt()]))
    return np.asarray(torch.cat(parts, dim=1).double().cpu().numpy())


def _check_tokens(model: Any, tokens: NDArray[Any], start: int | None) -> int:
    """Return the size of the vocabulary, which holds all tokens."""
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    for token in (tokens.min(initial=0), tokens.max(initial=0), start or 0):
        if not 0 <= token < vocabulary:
            raise InputError(f"token {token} isn't the model's: it has {vocabulary}")
    return vocabulary
