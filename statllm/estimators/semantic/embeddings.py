"""Scores from embeddings of a prompt's responses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError
from statllm.estimators.semantic.pairwise import Pairwise

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def cosine_similarity(embeddings: ArrayLike, sizes: ArrayLike) -> Pairwise:
    """Cosine of every two embeddings of a prompt, between -1 and 1.

    Parameters
    ----------
    embeddings : array_like of float, shape (n_samples, n_dimensions)
        The prompts' responses one after another.
    sizes : array_like of int, shape (n_prompts,)
        Responses of each prompt.

    Returns
    -------
    Pairwise of float64
        Symmetric, and 1 for a response with itself. Give it to `semantic_clusters` with a
        threshold; the graph scores need numbers from 0, for instance ``(1 + cosine) / 2``.

    Raises
    ------
    InputError
        If the sizes don't add up to the rows, or an embedding is 0, NaN or infinite.

    Examples
    --------
    >>> cosine_similarity([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], [3]).block(0).round(4)
    array([[1.    , 0.    , 0.7071],
           [0.    , 1.    , 0.7071],
           [0.7071, 0.7071, 1.    ]])
    """
    vectors, pairs = _read(embeddings, sizes)
    norm = np.linalg.norm(vectors, axis=1)
    if (norm == 0).any():
        raise InputError(f"embedding {int(np.argmax(norm == 0))} is 0 and has no direction")
    cosine = np.clip(_products(vectors / norm[:, None], pairs), -1.0, 1.0)
    cosine[pairs.diagonal] = 1.0
    return pairs.with_values(cosine)


def eigenscore(embeddings: ArrayLike, sizes: ArrayLike, alpha: float = 0.001) -> FloatArray:
    """EigenScore: the mean log eigenvalue of the responses' covariance.

    (1/k) ln det(Z J Zᵀ + alpha I), Z the k embeddings, J centring each over its dimensions (Chen
    et al. 2024, INSIDE).

    Parameters
    ----------
    embeddings, sizes
        As for `cosine_similarity`; published for the hidden state of the last token in a middle
        layer.
    alpha : float
        Keeps the determinant off 0; 0.001 as published.

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        Nats; larger means more diverse. NaN without samples. It depends on k, on the embeddings'
        scale and on alpha: k equal responses give ((k - 1) ln alpha + ln(alpha + k |z|²)) / k, so
        compare prompts with equally many.

    Notes
    -----
    lm-polygraph gives this value. The authors' code divides the covariance by the number of
    dimensions less one and takes logarithms to base 10.

    Raises
    ------
    InputError
        If the sizes don't add up to the rows, a number is NaN or infinite, or alpha isn't
        positive.

    Examples
    --------
    >>> eigenscore([[1.0, -1.0], [1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], [2, 2]).round(4)
    array([-2.7606, -2.7606])
    >>> eigenscore([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]], [2]).round(4)
    array([1.2428])
    """
    if not alpha > 0:
        raise InputError(f"alpha must be positive, not {alpha}")
    vectors, pairs = _read(embeddings, sizes)
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    gram = pairs.with_values(_products(centred, pairs))
    out = np.full(len(pairs), np.nan)
    for rows, stack in gram.blocks():
        k = stack.shape[1]
        out[rows] = np.linalg.slogdet(stack + alpha * np.eye(k))[1] / k
    return out


def _read(embeddings: Any, sizes: ArrayLike) -> tuple[FloatArray, Pairwise]:
    """Embeddings and the table of pairs they make."""
    vectors = np.asarray(embeddings, dtype=np.float64)
    pairs = Pairwise.of_sizes(sizes)
    if vectors.ndim != 2 or len(vectors) != pairs.sample_offsets[-1]:
        raise InputError(
            f"embeddings must have one row per sample, {pairs.sample_offsets[-1]} by the sizes; "
            f"their shape is {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise InputError("embeddings must be finite numbers")
    return vectors, pairs


def _products(vectors: FloatArray, pairs: Pairwise) -> FloatArray:
    """Inner product of each pair, prompts with equally many samples at a time."""
    out = np.empty(len(pairs.values))
    for rows, places in pairs.blocks():
        k = places.shape[1]
        own = vectors[pairs.sample_offsets[rows][:, None] + np.arange(k)]
        out[places] = own @ own.transpose(0, 2, 1)
    return out
