"""Vectors of texts from their words alone, where no embedding model is at hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.selection._draws import drawn, words_of
from statllm.selection._words import Normalisation, Texts, word_rows

FloatArray = NDArray[np.float64]


def word_vectors(
    texts: Texts, *, dimensions: int = 256, normalisation: Normalisation = "words", seed: int = 0
) -> FloatArray:
    """Return TF-IDF vectors, projected at random.

    A word's weight in a text is (1 + ln count) (1 + ln((1 + n) / (1 + texts with it))). The weights
    are multiplied by a matrix of random signs (Achlioptas 2003), which keeps cosines up to an error
    of about 1 / sqrt(dimensions). A word's signs depend on the word and the seed alone.

    Parameters
    ----------
    texts : sequence of str or None, or Arrow array
    dimensions : int
    normalisation : {"words", "whitespace"}
        As for `statllm.selection.near_duplicates`.
    seed : int

    Returns
    -------
    ndarray of float64, shape (n, dimensions)
        NaN for a text without a word.

    Raises
    ------
    InputError
        If `dimensions` is below 1.

    Examples
    --------
    >>> vectors = word_vectors(["red cats", "Red cats!", "blue dogs", ""])
    >>> bool((vectors[0] == vectors[1]).all()), bool(np.isnan(vectors[3]).all())
    (True, True)
    """
    from scipy import sparse

    if dimensions < 1:
        raise InputError(f"dimensions must be at least 1, not {dimensions}")
    words = word_rows(texts, normalisation)
    n = len(words.lengths)
    rows = np.repeat(np.arange(n), words.lengths)
    ones = np.ones(len(words.codes))
    shape = (n, max(len(words.vocabulary), 1))
    counts = sparse.coo_array((ones, (rows, words.codes)), shape=shape).tocsr()
    counts.sum_duplicates()
    in_texts = np.bincount(counts.indices, minlength=shape[1])
    idf = 1 + np.log((1 + n) / (1 + in_texts))
    weighted = counts.copy()
    weighted.data = (1 + np.log(counts.data)) * idf[counts.indices]
    vectors: FloatArray = np.asarray(weighted @ _signs(words.vocabulary, dimensions, seed))
    vectors[words.lengths == 0] = np.nan
    return vectors


def _signs(vocabulary: pa.LargeStringArray, dimensions: int, seed: int) -> FloatArray:
    """A sign for each word and dimension, 64 from each random word."""
    names = words_of(vocabulary, seed)
    if not len(names):
        return np.zeros((1, dimensions))
    blocks = []
    for block in range(-(-dimensions // 64)):
        word = drawn(names, block, np.zeros(len(names), dtype=np.int64))
        bits = (word[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        blocks.append(bits.astype(np.float64) * 2 - 1)
    signs: FloatArray = np.concatenate(blocks, axis=1)[:, :dimensions] / np.sqrt(dimensions)
    return signs
