"""Texts through a transformers encoder: loading, lengths, batches. Shared by NLI and embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators import _answers
from statllm.models import check_model_folder, load_tokenizer, loading
from statllm.ragged import Ragged

if TYPE_CHECKING:
    import torch

IntArray = NDArray[np.int64]
LongTexts = Literal["error", "cut"]

_BLOCK = 8192  # texts tokenised at a time
_NO_LIMIT = 1_000_000  # tokenizers without a limit give 1e30


@dataclass(frozen=True)
class Encoder:
    """A model without a language-model head, its tokenizer, and the most tokens it reads."""

    model: Any
    tokenizer: Any
    max_tokens: int | None
    name: str


def load_encoder(
    folder: Path, head: Literal["none", "classifier"], device: str, max_tokens: int | None = None
) -> Encoder:
    """Load an encoder, or a sequence classifier, in float32 and evaluation mode.

    Raises
    ------
    InputError
        If the folder isn't one of a model, or lacks weights that the model needs: transformers
        would draw these at random.
    """
    import torch

    check_model_folder(folder)
    tokenizer: Any = load_tokenizer(folder)
    with loading(str(folder)):
        from transformers import AutoModel, AutoModelForSequenceClassification

        kind: Any = AutoModelForSequenceClassification if head == "classifier" else AutoModel
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        # The pooler of BERT and its kin is not used here, and often not saved.
        used = sorted(key for key in info["missing_keys"] if head != "none" or "pooler" not in key)
        if used:
            what = "a sequence classifier" if head == "classifier" else "an encoder"
            raise InputError(f"model {folder} is not {what}: its weights lack {used[0]}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model.to(device)
    model.train(False)
    tokenizer.padding_side = "right"  # the positions of the tokens stay what they are alone
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Encoder(model, tokenizer, _limit(tokenizer, model.config, max_tokens), str(folder))


def _limit(tokenizer: Any, config: Any, given: int | None) -> int | None:
    """The most tokens that tokenizer, positions and folder allow."""
    limits = [given] if given else []
    if tokenizer.model_max_length < _NO_LIMIT:
        limits.append(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        # RoBERTa's kin number positions from 2 on; where the tokenizer doesn't know that, be safe.
        limits.append(positions if limits else positions - 2)
    return min(limits, default=None)


def forward(
    encoder: Encoder,
    texts: Sequence[Sequence[str]],
    batch_tokens: int,
    long_texts: LongTexts,
) -> Iterator[tuple[IntArray, Any, torch.Tensor]]:
    """Put texts, or pairs of texts, through the model, long ones first.

    Parameters
    ----------
    encoder : Encoder
    texts : sequence of one or two sequences of str
        The texts; or the first and the second ones of the pairs.
    batch_tokens : int
        A batch has at most so many tokens, padding included, unless a single text has more.
    long_texts : {"error", "cut"}
        Refuse a text that the model can't read whole, or cut it (the longer one of a pair first).

    Yields
    ------
    places : ndarray of int64
        Which texts.
    output
        What the model returned.
    mask : Tensor, shape (n_batch, n_tokens)
        1 for tokens, 0 for padding.

    Raises
    ------
    InputError
        If a text has no tokens, or too many.
    """
    import torch

    characters = np.sum([[len(text) for text in side] for side in texts], axis=0)
    order = np.argsort(-characters, kind="stable")
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        tokens = _tokens(encoder, [[side[i] for i in block] for side in texts], long_texts)
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        for batch in batches(lengths, batch_tokens):
            rows = {name: [values[i] for i in batch] for name, values in tokens.items()}
            inputs = encoder.tokenizer.pad(rows, return_tensors="pt", verbose=False)
            inputs = inputs.to(encoder.model.device)
            with torch.inference_mode():
                output = encoder.model(**inputs)
            yield block[batch], output, inputs["attention_mask"]


def _tokens(encoder: Encoder, texts: list[list[str]], long_texts: LongTexts) -> dict[str, Any]:
    """Tokens of each text or pair, unpadded."""
    most = encoder.max_tokens
    cut = most is not None and long_texts == "cut"
    tokens = encoder.tokenizer(
        *texts,
        truncation=cut,
        max_length=most if cut else None,
        return_attention_mask=True,
        verbose=False,
    )
    lengths = np.array([len(ids) for ids in tokens["input_ids"]])
    if not lengths.all():
        raise InputError(f"model {encoder.name}: a text has no tokens")
    if most is not None and lengths.max() > most:
        first = texts[0][int(lengths.argmax())]
        raise InputError(
            f"model {encoder.name} reads {most} tokens, and a text has {lengths.max()}: "
            f"{first[:40]!r}...; long_texts='cut' cuts it"
        )
    return dict(tokens)


def batches(lengths: IntArray, batch_tokens: int) -> Iterator[IntArray]:
    """Places of texts of similar length, with at most so many tokens after padding, longest first.

    Examples
    --------
    >>> [batch.tolist() for batch in batches(np.array([2, 9, 3, 2]), 8)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def coded_texts(texts: Any, questions: Sequence[str] | None = None) -> tuple[Ragged, list[str]]:
    """Return the code of each text, a row per prompt, and the distinct texts that codes point to.

    Raises
    ------
    InputError
        If a text is missing, or there isn't one question per prompt.
    """
    codes, vocabulary = _answers.encode(texts)
    if (codes.values < 0).any():
        row = int(codes.rows[np.argmax(codes.values < 0)])
        raise InputError(f"{(codes.values < 0).sum()} texts are missing, the first in row {row}")
    codes = codes.with_values(codes.values.astype(np.int64))
    known: list[str] = vocabulary.to_pylist()
    if not all(isinstance(text, str) for text in known):
        raise InputError(f"texts must be strings, not {vocabulary.type}")
    if questions is None:
        return codes, known
    if len(questions) != len(codes):
        raise InputError(f"there are {len(questions)} questions for {len(codes)} prompts")
    if not all(isinstance(question, str) for question in questions):
        raise InputError("questions must be strings, none of them missing")
    joined = [
        f"{questions[row]} {known[code]}"
        for row, code in zip(codes.rows.tolist(), codes.values.tolist(), strict=True)
    ]
    return coded_texts(Ragged(np.array(joined, dtype=object), codes.offsets))


def finite_rows(tensor: Any, folder: Path) -> NDArray[np.float32]:
    """A tensor as float32 rows on the CPU.

    Raises
    ------
    InputError
        If a number is NaN or infinite: it must not reach the cache.
    """
    rows: NDArray[np.float32] = tensor.float().cpu().numpy()
    if not np.isfinite(rows).all():
        raise InputError(f"model {folder} gives numbers that aren't finite")
    return rows
