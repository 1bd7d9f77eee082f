"""The unit of evidence: each (seed, target) pair once."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks
from statllm.ragged import Ragged

Scope = Literal["document", "corpus"]


def deduplicated(marks: Marks, scope: Scope = "document") -> Marks:
    """Keep the first mark of every (seed, target) pair.

    The same pair has the same random number: counted twice, a phrase that repeats is counted as
    two pieces of evidence. Repeated n-grams aren't the unit where the seed is a minimum over the
    window (self-hash): different n-grams then share a pair.

    Parameters
    ----------
    marks : Marks
    scope : {"document", "corpus"}
        Where a pair counts once. ``"document"`` makes each document's p-value valid on average
        over keys. ``"corpus"`` also makes documents independent of each other under one key: a
        phrase counts in the first document that has it.

    Raises
    ------
    ValueError
        If the scope is another.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> seeds, targets = np.array([7, 7, 9, 7], np.uint64), np.array([1, 1, 1, 1])
    >>> marks = Marks(np.array([1, 1, 0, 1], np.uint8), seeds, targets, np.arange(4),
    ...               np.array([0, 3, 4]), Null("green"))
    >>> deduplicated(marks).offsets, deduplicated(marks, "corpus").offsets
    (array([0, 2, 3]), array([0, 2, 2]))
    """
    return marks.kept(first_occurrences(marks, scope))


def first_occurrences(marks: Marks, scope: Scope = "document") -> NDArray[np.bool_]:
    """Return a mask, shape (n,), of the marks that `deduplicated` keeps.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> marks = Marks(np.ones(3, np.uint8), np.array([7, 7, 7], np.uint64), np.array([1, 2, 1]),
    ...               np.arange(3), np.array([0, 3]), Null("green"))
    >>> first_occurrences(marks)
    array([ True,  True, False])
    """
    from statllm.estimators.watermark.prf._first import first_in_document

    if scope not in ("document", "corpus"):
        raise ValueError(f"scope must be 'document' or 'corpus', not {scope!r}")
    bounds = marks.offsets if scope == "document" else np.array([0, len(marks.seeds)])
    return first_in_document(marks.seeds, _told_apart(marks), bounds)


def effective_n(marks: Marks) -> FloatArray:
    """Return how many independent marks each document's marks are worth, repeats included.

    n^2 / sum_u c_u^2 for pairs u that occur c_u times: the sum over n marks has the relative
    variance of a sum over that many independent ones.

    Parameters
    ----------
    marks : Marks
        Before deduplication.

    Returns
    -------
    ndarray, shape (n_documents,)
        0 for a document without marks.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> marks = Marks(np.ones(4, np.uint8), np.zeros(4, np.uint64), np.array([1, 1, 1, 2]),
    ...               np.arange(4), np.array([0, 4]), Null("green"))
    >>> effective_n(marks)
    array([1.6])
    """
    from statllm.estimators.watermark.prf._first import earlier_in_document

    earlier = earlier_in_document(marks.seeds, _told_apart(marks), marks.offsets)
    n = marks.lengths.astype(np.float64)
    squares = n + 2 * Ragged(earlier, marks.offsets).sum()  # c^2 = c + c (c - 1)
    return np.divide(n**2, squares, out=np.zeros_like(n), where=squares > 0)


def design_effect(marks: Marks) -> float:
    """Return by how much one fixed key inflates the variance of a corpus's mean z.

    Documents that share pairs share their random numbers. Over keys, the correlation of two
    documents' z is |U_d & U_e| / sqrt(n_d n_e), U the sets of pairs, so the variance of the mean
    of D values of z is deff / D with deff = sum_u (sum_{d has u} n_d^(-1/2))^2 / D. It is 1 where
    no pair is shared, and D / deff is the effective number of documents.

    Parameters
    ----------
    marks : Marks
        Deduplicated within documents.

    Returns
    -------
    float
        At least 1 (up to rounding); NaN without any mark.

    Examples
    --------
    Two equal documents are worth one:

    >>> from statllm.estimators.watermark.marks import Null
    >>> marks = Marks(np.ones(4, np.uint8), np.array([1, 2, 1, 2], np.uint64), np.ones(4, int),
    ...               np.array([1, 2, 1, 2]), np.array([0, 2, 4]), Null("green"))
    >>> round(design_effect(marks), 12)
    2.0
    """
    lengths = marks.lengths
    scored = int(np.sum(lengths > 0))
    if scored == 0:
        return float("nan")
    weights = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    pairs = _pairs(marks)
    return float(np.sum(np.bincount(pairs, weights) ** 2) / scored)


def _told_apart(marks: Marks) -> IntArray:
    """The targets; all alike where a seed counts once, whatever follows it."""
    return marks.targets if marks.once_per == "pair" else np.zeros_like(marks.targets)


def _pairs(marks: Marks) -> IntArray:
    """Number the distinct (seed, target) pairs from 0, shape (n,)."""
    targets = _told_apart(marks)
    order = np.lexsort((targets, marks.seeds))
    firsts = np.zeros(len(order), np.int64)
    firsts[_starts(marks.seeds[order], targets[order])] = 1
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(firsts) - 1
    return numbers


def _starts(a: NDArray[Any], b: NDArray[Any]) -> IntArray:
    """Where runs of equal (a, b) begin in ordered arrays."""
    if len(a) == 0:
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1])))
