"""Scores of single claims in a response, from the tokens that state them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.likelihood.sequence import ROUNDING
from statllm.estimators.rewards import as_float_rows
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def claim_tokens(tokens: Any, response: ArrayLike, positions: Any) -> Ragged:
    """Rows of the tokens that state each claim, ready for any score of a response.

    ``likelihood_scores(claim_tokens(...))`` holds lm-polygraph's ``MaximumClaimProbability`` and
    ``PerplexityClaim``, the maximum of rows of entropies is ``MaxTokenEntropyClaim``,
    `pointwise_mutual_information` of two such tables ``PointwiseMutualInformationClaim``, and so
    on.

    Parameters
    ----------
    tokens : rows of float, one row per response
        One number for each token.
    response : array_like of int, shape (n_claims,)
        The response that a claim was found in.
    positions : rows of int, one row per claim
        Where in its response the claim's tokens lie, from 0.

    Returns
    -------
    Ragged of float64, one row per claim

    Raises
    ------
    ValueError
        If a claim points to a response or a token that doesn't exist.

    Examples
    --------
    >>> claim_tokens([[-1.0, -2.0, -3.0], [-4.0]], [0, 0, 1], [[0, 2], [1], [0]]).to_lists()
    [[-1.0, -3.0], [-2.0], [-4.0]]
    """
    table, places = as_float_rows(tokens, "tokens"), as_float_rows(positions, "positions")
    owner = np.asarray(response)
    if owner.shape != (places.n_rows,) or (owner.size and owner.dtype.kind not in "iu"):
        raise ValueError(f"response must hold one whole number for each of {places.n_rows} claims")
    owner = owner.astype(np.int64)
    if ((owner < 0) | (owner >= table.n_rows)).any():
        raise ValueError(f"response must lie between 0 and {table.n_rows - 1}")
    of = owner[places.rows]
    place = places.values.astype(np.int64)
    if (place != places.values).any() or ((place < 0) | (place >= table.lengths[of])).any():
        raise ValueError("positions must be places of tokens in the claim's response")
    return places.with_values(table.values[table.offsets[of] + place])


def claim_conditioned_probability(
    alternative_logprobs: ArrayLike, relation: ArrayLike, function_word: ArrayLike | None = None
) -> FloatArray:
    """Log of the share of a token's alternatives that keep its meaning (CCP), nats.

    ln Σ_{entail} p_k - ln Σ_{entail or contradict} p_k over the most probable alternatives k of a
    token; the alternatives that are neutral talk of something else and count for nothing
    (Fadeeva et al. 2024). The score of a claim is the exponential of the sum over its tokens
    (`claim_tokens`), and lm-polygraph gives it with a minus sign; that of a response, the sum
    over all of its tokens.

    Parameters
    ----------
    alternative_logprobs : array_like of float, shape (n_tokens, k)
        Log-probabilities of the alternatives, the token said first; -inf is no alternative.
    relation : array_like of int, shape (n_tokens, k)
        What an NLI model says of each alternative beside the token said: 1 entailment,
        -1 contradiction, 0 neutral. The token said entails itself, whatever is given. Where
        the model is asked both ways, lm-polygraph takes the one verdict that isn't neutral, and
        neutral where one way entails and the other contradicts.
    function_word : array_like of bool, shape (n_tokens,), optional
        Tokens that state nothing: their score is 0.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        At most 0.

    Raises
    ------
    ValueError
        If shapes differ, a relation is unknown, a log-probability is NaN or above 0, or the
        token said has probability 0.

    Examples
    --------
    >>> ccp = claim_conditioned_probability(np.log([[0.5, 0.3, 0.1]]), [[1, -1, 0]])
    >>> np.exp(ccp).round(4)
    array([0.625])
    """
    table, label = np.asarray(alternative_logprobs, dtype=np.float64), np.asarray(relation)
    if table.ndim != 2 or table.shape[1] == 0 or label.shape != table.shape:
        raise ValueError(
            "alternative_logprobs and relation must have one shape (n_tokens, k), "
            f"not {table.shape} and {label.shape}"
        )
    if not np.isin(label, [-1, 0, 1]).all():
        raise ValueError("relation must hold 1 (entailment), 0 (neutral) or -1 (contradiction)")
    if not (table <= ROUNDING).all():  # NaN fails too
        raise ValueError("alternative_logprobs must be logarithms of probabilities, without NaN")
    if np.isneginf(table[:, 0]).any():
        raise ValueError("alternative_logprobs must give the token said, the first, some mass")
    agrees = label == 1
    agrees[:, 0] = True
    counts = agrees | (label == -1)
    kept = np.logaddexp.reduce(np.where(agrees, table, -np.inf), axis=1)
    score: FloatArray = kept - np.logaddexp.reduce(np.where(counts, table, -np.inf), axis=1)
    if function_word is None:
        return score
    nothing = np.asarray(function_word)
    if nothing.shape != score.shape or nothing.dtype != np.bool_:
        raise ValueError("function_word must hold true or false for each token")
    return np.where(nothing, 0.0, score)
