"""Evidence without a key: equal contexts are followed by equal tokens too often."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from statllm.errors import InputError
from statllm.ragged import FloatArray, IntArray, Ragged

_MOST_DOCUMENTS = 400


@dataclass(frozen=True)
class Agreement:
    """How often two documents go on alike after the same context.

    Attributes
    ----------
    log_p : float
        Of the permutation test; NaN without any context that documents share.
    share, reference : float
        Of pairs of places in different documents with the same context, those with the same next
        token, in the corpus and in the reference.
    n_pairs : int
        Pairs of places in the corpus.
    """

    log_p: float
    share: float
    reference: float
    n_pairs: int


def context_agreement(
    tokens: Ragged,
    reference: Ragged,
    width: int,
    n_permutations: int = 9999,
    rng: np.random.Generator | int = 0,
) -> Agreement:
    """Compare agreement after equal contexts with that of unmarked text, whatever the key is.

    A watermark draws the token after a context by numbers that hang on the context and the key
    alone, so documents that share a context go on alike more often. Under the hypothesis that
    documents of both corpora are exchangeable, permuting their labels gives an exact p-value,
    at least 1 / (`n_permutations` + 1). Anything else by which the corpora differ (temperature,
    prompts, topics) is found as well: the reference should be the same model's, unmarked, to
    the same kind of prompts.

    Parameters
    ----------
    tokens, reference : Ragged of int
        At most 400 documents of each are used.
    width : int
        Tokens of a context; 0 compares all tokens with each other.
    n_permutations : int
    rng : Generator or int

    Raises
    ------
    InputError
        If there are fewer than two documents of either.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> free = [[1, int(rng.integers(9)), 2] for _ in range(30)]
    >>> bound = [[1, 5, 2] for _ in range(30)]
    >>> found = context_agreement(
    ...     Ragged.from_lists(bound, np.int64), Ragged.from_lists(free, np.int64), 1, 199)
    >>> found.n_pairs, round(float(np.exp(found.log_p)), 3)
    (870, 0.005)
    """
    sides = [[row for row in _rows(each) if len(row) > width] for each in (tokens, reference)]
    if min(len(side) for side in sides) < 2:
        raise InputError("agreement needs two documents or more, and as many in the reference")
    first = [side[:_MOST_DOCUMENTS] for side in sides]
    n, rows = len(first[0]), first[0] + first[1]
    same_context, same_token = _shared(rows, width)
    rng = np.random.default_rng(rng)
    labels = np.zeros((n_permutations + 1, len(rows)))
    labels[0, :n] = 1
    for k in range(1, n_permutations + 1):
        labels[k, rng.permutation(len(rows))[:n]] = 1
    inside = [_within(labels, counts) for counts in (same_token, same_context)]
    outside = [_within(1 - labels, counts) for counts in (same_token, same_context)]
    with np.errstate(invalid="ignore", divide="ignore"):
        share, other = inside[0] / inside[1], outside[0] / outside[1]
    gap = np.nan_to_num(share - other, nan=0.0)
    if not inside[1][0] or not outside[1][0]:
        return Agreement(np.nan, float(share[0]), float(other[0]), int(inside[1][0]) // 2)
    p = float(np.mean(gap >= gap[0] - 1e-12))
    return Agreement(float(np.log(p)), float(share[0]), float(other[0]), int(inside[1][0]) // 2)


def _rows(tokens: Ragged) -> list[IntArray]:
    return [tokens.values[low:high] for low, high in pairwise(tokens.offsets)]


def _within(labels: FloatArray, counts: FloatArray) -> FloatArray:
    """Sum of counts over ordered pairs of different documents of label 1, per row of labels."""
    total: FloatArray = np.einsum("ki,ki->k", labels @ counts, labels)
    return total


def _shared(rows: list[IntArray], width: int) -> tuple[FloatArray, FloatArray]:
    """Pairs of places with equal contexts, and with equal next tokens too, between documents."""
    same_context = _common([np.arange(len(row) - width) for row in rows], rows, width)
    same_token = _common([np.arange(len(row) - width) for row in rows], rows, width + 1)
    return same_context, same_token


def _common(places: list[IntArray], rows: list[IntArray], length: int) -> FloatArray:
    """Products of how often each n-gram occurs, summed over n-grams, between documents."""
    from scipy import sparse

    grams = np.concatenate(
        [
            np.stack([row[at + i] for i in range(length)], axis=1)
            if length
            else np.zeros((len(at), 1), np.int64)
            for row, at in zip(rows, places, strict=True)
        ]
    )
    _, number = np.unique(grams, axis=0, return_inverse=True)
    documents = np.repeat(np.arange(len(rows)), [len(at) for at in places])
    table = sparse.csr_array(
        (np.ones(len(documents)), (documents, number.ravel())),
        shape=(len(rows), int(number.max()) + 1),
    )
    counts: FloatArray = (table @ table.T).toarray()
    np.fill_diagonal(counts, 0.0)
    return counts
