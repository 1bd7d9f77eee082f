"""TextSeal's Gumbel-max watermark, with one key or two."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null, Seeds
from statllm.estimators.watermark.places import Places
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.estimators.watermark.prf.vllm_gumbel import as_marks, gumbel_choice
from statllm.ragged import Ragged

# Factors of the context's tokens, the oldest first, of the scored token and of the key.
_CONTEXT = (
    10000019, 10000247, 10000439, 10000643, 10000747,
    10000867, 10000993, 10001213, 10001357, 10001501,
)  # fmt: skip
_TOKEN, _KEY = 100000007, 500001713
_MIX = 15485863 * 40499
_STEPS = 8191


@dataclass(frozen=True)
class TextSealGumbel:
    """argmax log(r_v) / p_v, r = k / 8191 by a multiplicative hash of context, token and key.

    There are 8,191 numbers only: in a vocabulary of 128,000 sixteen tokens share each, the most
    that a token scores is log 8191 = 9.01, and by chance -log(1 - r) has mean .99934. It is
    stochastically smaller than an exponential variable, so the Gamma law errs on the safe side.
    k = 0, which has no logarithm, is read as 1/2. The hash is simple: numbers of neighbouring
    tokens, and of keys 12,345 apart, have a correlation of -.01.

    With two keys (watermark type ``textseal``) each token uses `key` with probability
    `mixing_alpha`, by a coin that the text doesn't show.

    Parameters
    ----------
    key : int
        ``secret_key``.
    ngram : int
        Tokens of context, at most 10.
    key_b : int, optional
        ``secret_key_b``; the reference takes `key` + 12345 where none is given.
    mixing_alpha : float
        Probability of `key`, where there are two.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> marks = TextSealGumbel(key=42).marks(Ragged.from_lists([[1, 2, 3]], np.int64))
    >>> (marks.values * 8191).round(6)
    array([6566., 4728.])
    """

    key: int = field(default=42, repr=False)
    ngram: int = 1
    key_b: int | None = field(default=None, repr=False)
    mixing_alpha: float = 0.5
    name = "textseal-gumbel"

    def __post_init__(self) -> None:
        checked_options(self)
        for key in self._keys:
            checked_key(key, 63)
        if self.key == self.key_b:  # one key's numbers, read twice, aren't two keys'
            raise ValueError("key_b must differ from key")
        if not 1 <= self.ngram <= len(_CONTEXT):
            raise ValueError(f"ngram must lie between 1 and {len(_CONTEXT)}, not {self.ngram}")
        if not 0 < self.mixing_alpha < 1:
            raise ValueError(f"mixing_alpha must lie between 0 and 1, not {self.mixing_alpha}")

    def marks(self, tokens: Ragged) -> Marks:
        """Read the pivots of documents, each from its `ngram`-th token on."""
        return self.marks_at(self.places(tokens))

    @property
    def placing(self) -> Hashable:
        """Shared by all keys with this width."""
        return "textseal", self.ngram

    def places(self, tokens: Ragged) -> Places:
        """Find the tokens that have a whole context, and weight it."""
        flat = checked_tokens(tokens, None)

        def weighted(scored: IntArray, positions: IntArray) -> Seeds:
            contexts = np.zeros(len(scored), np.int64)
            for i in range(self.ngram):
                contexts += _CONTEXT[i] * flat[scored - self.ngram + i]
            return contexts.view(np.uint64)

        return Places.of(tokens, flat, self.ngram, weighted)

    def marks_at(self, places: Places) -> Marks:
        """Read the pivots at some places."""
        contexts, targets = places.contexts.view(np.int64), places.targets
        columns = [_numbers(contexts, targets, key) for key in self._keys]
        single = self.key_b is None
        values = columns[0] if single else np.column_stack(columns)
        null = Null("uniform", mixing=None if single else 1 - self.mixing_alpha)
        return as_marks(values, places.contexts, places, null)

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key: on one token, or shared by two."""
        context = np.asarray(prefix, np.int64)[-self.ngram :]
        if len(context) < self.ngram:
            return np.asarray(probabilities, np.float64)
        weighted = np.array([np.dot(_CONTEXT[: self.ngram], context)])
        law = np.zeros(len(probabilities))
        shares = (1.0,) if self.key_b is None else (self.mixing_alpha, 1 - self.mixing_alpha)
        for key, share in zip(self._keys, shares, strict=True):
            row = _numbers(weighted, np.arange(len(probabilities)), key)
            law += share * gumbel_choice(probabilities, row)
        return law

    @property
    def _keys(self) -> tuple[int, ...]:
        return (self.key,) if self.key_b is None else (self.key, self.key_b)


def _numbers(contexts: IntArray, tokens: IntArray, key: int) -> FloatArray:
    """r of tokens after contexts, shape (n,); products wrap at 64 bits, with their sign."""
    keyed = np.array([_KEY * key & (1 << 64) - 1], np.uint64).view(np.int64)
    hashed = (contexts + _TOKEN * tokens + keyed) * _MIX
    hashed ^= hashed >> 13
    steps: FloatArray = np.maximum(hashed % _STEPS, 0.5) / _STEPS
    return steps
