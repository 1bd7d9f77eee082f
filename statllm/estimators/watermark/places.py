"""Where a text is scored, which many keys share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import IntArray, Marks, Scheme, Seeds
from statllm.ragged import Ragged


@dataclass(frozen=True)
class Places:
    """The scored tokens of many documents and their contexts; nothing here depends on the key.

    Attributes
    ----------
    tokens : ndarray of int64
        All tokens, from which contexts are read.
    scored : ndarray of int64, shape (n,)
        Indices of the scored ones.
    contexts : ndarray of uint64, shape (n,)
        Names each one's context; equal where the context is.
    positions : ndarray of int64, shape (n,)
        Index of the scored token in its document.
    offsets : ndarray of int64, shape (n_documents + 1,)
        Document d has the places ``offsets[d]:offsets[d + 1]``.
    once_per : {"pair", "seed"}
        As of `Marks`.
    """

    tokens: IntArray
    scored: IntArray
    contexts: Seeds
    positions: IntArray
    offsets: IntArray
    once_per: Literal["pair", "seed"] = "pair"

    @classmethod
    def of(
        cls,
        tokens: Ragged,
        flat: IntArray,
        skipped: int,
        contexts: Callable[[IntArray, IntArray], Seeds],
        once_per: Literal["pair", "seed"] = "pair",
    ) -> Places:
        """Score every token but the first `skipped` of each document.

        Parameters
        ----------
        tokens : Ragged
        flat : ndarray of int64
            Its values, checked.
        skipped : int
        contexts : callable
            Of the scored indices and their positions: the contexts' names.
        once_per : {"pair", "seed"}

        Examples
        --------
        >>> tokens = Ragged.from_lists([[5, 6, 7], [8]], np.int64)
        >>> last = lambda scored, positions: tokens.values[scored - 1].astype(np.uint64)
        >>> Places.of(tokens, tokens.values, 1, last).contexts
        array([5, 6], dtype=uint64)
        """
        scored = np.arange(len(flat))
        positions = scored - np.repeat(tokens.offsets[:-1], tokens.lengths)
        if skipped:
            scored = np.flatnonzero(positions >= skipped)
            positions = positions[scored]
        lengths = np.maximum(tokens.lengths - skipped, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return cls(flat, scored, contexts(scored, positions), positions, offsets, once_per)

    @property
    def targets(self) -> IntArray:
        """The scored tokens, shape (n,)."""
        return self.tokens[self.scored]

    @property
    def lengths(self) -> IntArray:
        """Places per document, shape (n_documents,)."""
        return np.diff(self.offsets)

    def first(self) -> NDArray[np.bool_]:
        """Return a mask, shape (n,), of those whose unit occurs first in the document."""
        from statllm.estimators.watermark.prf._first import first_in_document

        told_apart = self.targets if self.once_per == "pair" else np.zeros_like(self.scored)
        return first_in_document(self.contexts, told_apart, self.offsets)

    def kept(self, mask: NDArray[np.bool_]) -> Places:
        """Return the places where `mask`, shape (n,), is true."""
        at = np.flatnonzero(mask)
        return replace(
            self,
            scored=self.scored[at],
            contexts=self.contexts[at],
            positions=self.positions[at],
            offsets=np.searchsorted(at, self.offsets),
        )


@runtime_checkable
class PlacedScheme(Scheme, Protocol):
    """A scheme whose contexts are told apart without the key."""

    @property
    def placing(self) -> Hashable:
        """What the places depend on: equal for schemes that share them."""

    def places(self, tokens: Ragged) -> Places:
        """Find the scored tokens of documents of token ids, and name their contexts."""

    def marks_at(self, places: Places) -> Marks:
        """Read the marks at places that `places` has found, or at some of them."""
