"""Texts that are near a set of seeds, by their vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.selection.diversity import _units

_ROWS = 4096  # compared at a time


@dataclass(frozen=True, eq=False)
class Similar:
    """Which rows are among the k nearest to the seeds.

    Attributes
    ----------
    kept : ndarray of bool, shape (n,)
    seed : ndarray of int64, shape (n,)
        The nearest seed's row; -1 for a row without a vector.
    similarity : ndarray of float64, shape (n,)
        Cosine with it; NaN for a row without a vector.
    """

    kept: BoolArray
    seed: IntArray
    similarity: FloatArray


def similar(vectors: ArrayLike, seeds: ArrayLike, k: int) -> Similar:
    """Keep the `k` rows whose cosine with their nearest seed is largest.

    So NaturalReasoning (Yuan et al. 2025, arXiv 2502.13124) picks 15,000 questions near those of a
    benchmark's open part; how it spreads them over the seeds isn't known. Equal similarities are
    taken in order of rows.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        A row of NaN stands for a text without a vector and isn't kept.
    seeds : array_like, shape (m, d)
    k : int
        All rows that have a vector, where there are fewer.

    Raises
    ------
    InputError
        If there is no seed, shapes don't fit, `k` is below 1, or a vector is zero or not finite.

    Examples
    --------
    >>> found = similar([[1, 0], [0, 1], [1, 0.1]], [[2, 0]], 2)
    >>> found.kept.tolist(), found.seed.tolist()
    ([True, False, True], [0, 0, 0])
    """
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    units, present = _units(vectors)
    anchors, known = _units(seeds)
    if not len(anchors):
        raise InputError("there is no seed with a vector")
    if len(units) and units.shape[1] != anchors.shape[1]:
        raise InputError(f"vectors have {units.shape[1]} dimensions, seeds {anchors.shape[1]}")
    rows, places = np.flatnonzero(present), np.flatnonzero(known)
    seed = np.full(len(present), -1)
    similarity = np.full(len(present), np.nan)
    for start in range(0, len(units), _ROWS):
        cosine = units[start : start + _ROWS] @ anchors.T
        at = rows[start : start + _ROWS]
        best = cosine.argmax(axis=1)
        seed[at] = places[best]
        similarity[at] = cosine[np.arange(len(best)), best]
    kept = np.zeros(len(present), dtype=bool)
    kept[rows[np.argsort(-similarity[rows], kind="stable")[:k]]] = True
    return Similar(kept, seed, similarity)
