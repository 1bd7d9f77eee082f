"""Scores from embeddings of a prompt's responses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.errors import InputError
from statllm.estimators.semantic.graph import DegreeUncertainty, mean_dissimilarity
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


def predictive_kernel_entropy(
    embeddings: ArrayLike,
    sizes: ArrayLike,
    kernel: Literal["rbf", "laplacian", "cosine"] = "rbf",
    gamma: float = 1.0,
) -> DegreeUncertainty:
    """Minus the mean kernel of two different responses (Gruber and Buettner 2024).

    -1 / (k (k - 1)) Σ_{i≠j} K(z_i, z_j): unbiased for the expectation over two responses, so that
    prompts with different k compare.

    Parameters
    ----------
    embeddings, sizes
        As for `cosine_similarity`.
    kernel : {"rbf", "laplacian", "cosine"}
        exp(-γ |x - y|²); exp(-γ Σ_d |x_d - y_d|); the cosine.
    gamma : float
        1 as in lm-polygraph; for ``"rbf"`` and ``"laplacian"``.

    Returns
    -------
    DegreeUncertainty
        Between -1 (all alike) and 0 (1 for the cosine), with the jackknife's standard error.
        NaN below two responses; lm-polygraph gives 0 there, the most doubtful value.

    Raises
    ------
    InputError
        If the sizes don't add up to the rows, a number is NaN or infinite, or gamma isn't
        positive.

    Examples
    --------
    >>> found = predictive_kernel_entropy([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [3], "cosine")
    >>> found.value.round(4)
    array([-0.3333])
    """
    if not gamma > 0:
        raise InputError(f"gamma must be positive, not {gamma}")
    if kernel == "cosine":
        similar = cosine_similarity(embeddings, sizes)
    elif kernel in ("rbf", "laplacian"):
        vectors, pairs = _read(embeddings, sizes)
        values = np.empty(len(pairs.values))
        for rows, places in pairs.blocks():
            own = vectors[pairs.sample_offsets[rows][:, None] + np.arange(places.shape[1])]
            values[places] = np.exp(-gamma * _distances(own, kernel))
        similar = pairs.with_values(values)
    else:
        raise InputError(f"kernel must be rbf, laplacian or cosine, not {kernel!r}")
    found = mean_dissimilarity(similar)
    return DegreeUncertainty(found.value - 1, found.se, found.n)


def bert_score(
    token_embeddings: ArrayLike,
    n_tokens: ArrayLike,
    sizes: ArrayLike,
    token_weights: ArrayLike | None = None,
) -> Pairwise:
    """BERTScore F1 between the responses of each prompt, from stored token embeddings.

    Each token of one text is matched with the most similar token of the other, by cosine; recall
    and precision are the means over the two texts' tokens, and F1 is their harmonic mean (Zhang
    et al. 2020).

    Parameters
    ----------
    token_embeddings : array_like of float, shape (sum of n_tokens, n_dimensions)
        Contextual embeddings of the tokens of all responses, one response after another.
    n_tokens : array_like of int, shape (n_responses,)
        At least 1 each.
    sizes : array_like of int, shape (n_prompts,)
        Responses of each prompt.
    token_weights : array_like of float, shape (sum of n_tokens,), optional
        Inverse document frequencies; default: all tokens the same.

    Returns
    -------
    Pairwise of float64
        Symmetric, 1 for a response with itself; 0 where F1 is negative or undefined. The
        published rescaling with a baseline is a linear map, and left to the caller.

    Raises
    ------
    InputError
        If counts don't match, an embedding is 0, NaN or infinite, or a weight is negative.

    Examples
    --------
    >>> tokens = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    >>> bert_score(tokens, [2, 1], [2]).block(0).round(4)
    array([[1.    , 0.6667],
           [0.6667, 1.    ]])
    """
    from statllm.ragged import Ragged

    vectors = np.asarray(token_embeddings, dtype=np.float64)
    lengths, pairs = np.asarray(n_tokens, dtype=np.int64), Pairwise.of_sizes(sizes)
    if vectors.ndim != 2 or lengths.ndim != 1 or lengths.sum() != len(vectors):
        raise InputError(
            f"token_embeddings must have one row for each of {lengths.sum()} tokens, "
            f"not shape {vectors.shape}"
        )
    if len(lengths) != pairs.sample_offsets[-1] or (lengths < 1).any():
        raise InputError("n_tokens must hold a number of at least 1 for each response")
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norm) & (norm > 0)).all():
        raise InputError("token_embeddings must be finite and not 0")
    weights = np.ones(len(vectors)) if token_weights is None else np.asarray(token_weights)
    if weights.shape != (len(vectors),) or not (weights >= 0).all():
        raise InputError("token_weights must hold a number of at least 0 for each token")
    unit = vectors / norm
    start = np.concatenate([[0], np.cumsum(lengths)])
    total = Ragged.from_lengths(weights.astype(np.float64), lengths).sum()
    recall = np.zeros(len(pairs.values))
    # A matrix of tokens by tokens for each prompt: the products are what takes time.
    first, offsets = pairs.sample_offsets, pairs.offsets
    for prompt, k in enumerate(pairs.sizes):
        if k == 0:
            continue
        begin, end = start[first[prompt]], start[first[prompt + 1]]
        cosine = unit[begin:end] @ unit[begin:end].T
        cuts = start[first[prompt] : first[prompt + 1]] - begin
        best = np.maximum.reduceat(cosine, cuts, axis=1) * weights[begin:end, None]
        block = np.add.reduceat(best, cuts, axis=0)
        own = total[first[prompt] : first[prompt + 1], None]
        block = np.divide(block, own, out=np.zeros_like(block), where=own > 0)
        recall[offsets[prompt] : offsets[prompt + 1]] = block.ravel()
    there = pairs.with_values(recall)
    back = there.transpose().values
    both = recall + back
    positive = (recall > 0) & (back > 0)
    f1 = np.divide(2 * recall * back, both, out=np.zeros_like(both), where=positive)
    f1 = np.minimum(f1, 1.0)
    f1[pairs.diagonal] = 1.0
    return pairs.with_values(f1)


def _distances(own: FloatArray, kernel: str) -> FloatArray:
    """Squared Euclidean, or city-block distances within stacked blocks (m, k, d)."""
    gap = own[:, :, None, :] - own[:, None, :, :] if kernel == "laplacian" else None
    if gap is not None:
        return np.asarray(np.abs(gap).sum(axis=3))
    centred = own - own.mean(axis=1, keepdims=True)
    length = (centred**2).sum(axis=2)
    product = centred @ centred.transpose(0, 2, 1)
    return np.asarray(np.maximum(length[:, :, None] + length[:, None, :] - 2 * product, 0.0))


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
