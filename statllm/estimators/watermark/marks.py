"""What a watermark leaves in a text, token by token, and what it would leave by chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Seeds = NDArray[np.uint64]


@dataclass(frozen=True)
class Null:
    """The law of one mark in a text that knows nothing of the key.

    Attributes
    ----------
    kind : {"green", "uniform", "bits"}
        ``"green"``: 1 for a green token, 0 for another. ``"uniform"``: a pivot in (0, 1), near 1
        where the text is watermarked. ``"bits"``: `depth` independent bits per token.
    share : float
        Probability of green, or of a bit that is 1.
    greens, vocabulary : int, optional
        Where a green list has exactly `greens` of `vocabulary` tokens, distinct targets of one
        seed are draws without replacement; None where every token is coloured for itself.
    depth : int
        Bits per token.
    mixing : float, optional
        Two pivots per token, of two keys, the second of which was used with this probability; the
        text doesn't tell which. None: one.
    """

    kind: Literal["green", "uniform", "bits"]
    share: float = 0.5
    greens: int | None = None
    vocabulary: int | None = None
    depth: int = 1
    mixing: float | None = None


@dataclass(frozen=True)
class Marks:
    """The marks of many documents, one after the other.

    The random number behind a mark is a function of (seed, target): where the pair occurs again,
    it is the same number again, and no new evidence. `deduplicated` keeps the first of each.

    Attributes
    ----------
    values : ndarray, shape (n,), (n, depth) or (n, 2)
        uint8 of the kinds green and bits, float64 of uniform; two columns where two keys are mixed.
    seeds : ndarray of uint64, shape (n,)
        Names the seed of the pseudo-random function; equal where the function is the same.
    targets : ndarray of int64, shape (n,)
        The scored token as the function sees it (a table of 16 bits doesn't tell v from v + 65536).
    positions : ndarray of int64, shape (n,)
        Index of the scored token in its document.
    offsets : ndarray of int64, shape (n_documents + 1,)
        Document d has the marks ``offsets[d]:offsets[d + 1]``.
    null : Null
        The law of a mark by chance.
    once_per : {"pair", "seed"}
        What counts once: a pair, or a seed, where the generator leaves contexts alone that it has
        seen, so that only the first token after one carries evidence.
    """

    values: NDArray[Any]
    seeds: Seeds
    targets: IntArray
    positions: IntArray
    offsets: IntArray
    null: Null
    once_per: Literal["pair", "seed"] = "pair"

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Marks per document, shape (n_documents,)."""
        return np.diff(self.offsets)

    @property
    def documents(self) -> IntArray:
        """Document of each mark, shape (n,)."""
        return np.repeat(np.arange(self.n_documents), self.lengths)

    def kept(self, mask: NDArray[np.bool_]) -> Marks:
        """Return the marks where `mask`, shape (n,), is true; documents may become empty.

        Raises
        ------
        ValueError
            If the mask has another shape.

        Examples
        --------
        >>> none = np.zeros(2, np.uint64)
        >>> marks = Marks(np.array([0.2, 0.9]), none, np.arange(2), np.arange(2),
        ...               np.array([0, 2]), Null("uniform"))
        >>> marks.kept(np.array([False, True])).offsets
        array([0, 1])
        """
        if mask.shape != self.seeds.shape:
            raise ValueError(f"mask must have shape {self.seeds.shape}, not {mask.shape}")
        at = np.flatnonzero(mask)  # indices are taken faster than a mask is read four times
        return replace(
            self,
            values=self.values.take(at, axis=0),
            seeds=self.seeds.take(at),
            targets=self.targets.take(at),
            positions=self.positions.take(at),
            offsets=np.searchsorted(at, self.offsets),
        )


class Scheme(Protocol):
    """A watermark under a key: how it is read, and how it is written.

    Implementations are frozen dataclasses whose `key` has ``repr=False``: keys are secrets.
    """

    @property
    def name(self) -> str:
        """The name by which users choose it, such as ``"vllm-gumbel"``."""

    def marks(self, tokens: Ragged) -> Marks:
        """Read the marks of documents of token ids (int64), before any deduplication."""

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key, shape (vocabulary,).

        Parameters
        ----------
        probabilities : ndarray, shape (vocabulary,)
            The model's law, after temperature and truncation.
        prefix : ndarray of int64
            The tokens that the scheme lets count as context, oldest first.
        """
