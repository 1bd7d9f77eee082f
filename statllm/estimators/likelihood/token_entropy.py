"""Spread of next-token distributions that are known whole; `top_k_entropy` takes parts of them.

Every function works token by token. The score of a response is a reduction over its tokens:
``Ragged.from_lengths(token_entropy(logprobs), n_tokens).mean()``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.likelihood.sequence import check_logprobs

FloatArray = NDArray[np.float64]

# Probabilities from float32 or rounded log-probabilities may sum to this much beside 1.
SUM_ROUNDING = 1e-3


def token_entropy(logprobs: ArrayLike) -> FloatArray:
    """Shannon entropy -sum p ln p of each next-token distribution, nats.

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions; -inf for probability 0. NaN makes its token NaN.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)

    Raises
    ------
    ValueError
        If a row's probabilities don't sum to 1; `top_k_entropy` takes incomplete rows.

    Examples
    --------
    >>> token_entropy(np.log([[0.5, 0.5], [0.9, 0.1]])).round(4)
    array([0.6931, 0.3251])
    """
    table = distributions(logprobs)
    return plogp(table, np.exp(table))


def renyi_entropy(logprobs: ArrayLike, alpha: float = 0.5) -> FloatArray:
    """Rényi entropy ln(sum p^alpha) / (1 - alpha) of each next-token distribution, nats.

    The limits are ln(number of possible tokens) at alpha = 0, Shannon's entropy at 1 and
    -ln max p at infinity; it falls with alpha (Rényi 1961).

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions.
    alpha : float
        Order, not negative.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)

    Raises
    ------
    ValueError
        If `alpha` is negative or a row's probabilities don't sum to 1.

    Examples
    --------
    >>> renyi_entropy(np.log([[0.9, 0.1]]), alpha=2.0).round(4)
    array([0.1985])
    """
    table = distributions(logprobs)
    if not alpha >= 0:
        raise ValueError(f"alpha must not be negative, not {alpha}")
    if alpha == 1:
        return plogp(table, np.exp(table))
    if np.isinf(alpha):
        highest: FloatArray = table.max(axis=1)
        return -highest
    from scipy import special

    # 0 * -inf is NaN, so impossible tokens stay as they are.
    powers = np.multiply(alpha, table, out=table.copy(), where=~np.isneginf(table))
    total: FloatArray = special.logsumexp(powers, axis=1)
    return total / (1 - alpha)


def renyi_divergence(
    logprobs: ArrayLike, alpha: float = 0.5, temperature: float = 1.0
) -> FloatArray:
    """Rényi divergence of each next-token distribution from the uniform one, nats.

    D_alpha(p || uniform) = ln(vocabulary) - H_alpha(p): 0 for a uniform distribution, larger
    for a more confident one. RAINPROOF (Darrin et al. 2023) averages it over tokens, with
    alpha = 0.5 and temperature = 2. lm-polygraph's ``RenyiNeg`` is minus that average; up to
    0.7.0 it's the average less 2 ln(vocabulary), which calls the confident uncertain.

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions.
    alpha : float
        Order, not negative.
    temperature : float
        Applied to the log-probabilities before.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)

    Raises
    ------
    ValueError
        If `alpha` is negative, `temperature` isn't positive or a row doesn't sum to 1.

    Examples
    --------
    >>> renyi_divergence(np.log([[0.5, 0.5], [0.9, 0.1]])).round(4) + 0.0
    array([0.    , 0.2231])
    """
    table = distributions(logprobs)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    if temperature != 1:
        from scipy import special

        table = special.log_softmax(table / temperature, axis=1)
    uniform: float = np.log(table.shape[1])
    return uniform - renyi_entropy(table, alpha)


def self_certainty(
    logprobs: ArrayLike, zeros: Literal["infinite", "drop"] = "infinite"
) -> FloatArray:
    """KL divergence of the uniform distribution from each next-token distribution, nats.

    KL(uniform || p) = -mean ln p - ln(vocabulary) (Kang, Zhao and Song 2025; averaged
    over the tokens of a response). Larger is more confident.

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions.
    zeros : {"infinite", "drop"}
        What a token of probability 0 does. ``"infinite"``: the divergence is infinite, as
        defined. ``"drop"``: it's left out, and the vocabulary is smaller by one (lm-polygraph);
        distributions cut off differently are then not comparable.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)

    Raises
    ------
    ValueError
        If a row's probabilities don't sum to 1.

    Examples
    --------
    >>> self_certainty(np.log([[0.5, 0.5], [0.9, 0.1]])).round(4) + 0.0
    array([0.    , 0.5108])
    """
    table = distributions(logprobs)
    if zeros not in ("infinite", "drop"):
        raise ValueError(f"zeros must be infinite or drop, not {zeros!r}")
    if zeros == "infinite":
        mean: FloatArray = table.mean(axis=1)
        return -mean - float(np.log(table.shape[1]))
    possible = ~np.isneginf(table)
    count = np.asarray(possible.sum(axis=1), dtype=np.float64)
    total = np.asarray(np.where(possible, table, 0.0).sum(axis=1), dtype=np.float64)
    return np.asarray(-total / count - np.log(count))


def distributions(logprobs: ArrayLike) -> FloatArray:
    """Rows of log-probabilities that sum to 1."""
    table = np.asarray(logprobs, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"logprobs must have shape (n_tokens, vocabulary), not {table.shape}")
    check_logprobs(table, "logprobs")
    mass = np.exp(table).sum(axis=1)
    wrong = np.abs(mass - 1) > SUM_ROUNDING
    if wrong.any():
        raise ValueError(
            f"a token's probabilities sum to {mass[wrong][0]:.4g}, not 1; "
            "top_k_entropy is for distributions that are cut off"
        )
    return table


def plogp(table: FloatArray, probability: FloatArray) -> FloatArray:
    """-sum p ln p of each row; 0 ln 0 = 0."""
    # exp(-1e4) is 0, and so is its product with it; NaN stays.
    total: FloatArray = np.einsum("ij,ij->i", probability, table.clip(-1e4))
    return np.maximum(-total, 0.0)
