"""Further scores of whole next-token distributions, and of what was said under them.

As in `token_entropy`, every function works token by token.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.likelihood.token_entropy import distributions, plogp

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def fisher_rao(logprobs: ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Fisher-Rao distance of each next-token distribution from the uniform one, from 0 to 1.

    (2 / π) arccos Σ_v √(p_v / V): 0 for a uniform distribution, larger for a more confident one
    (Darrin et al. 2023, RAINPROOF). lm-polygraph's ``FisherRao`` is the mean over tokens at
    temperature 2; 0.7.0 reads it as an uncertainty, the wrong way round, and later versions put
    a minus sign before it.

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions; -inf for probability 0. NaN makes its token NaN.
    temperature : float
        Applied to the log-probabilities before.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)

    Raises
    ------
    ValueError
        If `temperature` isn't positive or a row's probabilities don't sum to 1.

    Examples
    --------
    >>> fisher_rao(np.log([[0.5, 0.5], [0.9, 0.1]])).round(4) + 0.0
    array([0.    , 0.2952])
    """
    table = distributions(logprobs)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    if temperature != 1:
        from scipy import special

        table = special.log_softmax(table / temperature, axis=1)
    affinity = np.exp(table / 2).sum(axis=1) / np.sqrt(table.shape[1])
    return np.asarray(2 / np.pi * np.arccos(np.minimum(affinity, 1.0)))


def tsallis_entropy(logprobs: ArrayLike, q: float = 2.0) -> FloatArray:
    """Tsallis entropy (1 - Σ p^q) / (q - 1) of each next-token distribution.

    q = 2 is the Gini index, the probability that two draws differ; the limit q = 1 is Shannon's
    entropy in nats (Tsallis 1988).

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions.
    q : float
        Order, positive.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)

    Raises
    ------
    ValueError
        If `q` isn't positive or a row's probabilities don't sum to 1.

    Examples
    --------
    >>> tsallis_entropy(np.log([[0.5, 0.5], [0.9, 0.1]])).round(4)
    array([0.5 , 0.18])
    """
    table = distributions(logprobs)
    if not q > 0:
        raise ValueError(f"q must be positive, not {q}")
    if q == 1:
        return plogp(table, np.exp(table))
    return np.asarray((1 - np.exp(q * table).sum(axis=1)) / (q - 1))


def semantic_token_entropy(
    logprobs: ArrayLike, classes: ArrayLike, kind: Literal["entropy", "lm_polygraph"] = "entropy"
) -> FloatArray:
    """Entropy over classes of tokens that mean the same, nats.

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions.
    classes : array_like of int, shape (vocabulary,)
        Class of each token of the vocabulary, from 0.
    kind : {"entropy", "lm_polygraph"}
        ``"entropy"``: -Σ_c P_c ln P_c, P_c the probability of class c. ``"lm_polygraph"``: the
        same divided by the number of classes, as ``SemanticEntropyToken`` has it.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        At most `token_entropy`, and equal to it where every token is its own class.

    Raises
    ------
    ValueError
        If there isn't one class per token of the vocabulary.

    Examples
    --------
    >>> semantic_token_entropy(np.log([[0.5, 0.25, 0.25]]), [0, 1, 1]).round(4)
    array([0.6931])
    """
    table = distributions(logprobs)
    groups = np.asarray(classes)
    if groups.shape != (table.shape[1],) or groups.dtype.kind not in "iu" or groups.min() < 0:
        raise ValueError("classes must hold a number from 0 for each token of the vocabulary")
    if kind not in ("entropy", "lm_polygraph"):
        raise ValueError(f"kind must be entropy or lm_polygraph, not {kind!r}")
    from scipy import sparse, special

    size = int(groups.max()) + 1
    member = sparse.csr_array(
        (np.ones(len(groups)), groups, np.arange(len(groups) + 1)), shape=(len(groups), size)
    )
    total = np.asarray(special.entr(np.exp(table) @ member).sum(axis=1), dtype=np.float64)
    return total / size if kind == "lm_polygraph" else total


def boosted_probability(
    logprobs: ArrayLike, tokens: ArrayLike, jump: float = 0.3, floor: float = 0.005
) -> FloatArray:
    """Probability of the dominant tokens together, where the token said is one of them.

    Tokens are sorted by probability, and the dominant ones are those before the last drop by
    more than the share `jump` of the probability above it and by more than `floor`. A token that
    is not among them, or a distribution without such a drop, keeps its own probability (Dinh and
    Niehues 2025, BoostedProb). Larger is more confident: several good ways to go on are no sign
    of doubt. lm-polygraph's ``BoostedProbSequence`` is minus the mean over tokens.

    Parameters
    ----------
    logprobs : array_like of float, shape (n_tokens, vocabulary)
        The whole distributions.
    tokens : array_like of int, shape (n_tokens,)
        The tokens said.
    jump, floor : float
        0.3 and 0.005 as published.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        Equally probable tokens are dominant together or not at all.

    Raises
    ------
    ValueError
        If `tokens` doesn't hold one token of the vocabulary per row.

    Examples
    --------
    >>> table = np.log([[0.45, 0.4, 0.05, 0.05, 0.05]] * 2)
    >>> boosted_probability(table, [1, 2]).round(4)
    array([0.85, 0.05])
    """
    table = distributions(logprobs)
    said = np.asarray(tokens)
    inside = said.shape == (len(table),) and said.dtype.kind in "iu"
    if not inside or (said < 0).any() or (said >= table.shape[1]).any():
        raise ValueError("tokens must hold one token of the vocabulary for each row")
    probability = np.exp(table)
    ordered = -np.sort(-probability, axis=1)
    drop = ordered[:, :-1] - ordered[:, 1:]
    large = (drop > jump * ordered[:, :-1]) & (drop > floor)
    last = large.shape[1] - 1 - np.argmax(large[:, ::-1], axis=1) if large.size else said * 0
    rows = np.arange(len(table))
    own = probability[rows, said]
    found = large.any(axis=1)
    least = np.where(found, ordered[rows, last], np.inf)
    mass = np.where(probability >= least[:, None], probability, 0.0).sum(axis=1)
    return np.where(own >= least, mass, own)
