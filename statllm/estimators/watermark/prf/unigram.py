"""One green list for every context (Zhao, Ananth, Li and Wang 2023)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.ragged import BoolArray, Ragged


@dataclass(frozen=True)
class Unigram:
    """The list of Unigram-Watermark's released code, one for all contexts.

    A token that repeats is no new evidence, so the distinct tokens count: their green ones are
    hypergeometric. Counting repeats, as detectors do, gives a z of variance 3 on news.

    Parameters
    ----------
    vocabulary : int
    key : int
        ``watermark_key``.
    share : float
        ``fraction``.
    bias : float
        ``strength``, of generation alone.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> scheme = Unigram(vocabulary=10, key=0)
    >>> scheme.marks(Ragged.from_lists([[1, 1]], np.int64)).null.greens
    5
    """

    vocabulary: int
    key: int = field(default=0, repr=False)
    share: float = 0.5
    bias: float = 2.0
    name = "unigram"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key, 63)
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary must be at least 2, not {self.vocabulary}")
        if not 0 < self.share < 1 or not 0 < self.greens < self.vocabulary:
            raise ValueError(f"share must leave green and other tokens, not {self.share}")

    @property
    def greens(self) -> int:
        """Tokens of the green list."""
        return int(self.share * self.vocabulary)

    def marks(self, tokens: Ragged) -> Marks:
        """Read which tokens are green."""
        flat = checked_tokens(tokens, self.vocabulary)
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        null = Null("green", self.greens / self.vocabulary, self.greens, self.vocabulary)
        values = self._green()[flat].astype(np.uint8)
        seeds = np.zeros(len(flat), np.uint64)
        return Marks(values, seeds, flat, positions, tokens.offsets, null)

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law with green logits raised by `bias`."""
        raised = np.where(self._green(), probabilities * np.exp(self.bias), probabilities)
        return np.asarray(raised / raised.sum(), np.float64)

    def _green(self) -> BoolArray:
        digest = hashlib.sha256(np.int64(self.key).tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:4], "little"))
        green = np.arange(self.vocabulary) < self.greens
        rng.shuffle(green)
        return green
