"""The Gumbel-max watermark of Three Bricks (Fernandez et al. 2023), and permute-and-flip on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.estimators.watermark.prf.vllm_gumbel import gumbel_choice
from statllm.ragged import Ragged

STEPS = 1 << 24


@dataclass(frozen=True)
class ThreeBricksGumbel:
    """argmax log(r_v) / p_v with r from PyTorch's CPU generator, seeded by the context.

    The seed is a polynomial of the context's tokens in `key` that begins with `start`, modulo
    2^64 - 1. With `start` 0 and one token of context, the reference's defaults, the seed is that
    token: there is no secret. r has 24 bits and is read at the lower end of its step, so a p-value
    is never too small for that. A number costs as many steps of the generator as its token's id.

    Parameters
    ----------
    vocabulary : int
        Size of the model's logits.
    key : int
        ``salt_key``, 32 bits.
    start : int
        ``seed``, 64 bits.
    ngram : int
        Tokens of context.
    payload : int
        The message: r is read `payload` places further on.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> scheme = ThreeBricksGumbel(vocabulary=100, ngram=2)
    >>> scheme.marks(Ragged.from_lists([[1, 2, 3, 4]], np.int64)).positions
    array([2, 3])
    """

    vocabulary: int
    key: int = field(default=35317, repr=False)
    start: int = field(default=0, repr=False)
    ngram: int = 1
    payload: int = 0
    name = "three-bricks-gumbel"

    def __post_init__(self) -> None:
        _check(self)

    def marks(self, tokens: Ragged) -> Marks:
        """Read the pivots r of documents, each from its `ngram`-th token on."""
        return _marks(self, tokens, lambda steps: np.maximum(steps, 0.5) / STEPS)

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key: all on one token."""
        steps = _row(self, prefix, len(probabilities))
        if steps is None:
            return np.asarray(probabilities, np.float64)
        return gumbel_choice(probabilities, np.maximum(steps, 0.5) / STEPS)


@dataclass(frozen=True)
class PermuteFlip:
    """argmax log(p_v) - log(r_v) with the numbers of `ThreeBricksGumbel` (Zhao et al. 2024).

    By permute-and-flip the most probable tokens are chosen more often than by sampling: the
    text's law isn't the model's. By chance -log(r) is exponential, so the pivot is 1 - r, with r
    at the upper end of its step.

    Parameters
    ----------
    vocabulary, key, start, ngram, payload
        As for `ThreeBricksGumbel`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> PermuteFlip(vocabulary=100).marks(Ragged.from_lists([[1, 2]], np.int64)).positions
    array([1])
    """

    vocabulary: int
    key: int = field(default=35317, repr=False)
    start: int = field(default=0, repr=False)
    ngram: int = 1
    payload: int = 0
    name = "permute-flip"

    def __post_init__(self) -> None:
        _check(self)

    def marks(self, tokens: Ragged) -> Marks:
        """Read the pivots 1 - r of documents, each from its `ngram`-th token on."""
        return _marks(self, tokens, lambda steps: np.maximum(STEPS - 1 - steps, 0.5) / STEPS)

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key: all on one token."""
        steps = _row(self, prefix, len(probabilities))
        law = np.asarray(probabilities, np.float64)
        if steps is None:
            return law
        with np.errstate(divide="ignore"):
            chosen = int(np.argmax(np.log(law) - np.log((steps + 1) / STEPS)))
        return np.asarray(np.arange(len(law)) == chosen, np.float64)


def _check(scheme: ThreeBricksGumbel | PermuteFlip) -> None:
    checked_options(scheme, ("key", "start"))
    checked_key(scheme.key, 32)
    checked_key(scheme.start)
    if scheme.vocabulary < 2:
        raise ValueError(f"vocabulary must be at least 2, not {scheme.vocabulary}")
    if scheme.ngram < 1:
        raise ValueError(f"ngram must be at least 1, not {scheme.ngram}")
    if not 0 <= scheme.payload < scheme.vocabulary:
        raise ValueError(f"payload must lie between 0 and the vocabulary, not {scheme.payload}")


def _marks(
    scheme: ThreeBricksGumbel | PermuteFlip,
    tokens: Ragged,
    pivots: Callable[[IntArray], FloatArray],
) -> Marks:
    from statllm.estimators.watermark.prf._torch_rand import context_seeds, rand_steps

    flat = checked_tokens(tokens, scheme.vocabulary)
    positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
    scored = np.flatnonzero(positions >= scheme.ngram)
    seeds = context_seeds(flat, scored, scheme.ngram, *_words(scheme))
    targets = flat[scored]
    steps = rand_steps(seeds, (targets + scheme.payload) % scheme.vocabulary)
    lengths = np.maximum(tokens.lengths - scheme.ngram, 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Marks(pivots(steps), seeds, targets, positions[scored], offsets, Null("uniform"))


def _row(
    scheme: ThreeBricksGumbel | PermuteFlip, prefix: IntArray, vocabulary: int
) -> IntArray | None:
    """Steps of all tokens; None without a whole context, where nothing is marked."""
    from statllm.estimators.watermark.prf._torch_rand import context_seeds, rand_steps

    if vocabulary != scheme.vocabulary:
        raise ValueError(
            f"probabilities must have length {scheme.vocabulary} (vocabulary), not {vocabulary}"
        )
    context = np.asarray(prefix, np.int64)[-scheme.ngram :]
    if len(context) < scheme.ngram:
        return None
    seed = context_seeds(context, np.array([len(context)]), scheme.ngram, *_words(scheme))
    steps = rand_steps(np.repeat(seed, vocabulary), np.arange(vocabulary))
    return np.roll(steps, -scheme.payload)


def _words(scheme: ThreeBricksGumbel | PermuteFlip) -> tuple[np.uint64, np.uint64]:
    return np.uint64(scheme.start), np.uint64(scheme.key)
