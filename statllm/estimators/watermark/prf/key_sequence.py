"""Watermarks by a fixed sequence of keys, found by alignment (Kuditipudi et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.estimators.watermark.prf.vllm_gumbel import gumbel_choice
from statllm.ragged import Ragged
from statllm.results import TestResult


@dataclass(frozen=True)
class KeySequence:
    """Token t is chosen by element (shift + t) mod `length` of a secret sequence.

    The shift is drawn once per text. No context is hashed, so an edit spoils one token, not the
    next few; the text is aligned with the sequence, and edits cost a gap. Texts that begin at
    the same shift share all their randomness.

    Parameters
    ----------
    vocabulary : int
        Size of the model's logits.
    key : int
        32 bits; a seed of the Mersenne twister.
    length : int
        Elements of the sequence.
    kind : {"exponential", "transform"}
        - ``"exponential"``: an element is one number u_v per token, which is argmax log(u_v) / p_v;
          a pair costs log(1 - u_v).
        - ``"transform"``: an element is one number u, which is carried through the model's
          cumulative law in the order of a secret permutation; a pair costs
          abs(u - rank / vocabulary).

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> watermark = KeySequence(vocabulary=50, key=42, length=20)
    >>> law = np.full(50, 0.02)
    >>> text = [int(np.argmax(watermark.reweighted(law, 13 + t))) for t in range(15)]
    >>> del text[7]
    >>> round(watermark.test(text, runs=99, rng=0).p_value, 6)
    0.01
    """

    vocabulary: int
    key: int = field(default=42, repr=False)
    length: int = 256
    kind: Literal["exponential", "transform"] = "exponential"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key, 32)
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary must be at least 2, not {self.vocabulary}")
        if self.length < 1:
            raise ValueError(f"length must be at least 1, not {self.length}")
        if self.kind not in ("exponential", "transform"):
            raise ValueError(f"kind must be 'exponential' or 'transform', not {self.kind!r}")

    def test(
        self,
        tokens: ArrayLike,
        *,
        block: int | None = None,
        edits: bool = True,
        gap: float | None = None,
        runs: int = 999,
        rng: np.random.Generator | int | None = None,
    ) -> TestResult:
        """Test one text by drawing sequences anew.

        The statistic is the least cost over all stretches of `block` tokens and all places of the
        sequence; p = (1 + #{drawn sequences that cost no more}) / (1 + runs), valid for any text
        that was written without the key. It isn't below 1 / (1 + runs). The time is proportional
        to runs x length x (stretches) x block^2, or x block without edits.

        Parameters
        ----------
        tokens : array_like of int, shape (m,)
        block : int, optional
            Tokens of a stretch; the whole text unless given.
        edits : bool
            Whether tokens and elements may be skipped.
        gap : float, optional
            Cost of skipping one: 0 for ``"exponential"``, 1 for ``"transform"`` unless given.
        runs : int
        rng : Generator or int, optional

        Raises
        ------
        ValueError
            If the text is shorter than `block`, or an argument is out of range.
        """
        from statllm.estimators.watermark.prf._alignment import least_cost

        given = np.asarray(tokens)
        if given.ndim != 1 or len(given) == 0:
            raise ValueError(f"tokens must be one text of at least one token, not {given.shape}")
        flat = checked_tokens(Ragged.from_lengths(given, [len(given)]), self.vocabulary)
        size = len(flat) if block is None else block
        if not 1 <= size <= len(flat):
            raise ValueError(f"block must lie between 1 and the text's {len(flat)}, not {block}")
        cost = {"exponential": 0.0, "transform": 1.0}[self.kind] if gap is None else float(gap)
        if not 0 <= cost < math.inf:
            raise ValueError(f"gap must be finite and not negative, not {gap}")
        if runs < 1:
            raise ValueError(f"runs must be at least 1, not {runs}")
        distinct, codes = np.unique(flat, return_inverse=True)
        statistic = float(least_cost(self._costs(distinct), codes, size, cost, edits))
        drawn = np.random.default_rng(rng)
        as_low = 0
        for _ in range(runs):
            other = self._drawn_costs(len(distinct), drawn)
            as_low += least_cost(other, codes, size, cost, edits) <= statistic
        p = (1 + as_low) / (1 + runs)
        return TestResult(
            statistic,
            p,
            math.log(p),
            "less",
            len(flat),
            f"{self.kind} key sequence, {'edit' if edits else 'one-by-one'} alignment, "
            f"{runs} drawn sequences",
            "the text was written without the key, whose pseudo-random numbers are independent "
            "and uniform",
        )

    def reweighted(self, probabilities: FloatArray, place: int) -> FloatArray:
        """Return the next token's law under element `place` mod `length`: all on one token.

        Parameters
        ----------
        probabilities : ndarray, shape (vocabulary,)
        place : int
            The text's shift plus the tokens that it has.
        """
        law = np.asarray(probabilities, np.float64)
        if law.shape != (self.vocabulary,):
            raise ValueError(f"probabilities must have shape ({self.vocabulary},), not {law.shape}")
        at = place % self.length
        if self.kind == "exponential":
            return gumbel_choice(law, self._uniforms[at] / 2**32)
        order, numbers = self._transform
        cumulative = np.cumsum(law[order])
        rank = int(np.searchsorted(cumulative, numbers[at] * cumulative[-1], side="right"))
        return np.asarray(np.arange(len(law)) == order[rank], np.float64)

    @cached_property
    def _uniforms(self) -> NDArray[np.uint32]:
        """Numerators over 2^32, shape (length, vocabulary), as the authors' demo draws them."""
        from statllm.estimators.watermark.prf._mersenne import words

        return words(self.key, self.length * self.vocabulary).reshape(self.length, -1)

    @cached_property
    def _transform(self) -> tuple[IntArray, FloatArray]:
        """The secret order and one number per element, of PyTorch's randperm and rand."""
        from statllm.estimators.watermark.prf._mersenne import permutation, words

        raw = words(self.key, self.vocabulary - 1 + self.length)[self.vocabulary - 1 :]
        return permutation(self.key, self.vocabulary), (raw & 0xFFFFFF) / float(1 << 24)

    def _costs(self, distinct: IntArray) -> FloatArray:
        """Costs of the elements with the text's distinct tokens, shape (length, n_distinct)."""
        if self.kind == "exponential":
            return np.asarray(np.log1p(-(self._uniforms[:, distinct] / 2**32)), np.float64)
        order, numbers = self._transform
        ranks = np.empty(self.vocabulary, np.int64)
        ranks[order] = np.arange(self.vocabulary)
        return self._distances(numbers, ranks[distinct])

    def _drawn_costs(self, n_distinct: int, rng: np.random.Generator) -> FloatArray:
        """Costs of another sequence with as many tokens: which ones they are doesn't matter."""
        if self.kind == "exponential":
            return np.asarray(np.log1p(-rng.random((self.length, n_distinct))), np.float64)
        ranks = rng.choice(self.vocabulary, n_distinct, replace=False)
        return self._distances(rng.random(self.length), ranks)

    def _distances(self, numbers: FloatArray, ranks: IntArray) -> FloatArray:
        return np.asarray(np.abs(numbers[:, None] - ranks / self.vocabulary), np.float64)
