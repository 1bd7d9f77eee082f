"""Scores from stored attention weights together with the probabilities of the tokens.

Attention is held for one response at a time: ``weights[l, h, t, s]`` is what token t of the
response pays, in head h of layer l, to token s.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.likelihood.sequence import token_sar
from statllm.estimators.likelihood.token_entropy import distributions
from statllm.estimators.rewards import as_float_rows
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]


def rauq(
    previous_attention: ArrayLike, token_scores: Any, alpha: float = 0.2, offset: float = 0.0
) -> FloatArray:
    """RAUQ: confidence handed on from token to token by the head that looks back the most.

    In each layer the head with the largest mean attention from a token to the one before is
    taken, c_1 = p_1 and c_t = α p_t + (1 - α) a_{t,t-1} c_{t-1}; the score is the largest of the
    layers' means of -ln c_t (Vazhentsev et al. 2025).

    Parameters
    ----------
    previous_attention : array_like of float, shape (n_layers, n_heads, n_tokens)
        Attention of each token to the one before it, responses one after another; the first
        token of a response has none and isn't looked at. Published for the middle third of the
        layers; give those that are meant.
    token_scores : rows of float, one row per response
        ln p of each token, nats. For the entropy form, ln(ln V - H_t), with α = 0.8.
    alpha : float
        Weight of a token's own probability: 0.2 as published (0.5 for instruction-tuned models).
    offset : float
        Added to the score; lm-polygraph adds 1.

    Returns
    -------
    ndarray of float64, shape (n_responses,)
        Larger is less confident; NaN without tokens.

    Raises
    ------
    ValueError
        If shapes differ, attention isn't in [0, 1], or `alpha` isn't in (0, 1].

    Examples
    --------
    >>> attention = [[[0.0, 0.5], [0.0, 0.1]]]
    >>> rauq(attention, np.log([[0.8, 0.5]]), alpha=0.5).round(4)
    array([0.5108])
    """
    tokens = as_float_rows(token_scores, "token_scores")
    weights = np.asarray(previous_attention, dtype=np.float64)
    if weights.ndim != 3 or weights.shape[2] != len(tokens.values) or 0 in weights.shape[:2]:
        raise ValueError(
            f"previous_attention must have shape (n_layers, n_heads, {len(tokens.values)}), "
            f"not {weights.shape}"
        )
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    later = tokens.positions > 0
    if not ((weights[:, :, later] >= 0) & (weights[:, :, later] <= 1)).all():  # NaN fails too
        raise ValueError("previous_attention must hold weights between 0 and 1")
    own = np.exp(tokens.values)
    back = np.where(later, weights, 0.0)
    count = np.maximum(tokens.lengths - 1, 1)
    filled = np.flatnonzero(tokens.lengths > 0)
    out = np.full(tokens.n_rows, np.nan)
    if not len(filled):
        return out
    starts = tokens.offsets[filled]
    mean = np.add.reduceat(back, starts, axis=2) / count[filled]
    head = np.zeros((len(weights), tokens.n_rows), dtype=np.int64)
    head[:, filled] = mean.argmax(axis=1)
    chosen = np.take_along_axis(back, head[:, None, tokens.rows], axis=1)[:, 0]
    confidence = np.broadcast_to(own, chosen.shape).copy()
    # One step per position: all responses and layers that are so long move on together.
    for position in range(1, int(tokens.lengths.max())):
        now = tokens.offsets[:-1][tokens.lengths > position] + position
        handed = chosen[:, now] * confidence[:, now - 1]
        confidence[:, now] = alpha * own[now] + (1 - alpha) * handed
    with np.errstate(divide="ignore"):
        doubt = np.add.reduceat(-np.log(confidence), starts, axis=1) / tokens.lengths[filled]
    out[filled] = doubt.max(axis=0) + offset
    return out


def attention_score(
    own_attention: Any, aggregate: Literal["mean", "sum"] = "mean", epsilon: float = 1e-12
) -> FloatArray:
    """Log determinant of the attention maps: -ln of each token's attention to itself.

    Attention is lower triangular, so that ln det is the sum of the logarithms of the diagonal,
    here averaged over heads (Sriramanan et al. 2024, LLM-Check).

    Parameters
    ----------
    own_attention : list of array_like, one per response, of shape (n_heads, n_tokens)
        Attention of each token to itself in one layer.
    aggregate : {"mean", "sum"}
        Over tokens: ``"mean"`` compares responses of different lengths, ``"sum"`` is what
        lm-polygraph's ``AttentionScore`` gives.
    epsilon : float
        Keeps the logarithm off 0; as in lm-polygraph.

    Returns
    -------
    ndarray of float64, shape (n_responses,)
        Larger is less attention to itself; NaN without tokens.

    Raises
    ------
    ValueError
        If an array isn't two-dimensional or holds numbers outside 0 to 1.

    Examples
    --------
    >>> attention_score([[[1.0, 0.5], [1.0, 0.25]]]).round(4)
    array([0.5199])
    """
    if aggregate not in ("mean", "sum"):
        raise ValueError(f"aggregate must be mean or sum, not {aggregate!r}")
    blocks = [np.asarray(block, dtype=np.float64) for block in own_attention]
    if any(block.ndim != 2 or block.shape[0] == 0 for block in blocks):
        raise ValueError("own_attention must hold arrays of shape (n_heads, n_tokens)")
    if not all(((block >= 0) & (block <= 1 + 1e-6)).all() for block in blocks):
        raise ValueError("own_attention must hold weights between 0 and 1")
    per_token = [-np.log(block + epsilon).mean(axis=0) for block in blocks]
    flat = np.concatenate(per_token) if per_token else np.empty(0)
    rows = Ragged.from_lengths(flat, [len(each) for each in per_token])
    return rows.mean() if aggregate == "mean" else np.where(rows.lengths > 0, rows.sum(), np.nan)


def contextualised_likelihood(token_logprobs: Any, attention: Any) -> FloatArray:
    """CSL: tokens weighted by the attention that a question about the answer pays to them.

    -Σ_t w_t ln p_t, w_t the attention from the prompt "is the answer right?" to token t, averaged
    over chosen heads and scaled to sum to 1 (Lin, Trivedi and Sun 2024). As `token_sar`, with
    attention for the relevance.

    Parameters
    ----------
    token_logprobs : rows of float, as for `likelihood_scores`
    attention : rows of float of the same lengths
        Not negative.

    Returns
    -------
    ndarray of float64, shape (n_responses,)
        Larger is less confident; NaN where no attention is paid.

    Examples
    --------
    >>> contextualised_likelihood([[-1.0, -3.0]], [[0.3, 0.1]])
    array([1.5])
    """
    return token_sar(token_logprobs, attention)


def focus(
    logprobs: ArrayLike,
    tokens: ArrayLike,
    attention: ArrayLike,
    idf: ArrayLike,
    keyword: ArrayLike,
    gamma: float = 0.9,
    p: float = 0.01,
) -> FloatArray:
    """Focus: doubt of one response's tokens, with what keywords take over by attention.

    Probabilities below `p` are dropped, the others weighted by inverse document frequency and
    scaled to sum to 1: q. The doubt of token t is -ln q(token) + 2^H₂(q), H₂ the entropy in
    bits; a keyword adds γ times the doubt of the keywords and other tokens before it, weighted
    by its attention to them (Zhang et al. 2023).

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions.
    tokens : array_like of int, shape (n_tokens,)
        The tokens said.
    attention : array_like of float, shape (n_tokens, n_tokens)
        Attention of token t (row) to token s, the largest over heads and layers; only s < t
        counts.
    idf : array_like of float, shape (vocabulary,)
        Inverse document frequencies, not negative.
    keyword : array_like of bool, shape (n_tokens,)
        Names, nouns and numbers: the tokens that state something.
    gamma, p : float
        0.9 and 0.01 as published.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        The score of the response is the mean over its keywords, or over all tokens without one.

    Raises
    ------
    ValueError
        If shapes differ, or `idf` or attention is negative or NaN.

    Examples
    --------
    >>> table = np.log([[0.5, 0.5], [0.9, 0.1]])
    >>> focus(table, [0, 0], [[1, 0], [0.5, 0.5]], [1.0, 1.0], [True, True]).round(4)
    array([2.6931, 2.7014])
    """
    table = distributions(logprobs)
    n, vocabulary = table.shape
    said, weights = np.asarray(tokens), np.asarray(attention, dtype=np.float64)
    rarity, key = np.asarray(idf, dtype=np.float64), np.asarray(keyword)
    if said.shape != (n,) or weights.shape != (n, n) or rarity.shape != (vocabulary,):
        raise ValueError(
            f"tokens, attention and idf must have shapes ({n},), ({n}, {n}) and ({vocabulary},), "
            f"not {said.shape}, {weights.shape} and {rarity.shape}"
        )
    if key.shape != (n,) or key.dtype != np.bool_:
        raise ValueError("keyword must hold true or false for each token")
    if not (rarity >= 0).all() or not (np.tril(weights) >= 0).all():
        raise ValueError("idf and attention must not be negative or NaN")
    from scipy import special

    probability = np.exp(table)
    q = np.where(probability >= p, probability, 0.0) * rarity
    total = q.sum(axis=1, keepdims=True)
    q = np.divide(q, total, out=np.full_like(q, np.nan), where=total > 0)
    own = -np.log(q[np.arange(n), said] + 1e-10) + np.exp(special.entr(q).sum(axis=1))
    paid = weights / (weights.sum(axis=1, keepdims=True) + 1e-6)
    paid = np.where(key[:, None], np.tril(paid, -1), 0.0)
    # doubt = own + γ paid doubt, a lower triangular system.
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(np.eye(n) - gamma * paid, own, lower=True))
