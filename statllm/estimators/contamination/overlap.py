"""How much of a benchmark's items stands in a corpus: shared runs of tokens, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from statllm.ragged import BoolArray, FloatArray, IntArray, Ragged

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Overlap:
    """What a corpus shares with the items of a benchmark.

    Attributes
    ----------
    n : int
        Tokens in a row that make an n-gram.
    longest : ndarray of int64, shape (n_items,)
        Tokens of the longest run that the item shares with a document; 0 for none.
    document : ndarray of int64, shape (n_items,)
        The first document that has that run (of several such runs); -1 for none.
    covered : Ragged of bool, n_items rows
        Which of the item's n-grams some document has; an item of fewer than `n` tokens has none.
    n_matches : ndarray of int64, shape (n_documents,)
        Places of the document where an n-gram of an item starts.
    """

    n: int
    longest: IntArray
    document: IntArray
    covered: Ragged
    n_matches: IntArray

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.n_matches)

    @property
    def share(self) -> FloatArray:
        """Share of the item's n-grams that are in the corpus, shape (n_items,); NaN without any."""
        return self.covered.with_values(self.covered.values.astype(np.float64)).mean()

    @property
    def leaks(self) -> BoolArray:
        """Whether the item has an n-gram in the corpus, shape (n_items,)."""
        found: BoolArray = self.covered.sum() > 0
        return found

    def merged(self, other: Overlap) -> Overlap:
        """Return the overlap of the same items with two corpora, `other`'s documents last.

        So a corpus of any size is read batch by batch.

        Raises
        ------
        ValueError
            If n or the items' lengths differ.

        Examples
        --------
        >>> items = Ragged.from_lists([[1, 2, 3, 4]])
        >>> halves = [overlap(Ragged.from_lists([d]), items, n=2) for d in ([9, 1, 2], [3, 4, 9])]
        >>> halves[0].merged(halves[1]).share
        array([0.66666667])
        """
        if self.n != other.n or not np.array_equal(self.covered.offsets, other.covered.offsets):
            raise ValueError("overlaps can be merged where n and the items are the same")
        later = np.where(other.document >= 0, other.document + self.n_documents, -1)
        return Overlap(
            self.n,
            np.maximum(self.longest, other.longest),
            np.where(other.longest > self.longest, later, self.document),
            self.covered.with_values(self.covered.values | other.covered.values),
            np.concatenate([self.n_matches, other.n_matches]),
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per item."""
        import pandas as pd

        return pd.DataFrame(
            {
                "longest": self.longest,
                "document": self.document,
                "share": self.share,
                "n_covered": self.covered.sum().astype(np.int64),
                "n_ngrams": self.covered.lengths,
            }
        )


def overlap(documents: Ragged, items: Ragged, n: int = 13) -> Overlap:
    """Find the runs of tokens that a benchmark's items share with documents.

    Tokens are whole numbers, of a tokenizer or words numbered alike for both sides; Brown et al.
    (2020, arXiv 2005.14165, appendix C) take n = 13 words. Runs are named, not hashed: of a run
    of length m that both sides have, those continuations to m + 1 survive that both sides have.
    Time is that of sorting the documents' tokens once by each short length, and of the common
    runs from there on.

    Parameters
    ----------
    documents, items : Ragged of int
    n : int

    Raises
    ------
    ValueError
        If `n` is below 1, or tokens aren't whole numbers.

    Examples
    --------
    >>> items = Ragged.from_lists([[1, 2, 3, 4, 5], [7, 8]])
    >>> found = overlap(Ragged.from_lists([[0, 9], [0, 2, 3, 4, 0]]), items, n=2)
    >>> found.longest, found.document, found.share, found.n_matches
    (array([3, 0]), array([ 1, -1]), array([0.5, 0. ]), array([0, 2]))
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    theirs, ours = _whole(documents, "documents"), _whole(items, "items")
    ngrams = np.maximum(items.lengths - n + 1, 0)
    covered = np.zeros(int(ngrams.sum()), np.bool_)
    first_ngram = np.concatenate([[0], np.cumsum(ngrams)])[:-1]
    longest, document = np.zeros(len(items), np.int64), np.full(len(items), -1)
    n_matches = np.zeros(len(documents), np.int64)

    alphabet, code = np.unique(ours, return_inverse=True)
    their_code = _place(alphabet, theirs)  # -1: in no item
    at, name = np.arange(len(ours)), code
    there = np.flatnonzero(their_code >= 0)
    their_name = their_code[there]
    length = 1
    while True:
        # runs of `length` in the items, by name, and the places of the documents that have one
        first = np.full(int(name.max(initial=-1)) + 1, -1)
        first[their_name[::-1]] = documents.rows[there[::-1]]  # the first document is written last
        common = first[name] >= 0
        at, name = at[common], name[common]
        if not len(at):
            break
        rows = items.rows[at]
        longest[rows] = length
        best = np.full(len(items), np.iinfo(np.int64).max)
        np.minimum.at(best, rows, first[name])
        document[rows] = best[rows]
        if length == n:
            covered[first_ngram[rows] + items.positions[at]] = True
            n_matches = np.bincount(documents.rows[there], minlength=len(documents))
        more = at + length < items.offsets[1:][rows]
        at, name = at[more], name[more]
        more = there + length < documents.offsets[1:][documents.rows[there]]
        there, their_name = there[more], their_name[more]
        step = their_code[there + length]
        there, their_name, step = there[step >= 0], their_name[step >= 0], step[step >= 0]
        keys, name = np.unique(name * len(alphabet) + code[at + length], return_inverse=True)
        their_name = _place(keys, their_name * len(alphabet) + step)
        there, their_name = there[their_name >= 0], their_name[their_name >= 0]
        length += 1
    return Overlap(n, longest, document, Ragged.from_lengths(covered, ngrams), n_matches)


def _place(rising: NDArray[Any], values: NDArray[Any]) -> IntArray:
    """Place of each value among distinct rising ones; -1 where it isn't there."""
    if not len(rising):
        return np.full(len(values), -1)
    place = np.minimum(np.searchsorted(rising, values), len(rising) - 1)
    return np.where(rising[place] == values, place, -1)


def _whole(tokens: Ragged, name: str) -> IntArray:
    if len(tokens.values) and not np.issubdtype(tokens.values.dtype, np.integer):
        raise ValueError(f"{name} must hold whole numbers, not {tokens.values.dtype}")
    return tokens.values.astype(np.int64)
