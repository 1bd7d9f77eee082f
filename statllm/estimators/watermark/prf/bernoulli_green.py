"""Green tokens by a coin of their own: vLLM's red-green watermark, and SBW."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.places import Places
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.estimators.watermark.prf.vllm_gumbel import as_marks, vllm_numbers, vllm_places
from statllm.ragged import BoolArray, Ragged


@dataclass(frozen=True)
class VllmRedGreen:
    """What vLLM's development version writes as ``red_green``; release 0.33 doesn't have it.

    After a context a token is green where its number, the one of vLLM's Gumbel watermark, is below
    `share`; green logits are raised after temperature and truncation. Lists have no fixed size, so
    the count is binomial. Contexts seen before are left alone; each counts once.

    Parameters
    ----------
    key : int
        64 bits.
    context_width : int
    share : float
        gamma.
    bias : float
        delta, of generation alone.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> tokens = Ragged.from_lists([[101, 7, 7, 2050, 128000]], np.int64)
    >>> VllmRedGreen(key=42, share=0.5).marks(tokens).values[[0, 4]]  # .257 and .573 in vLLM 0.33
    array([1, 0], dtype=uint8)
    """

    key: int = field(repr=False)
    context_width: int = 4
    share: float = 0.25
    bias: float = 2.0
    name = "vllm-red-green"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key)
        _check(self.context_width, self.share)

    def marks(self, tokens: Ragged) -> Marks:
        """Read which of the completion's tokens are green."""
        return self.marks_at(vllm_places(tokens, self.context_width, named=False))

    @property
    def placing(self) -> Hashable:
        """Shared by all keys and by vLLM's Gumbel schemes with this width."""
        return "vllm", self.context_width

    def places(self, tokens: Ragged) -> Places:
        """Find the scored tokens: all of them."""
        return vllm_places(tokens, self.context_width)

    def marks_at(self, places: Places) -> Marks:
        """Read which tokens are green at some places."""
        numbers, seeds = vllm_numbers(places, self.context_width, [self.key])
        values = (numbers[:, 0] < np.float32(self.share)).astype(np.uint8)
        # a word's first 24 bits k give the number (k + 1) / (2^24 + 1), rounded to single
        below = bisect_left(
            range(1 << 24), np.float32(self.share), key=lambda k: np.float32((k + 1) / 16777217)
        )
        return as_marks(values, seeds, places, Null("green", below / (1 << 24)))

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law with green logits raised by `bias`."""
        from statllm.estimators.watermark.prf._philox import gumbel_row

        context = np.asarray(prefix, np.int64)
        row = gumbel_row(context, self.context_width, np.uint64(self.key), len(probabilities))
        return _raised(probabilities, row < np.float32(self.share), self.bias)


@dataclass(frozen=True)
class Sbw:
    """Stateless Bernoulli watermark (Ceppi and Sanchez 2026, arXiv 2609.03844), as vLLM writes it.

    A token is green where 31 bits of Philox, counted by the token and keyed by the seed, are below
    `share`. Self-hash seeds on the smallest product of hashes of the candidate with itself and
    with the `context_width` - 1 tokens before it; left-hash on key times the sum of the context
    (vLLM's own detector, in its development version, sums hashes instead and can't find that).
    Before the start of the completion there are tokens -1.

    Parameters
    ----------
    key : int
        64 bits.
    context_width : int
        vLLM's default is 4 for self-hash and 1 for left-hash.
    seeding : {"selfhash", "lefthash"}
    share : float
        gamma.
    bias : float
        delta, of generation alone.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> tokens = Ragged.from_lists([[101, 7, 7, 2050, 128000]], np.int64)
    >>> Sbw(key=42).marks(tokens).values.shape
    (5,)
    """

    key: int = field(repr=False)
    context_width: int = 4
    seeding: Literal["selfhash", "lefthash"] = "selfhash"
    share: float = 0.5
    bias: float = 2.0
    name = "sbw"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key)
        _check(self.context_width, self.share)
        if self.seeding not in ("selfhash", "lefthash"):
            raise ValueError(f"seeding must be 'selfhash' or 'lefthash', not {self.seeding!r}")
        if self._threshold == 0:
            raise ValueError(f"share must be at least 2^-31, not {self.share}")

    @property
    def _threshold(self) -> int:
        return int(self.share * (2**31 - 1))

    def marks(self, tokens: Ragged) -> Marks:
        """Read which of the completion's tokens are green."""
        from statllm.estimators.watermark.prf._sbw import bernoulli_marks

        flat = checked_tokens(tokens, 2**31 - 1)
        values, seeds = bernoulli_marks(flat, tokens.offsets, *self._settings())
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        null = Null("green", self._threshold / 2**31)
        return Marks(values, seeds, flat, positions, tokens.offsets, null)

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law with green logits raised by `bias`."""
        from statllm.estimators.watermark.prf._sbw import bernoulli_row

        context = np.asarray(prefix, np.int64)
        green = bernoulli_row(context, *self._settings(), len(probabilities))
        return _raised(probabilities, green, self.bias)

    def _settings(self) -> tuple[int, bool, np.int64, np.uint64]:
        key = np.uint64(self.key).view(np.int64)
        return self.context_width, self.seeding == "selfhash", key, np.uint64(self._threshold)


def _check(width: int, share: float) -> None:
    if width < 1:
        raise ValueError(f"context_width must be at least 1, not {width}")
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")


def _raised(probabilities: FloatArray, green: BoolArray, bias: float) -> FloatArray:
    raised = np.where(green, probabilities * np.exp(bias), probabilities)
    return np.asarray(raised / raised.sum(), np.float64)
