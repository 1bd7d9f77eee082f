"""Likelihoods weighed by how much a response, or a token, shares with the others."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.rewards import as_float_rows
from statllm.estimators.semantic.pairwise import Pairwise, checked_similarities
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]


def sentence_sar(logprobs: Any, similarity: Pairwise, temperature: float = 0.001) -> FloatArray:
    """SentSAR: responses that resemble likely ones count as likelier.

    -(1/k) Σ_i ln(p_i + Σ_{j≠i} g_ij p_j / temperature) (Duan et al. 2024).
    With ``-token_sar(...)``, from `statllm.estimators.likelihood`, in the place of
    log-probabilities it's SAR.

    Parameters
    ----------
    logprobs : Ragged, Arrow list column or list of lists
        ln p_i of each response, a row per prompt.
    similarity : Pairwise of float
        g_ij between 0 and 1, the similarity of response i to response j.
    temperature : float
        0.001 as published.

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        NaN without samples. Not an entropy: it falls as samples are added, by about ln k, so
        compare prompts with equally many.

    Raises
    ------
    InputError
        If layouts differ, a log-probability is missing or infinite, or a similarity is not
        between 0 and 1.

    Examples
    --------
    >>> pairs = Pairwise.from_stack([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    >>> sentence_sar([[-1.0, -3.0], [-1.0, -3.0]], pairs, temperature=1.0).round(4)
    array([2.    , 0.8731])
    """
    if not temperature > 0:
        raise InputError(f"temperature must be positive, not {temperature}")
    similarity = checked_similarities(similarity)
    lp = _samples(logprobs, similarity, "logprobs")
    out = np.full(len(similarity), np.nan)
    for rows, stack in similarity.blocks():
        k = stack.shape[1]
        own = _stacked(lp, rows, k)
        top = own.max(axis=1, keepdims=True)
        p = np.exp(own - top)
        others = np.where(np.eye(k, dtype=bool), 0.0, stack) @ p[:, :, None]
        out[rows] = -(np.log(p + others[:, :, 0] / temperature) + top).mean(axis=1)
    return out


def semantic_density(
    logprobs: Any, n_tokens: Any, similarity: Pairwise, distinct: Any = None
) -> Ragged:
    """Semantic density of each response among its prompt's responses: a confidence.

    Σ_j p_j K_ij / Σ_j p_j with p_j = exp(log-probability per token) and
    K_ij = max(0, 1 - p(contradiction) - p(neutral) / 2) (Qiu and Miikkulainen 2024); the latter
    is what `nli_similarity` calls ``"graded"``.

    Parameters
    ----------
    logprobs, n_tokens : Ragged, Arrow list column or list of lists
        ln p of each response summed over its tokens, and their number; a row per prompt.
    similarity : Pairwise of float
        K_ij between 0 and 1; both orders are averaged, and 1 with itself.
    distinct : like logprobs, of bool, optional
        Which samples are the one that stands for its text. Published: each distinct text counts
        once. Default: all samples count.

    Returns
    -------
    Ragged of float64
        Between 0 and 1, larger means more certain, one number per sample. 1 for a lone sample:
        density among no others is no evidence.

    Examples
    --------
    >>> pairs = Pairwise.from_stack([[[1.0, 0.5], [0.5, 1.0]]])
    >>> semantic_density([[-2.0, -2.0]], [[2, 2]], pairs).to_lists()
    [[0.75, 0.75]]
    """
    similarity = checked_similarities(similarity)
    lp = _samples(logprobs, similarity, "logprobs")
    tokens = _samples(n_tokens, similarity, "n_tokens").values
    if not (tokens >= 1).all():
        raise InputError("n_tokens must be at least 1 for every sample")
    counts = lp.with_values(np.ones(len(tokens)))
    if distinct is not None:
        counts = _samples(distinct, similarity, "distinct")
    per_token = lp.with_values(lp.values / tokens)
    density = np.empty(len(tokens))
    for rows, stack in similarity.blocks():
        k = stack.shape[1]
        own = _stacked(per_token, rows, k)
        weight = np.exp(own - own.max(axis=1, keepdims=True)) * _stacked(counts, rows, k)
        with np.errstate(invalid="ignore"):
            share = weight / weight.sum(axis=1, keepdims=True)
        found = ((stack + stack.transpose(0, 2, 1)) / 2 @ share[:, :, None])[:, :, 0]
        density[lp.offsets[rows][:, None] + np.arange(k)] = found
    return lp.with_values(density)


def luq(
    entailment: Pairwise,
    contradiction: Pairwise,
    scale: Literal["logits", "probabilities"] = "logits",
) -> FloatArray:
    """LUQ: how little responses entail each other, neutral left aside.

    1 - mean over i ≠ j of p(entailment) / (p(entailment) + p(contradiction)) (Zhang et al. 2024),
    for responses as a whole; for long texts, average over a response's sentences first.

    Parameters
    ----------
    entailment, contradiction : Pairwise of float
        The two classes' logits or probabilities for premise j and hypothesis i.
    scale : {"logits", "probabilities"}

    Returns
    -------
    ndarray of float64, shape (n_prompts,)
        Between 0 and 1; NaN below two samples.

    Raises
    ------
    InputError
        If sizes differ, a number is NaN, or both probabilities of a pair are 0.

    Examples
    --------
    >>> entailed = Pairwise.from_stack([[[1.0, 0.6], [0.9, 1.0]]])
    >>> contradicted = Pairwise.from_stack([[[0.0, 0.2], [0.1, 0.0]]])
    >>> luq(entailed, contradicted, "probabilities").round(4)
    array([0.175])
    """
    e, c = (np.asarray(t.values, dtype=np.float64) for t in (entailment, contradiction))
    if (
        e.ndim != 1
        or e.shape != c.shape
        or not np.array_equal(entailment.sizes, contradiction.sizes)
    ):
        raise InputError("entailment and contradiction must hold one number for the same pairs")
    if np.delete(np.isnan(e) | np.isnan(c), entailment.diagonal).any():
        raise InputError("entailment and contradiction mustn't be NaN")
    if scale == "logits":
        from scipy.special import expit

        agreement = expit(e - c)
    elif scale == "probabilities":
        neither = e + c <= 0
        neither[entailment.diagonal] = False
        if (e < 0).any() or (c < 0).any() or neither.any():
            raise InputError("probabilities must be at least 0, and not both 0")
        agreement = np.divide(e, e + c, out=np.zeros_like(e), where=e + c > 0)
    else:
        raise InputError(f"scale must be logits or probabilities, not {scale!r}")
    out = np.full(len(entailment), np.nan)
    for rows, stack in entailment.with_values(agreement).blocks():
        k = stack.shape[1]
        if k > 1:
            total = stack.sum(axis=(1, 2)) - np.einsum("nii->n", stack)
            out[rows] = 1 - total / (k * (k - 1))
    return out


def _samples(rows: Any, pairs: Pairwise, name: str) -> Ragged:
    """One number per sample, none of them missing."""
    table = as_float_rows(rows, name)
    if not np.array_equal(table.offsets, pairs.sample_offsets):
        raise InputError(f"{name} must have as many values per prompt as there are samples")
    if np.isnan(table.values).any():
        raise InputError(f"{name} holds NaN")
    return table


def _stacked(table: Ragged, rows: NDArray[np.int64], k: int) -> FloatArray:
    """Rows of length k as a matrix."""
    matrix: FloatArray = table.values[table.offsets[rows][:, None] + np.arange(k)]
    return matrix
