"""Entropy of next-token distributions that are cut off after the k most probable tokens.

An engine lists the log-probabilities of a few tokens; the mass of the others is known, how it's
spread isn't. Every function works token by token, as those of `token_entropy` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.likelihood.sequence import check_logprobs
from statllm.estimators.likelihood.token_entropy import SUM_ROUNDING, plogp
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EntropyBounds:
    """What the k most probable tokens say of an entropy; arrays of one length.

    Attributes
    ----------
    low, high : ndarray of float64
        The entropy lies between them, nats.
    missing_mass : ndarray of float64
        Probability of the tokens that aren't listed.
    """

    low: FloatArray
    high: FloatArray
    missing_mass: FloatArray

    def per_response(
        self, n_tokens: ArrayLike, how: Literal["mean", "max"] = "mean"
    ) -> EntropyBounds:
        """Bounds of the mean or the highest entropy of each response; NaN without tokens.

        The bounds of different tokens can be reached together, so these are sharp too.

        Parameters
        ----------
        n_tokens : array_like of int, shape (n_responses,)
            Tokens of each response, whose rows follow each other.
        how : {"mean", "max"}
            The same reduction is made of the missing mass.
        """
        if how not in ("mean", "max"):
            raise ValueError(f"how must be mean or max, not {how!r}")
        columns = (
            Ragged.from_lengths(column, n_tokens)
            for column in (self.low, self.high, self.missing_mass)
        )
        low, high, mass = (getattr(rows, how)().astype(np.float64) for rows in columns)
        return EntropyBounds(low, high, mass)


def top_k_entropy(top_logprobs: Any, vocabulary: int | None = None) -> EntropyBounds:
    """Bounds on each token's entropy from its k most probable alternatives.

    With p_1 >= ... >= p_k listed and m = 1 - sum p_j missing, H = -sum_j p_j ln p_j + h, where h
    belongs to the missing mass. h is largest when the mass is spread evenly over the other
    V - k tokens, -m ln(m / (V - k)); it's smallest when as few tokens as possible share it, none
    above p_k: floor(m / p_k) of them have p_k and one has the rest (entropy is Schur-concave).

    Parameters
    ----------
    top_logprobs : array_like of float, shape (n_tokens, k); or Ragged with one row per token
        Log-probabilities of the most probable tokens in any order; -inf counts as not listed,
        and NaN makes its token NaN. Leave out the sampled token where an engine adds it although
        it isn't among the k most probable.
    vocabulary : int, optional
        Size V of the vocabulary. Without it nothing bounds the entropy above where mass is
        missing, and `high` is infinite.

    Returns
    -------
    EntropyBounds

    Raises
    ------
    ValueError
        If a row sums to more than 1, or misses more than V - k tokens below p_k can hold.

    Examples
    --------
    >>> bounds = top_k_entropy(np.log([[0.6, 0.3]]), vocabulary=12)
    >>> bounds.low.round(4), bounds.high.round(4), bounds.missing_mass.round(4)
    (array([0.8979]), array([1.1282]), array([0.1]))
    """
    table = top_table(top_logprobs)
    probability = np.exp(table)
    listed = table != -np.inf
    mass = probability.sum(axis=1)
    if np.fmax.reduce(mass, initial=0.0) > 1 + SUM_ROUNDING:
        raise ValueError(f"top_logprobs of a token sum to a probability of {np.nanmax(mass)}")
    missing = np.maximum(1 - mass, 0.0)
    known = plogp(table, probability)
    smallest = np.where(listed, probability, np.inf).min(axis=1, initial=np.inf)
    smallest = np.where(np.isinf(smallest), 1.0, smallest)  # nothing listed
    high = np.where(missing > 0, np.inf, known)
    if vocabulary is not None:
        others = vocabulary - np.count_nonzero(listed, axis=1)
        if np.any(others < 0):
            raise ValueError(f"top_logprobs list more than the vocabulary of {vocabulary} tokens")
        room = others * smallest
        if np.any(missing > room + SUM_ROUNDING):
            raise ValueError(
                "top_logprobs must be the largest of their token, or vocabulary is too small"
            )
        missing = np.minimum(missing, room)  # the rest is rounding
        high = known - others * _xlogx(missing / np.maximum(others, 1))
    full = np.floor(missing / smallest)
    low = known - full * _xlogx(smallest) - _xlogx(np.maximum(missing - full * smallest, 0.0))
    high = np.maximum(low, np.where(np.isnan(known), np.nan, high))
    return EntropyBounds(low, high, missing)


def renormalised_entropy(top_logprobs: Any) -> FloatArray:
    """Entropy of the k listed tokens, scaled to sum to 1, nats.

    The convention of uqlm. It's neither bound of `top_k_entropy`: it conditions on the token
    being one of those listed, and depends on k.

    Parameters
    ----------
    top_logprobs : as for `top_k_entropy`

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        NaN where nothing is listed.

    Examples
    --------
    >>> renormalised_entropy(np.log([[0.6, 0.3]])).round(4)
    array([0.6365])
    """
    table = top_table(top_logprobs)
    probability = np.exp(table)
    mass = probability.sum(axis=1)
    mass = np.where(mass == 0, np.nan, mass)
    entropy: FloatArray = plogp(table, probability) / mass + np.log(mass)
    return np.maximum(entropy, 0.0)


def uqlm_negentropy(top_logprobs: Any) -> FloatArray:
    """Return 1 - `renormalised_entropy` / ln k, in [0, 1]; larger is more confident.

    The mean and the minimum over a response are uqlm's ``mean_token_negentropy`` and
    ``min_token_negentropy``. k is the number of tokens listed, token by token.

    Parameters
    ----------
    top_logprobs : as for `top_k_entropy`

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        NaN where fewer than two tokens are listed.

    Examples
    --------
    >>> uqlm_negentropy(np.log([[0.6, 0.3]])).round(4)
    array([0.0817])
    """
    table = top_table(top_logprobs)
    count = np.count_nonzero(table != -np.inf, axis=1)
    highest = np.log(np.where(count > 1, count, np.nan))
    negentropy: FloatArray = 1 - renormalised_entropy(table) / highest
    return negentropy


def probability_margin(top_logprobs: Any) -> FloatArray:
    """Probability of the most probable token minus that of the second; ties give 0.

    Parameters
    ----------
    top_logprobs : as for `top_k_entropy`
        At least the two most probable tokens; more do no harm.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        NaN where fewer than two tokens are listed: the second is unknown.

    Examples
    --------
    >>> probability_margin(np.log([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])).round(4)
    array([0.2, 0. ])
    """
    table = top_table(top_logprobs)
    if table.shape[1] < 2:
        return np.full(len(table), np.nan)
    two = np.partition(table, -2, axis=1)[:, -2:]
    margin: FloatArray = np.exp(two[:, 1]) - np.exp(two[:, 0])
    return np.where(np.isneginf(two[:, 0]), np.nan, margin)


def top_table(top_logprobs: Any) -> FloatArray:
    """The listed log-probabilities as a table, short rows filled up with -inf."""
    if isinstance(top_logprobs, Ragged):
        rows = top_logprobs
        width = int(rows.lengths.max(initial=0))
        table = np.full((rows.n_rows, width), -np.inf)
        table[rows.rows, rows.positions] = rows.values
    else:
        table = np.asarray(top_logprobs, dtype=np.float64)
        if table.ndim != 2:
            raise ValueError(f"top_logprobs must have shape (n_tokens, k), not {table.shape}")
    check_logprobs(table, "top_logprobs")
    return table


def _xlogx(x: FloatArray) -> FloatArray:
    """X ln x, 0 at 0."""
    from scipy import special

    return np.asarray(special.xlogy(x, x), dtype=np.float64)
