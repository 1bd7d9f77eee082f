"""Confidence of a response from the log-probabilities of its tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.rewards import as_float_rows, float_rows
from statllm.ragged import Ragged

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# What float32 log-probabilities may exceed 0 by.
ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class LikelihoodScores:
    """Scores response by response; every array has length n_responses.

    NaN where a token's log-probability is missing, and for a response without tokens: nothing
    is known of it, and a sum over nothing would call it certain.

    Attributes
    ----------
    n_tokens : ndarray of int64
    logprob : ndarray of float64
        log p(response given prompt), the sum over its tokens, nats.
    mean_logprob : ndarray of float64
        The same per token, nats.
    min_logprob : ndarray of float64
        Of the least probable token, nats.
    """

    n_tokens: IntArray
    logprob: FloatArray
    mean_logprob: FloatArray
    min_logprob: FloatArray

    @property
    def probability(self) -> FloatArray:
        """p(response given prompt); underflows to 0 for long responses, as `logprob` doesn't."""
        return np.exp(self.logprob)

    @property
    def perplexity(self) -> FloatArray:
        """exp(-mean log-probability per token), at least 1; larger is less confident."""
        return np.exp(-self.mean_logprob)

    @property
    def length_normalised_probability(self) -> FloatArray:
        """Geometric mean of the token probabilities; uqlm's default `sequence_probability`."""
        return np.exp(self.mean_logprob)

    @property
    def min_token_probability(self) -> FloatArray:
        """Probability of the least probable token."""
        return np.exp(self.min_logprob)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per response."""
        import pandas as pd

        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        derived = ("perplexity", "length_normalised_probability", "min_token_probability")
        return pd.DataFrame(columns | {name: getattr(self, name) for name in derived})


def likelihood_scores(token_logprobs: Any) -> LikelihoodScores:
    """Sum, mean and minimum of each response's token log-probabilities.

    Parameters
    ----------
    token_logprobs : Ragged, pyarrow list column, or list of lists of float
        Row i holds log p(token t given prompt and tokens before t) of response i, nats; null,
        None or NaN = missing.

    Returns
    -------
    LikelihoodScores

    Raises
    ------
    ValueError
        If a log-probability is above 0.

    Examples
    --------
    >>> scores = likelihood_scores([[-0.1, -0.5], [-2.0], []])
    >>> scores.probability.round(3), scores.length_normalised_probability.round(3)
    (array([0.549, 0.135,   nan]), array([0.741, 0.135,   nan]))
    >>> scores.perplexity.round(3)
    array([1.35 , 7.389,   nan])
    """
    tokens = as_logprobs(token_logprobs, "token_logprobs")
    total = np.where(tokens.lengths > 0, tokens.sum(), np.nan)
    return LikelihoodScores(tokens.lengths, total, tokens.mean(), tokens.min().astype(np.float64))


def token_sar(token_logprobs: Any, relevance: Any) -> FloatArray:
    """Uncertainty with tokens weighted by their relevance to the meaning (TokenSAR).

    -sum_t R_t log p_t / sum_t R_t (Duan et al. 2024, "Shifting Attention to Relevance").
    R_t is 1 - similarity of the response with and without token t. Larger is less confident.

    Parameters
    ----------
    token_logprobs : rows of float, as for `likelihood_scores`
    relevance : rows of float of the same lengths
        R_t, not negative.

    Returns
    -------
    ndarray of float64, shape (n_responses,)
        NaN where all relevances are 0.

    Raises
    ------
    ValueError
        If the rows differ in length, or a relevance is negative.

    Examples
    --------
    >>> token_sar([[-1.0, -3.0]], [[0.1, 0.3]])
    array([2.5])
    """
    tokens = as_logprobs(token_logprobs, "token_logprobs")
    weights = _weights(relevance, tokens, "relevance")
    return -_weighted_sum(tokens, _shares(weights))


def mars(token_logprobs: Any, importance: Any) -> FloatArray:
    """Log-probability with tokens weighted half evenly and half by importance (MARS), nats.

    sum_t w_t log p_t with w_t = 1 / (2 L) + u_t / 2, where L counts tokens and the importances
    u_t of a response are scaled to sum to 1 (Bakman et al. 2024; their score is the
    exponential). With equal importances it's the mean log-probability. Larger is more confident.

    Parameters
    ----------
    token_logprobs : rows of float, as for `likelihood_scores`
    importance : rows of float of the same lengths
        Not negative.

    Returns
    -------
    ndarray of float64, shape (n_responses,)
        NaN where all importances are 0.

    Raises
    ------
    ValueError
        If the rows differ in length, or an importance is negative.

    Examples
    --------
    >>> mars([[-1.0, -3.0]], [[0.0, 5.0]])
    array([-2.5])
    """
    tokens = as_logprobs(token_logprobs, "token_logprobs")
    shares = _shares(_weights(importance, tokens, "importance"))
    even = np.ones(len(tokens.values)) / tokens.lengths[tokens.rows]
    return _weighted_sum(tokens, shares.with_values((even + shares.values) / 2))


def pointwise_mutual_information(token_logprobs: Any, unconditional_logprobs: Any) -> FloatArray:
    """Mean over tokens of log p(token given prompt) - log p(token without it), nats.

    Positive where the prompt made the response more probable (Takayama and Arase 2019).

    Parameters
    ----------
    token_logprobs : rows of float, as for `likelihood_scores`
    unconditional_logprobs : rows of float of the same lengths
        log p(token t given the tokens before t alone). A model without a start token has none
        for the first token; lm-polygraph puts 0 there.

    Returns
    -------
    ndarray of float64, shape (n_responses,)

    Raises
    ------
    ValueError
        If the rows differ in length.

    Examples
    --------
    >>> pointwise_mutual_information([[-1.0, -0.5]], [[-3.0, -0.5]])
    array([1.])
    """
    tokens = as_logprobs(token_logprobs, "token_logprobs")
    alone = as_logprobs(unconditional_logprobs, "unconditional_logprobs")
    _same_rows(alone, tokens, "unconditional_logprobs")
    return tokens.with_values(tokens.values - alone.values).mean()


def conditional_pmi(
    token_logprobs: Any,
    unconditional_logprobs: Any,
    entropy: Any,
    threshold: float = 0.0656,
    weight: float = 3.599,
) -> FloatArray:
    """Mean over tokens of log p(token given prompt) - weight * [H >= threshold] log p(token).

    Pointwise mutual information only where the model hesitates (van der Poel, Cotterell and
    Meister 2022; the defaults are the values that they tuned for summarisation).

    Parameters
    ----------
    token_logprobs, unconditional_logprobs : rows of float, as above
    entropy : rows of float of the same lengths
        Entropy H of the next-token distribution given prompt and tokens before, nats.
    threshold : float
        Nats.
    weight : float

    Returns
    -------
    ndarray of float64, shape (n_responses,)

    Raises
    ------
    ValueError
        If the rows differ in length.

    Examples
    --------
    >>> conditional_pmi([[-1.0, -0.5]], [[-3.0, -0.5]], [[0.9, 0.01]], weight=1.0)
    array([0.75])
    """
    tokens = as_logprobs(token_logprobs, "token_logprobs")
    alone = as_logprobs(unconditional_logprobs, "unconditional_logprobs")
    spread = as_float_rows(entropy, "entropy")
    _same_rows(alone, tokens, "unconditional_logprobs")
    _same_rows(spread, tokens, "entropy")
    hesitates = np.where(spread.values >= threshold, weight * alone.values, 0.0)
    hesitates[np.isnan(spread.values)] = np.nan
    return tokens.with_values(tokens.values - hesitates).mean()


def cocoa(tokens: Any, similarity: Any, form: Literal["msp", "ppl", "mte"] = "msp") -> FloatArray:
    """Model uncertainty times disagreement of the samples (CoCoA, Vashurin et al. 2025).

    u * mean_i (1 - similarity(y, y_i)), where y is the response in question and y_i are other
    samples for its prompt. Larger is less confident; 0 if either factor is.

    Parameters
    ----------
    tokens : rows of float, as for `likelihood_scores`
        Log-probabilities of the tokens of y; for ``"mte"``, entropies of their distributions.
    similarity : rows of float, one row per response
        Similarity of y to each other sample, in [0, 1].
    form : {"msp", "ppl", "mte"}
        What u is: -log p(y given prompt); the same per token (log perplexity); mean token
        entropy. All in nats.

    Returns
    -------
    ndarray of float64, shape (n_responses,)
        NaN without tokens or without other samples.

    Raises
    ------
    ValueError
        If the numbers of rows differ or a similarity lies outside [0, 1].

    Examples
    --------
    >>> cocoa([[-1.0, -3.0]], [[1.0, 0.5]]), cocoa([[-1.0, -3.0]], [[1.0, 0.5]], "ppl")
    (array([1.]), array([0.5]))
    """
    if form == "mte":
        uncertainty = as_float_rows(tokens, "tokens").mean()
    elif form in ("msp", "ppl"):
        scores = likelihood_scores(tokens)
        uncertainty = -scores.logprob if form == "msp" else -scores.mean_logprob
    else:
        raise ValueError(f"form must be msp, ppl or mte, not {form!r}")
    agreement = as_float_rows(similarity, "similarity")
    if agreement.n_rows != len(uncertainty):
        raise ValueError(f"{agreement.n_rows} rows of similarity for {len(uncertainty)} responses")
    outside = (agreement.values < -ROUNDING) | (agreement.values > 1 + ROUNDING)
    if outside.any():
        raise ValueError(f"similarity must lie in [0, 1], not {agreement.values[outside][0]}")
    disagreement: FloatArray = 1 - agreement.with_values(agreement.values.clip(0, 1)).mean()
    return uncertainty * disagreement


def as_logprobs(rows: Any, what: str) -> Ragged:
    """Rows of log-probabilities, -inf allowed; rounding above 0 is taken off, more is an error."""
    table = float_rows(rows, what)
    check_logprobs(table.values, what)
    return table.with_values(np.minimum(table.values, 0.0))


def check_logprobs(values: ArrayLike, what: str) -> None:
    """Raise where a log-probability is above 0."""
    highest = np.max(values, initial=-np.inf)
    if np.isnan(highest):
        highest = np.fmax.reduce(values, axis=None)  # NaN aside, but slower
    if highest > ROUNDING:
        raise ValueError(f"{what} must be logarithms of probabilities, but one is {highest}")


def _weights(rows: Any, tokens: Ragged, what: str) -> Ragged:
    """Weights, one for each token."""
    weights = as_float_rows(rows, what)
    _same_rows(weights, tokens, what)
    if np.any(weights.values < 0) or np.any(np.isinf(weights.values)):
        raise ValueError(f"{what} must not be negative or infinite")
    return weights


def _shares(weights: Ragged) -> Ragged:
    """Weights divided by their sum over the row; NaN where that is 0."""
    total = weights.sum()
    return weights.with_values(weights.values / np.where(total > 0, total, np.nan)[weights.rows])


def _weighted_sum(tokens: Ragged, weights: Ragged) -> FloatArray:
    """Sum of weight times log-probability; a token of weight 0 counts for nothing."""
    counts = weights.values != 0
    products = np.multiply(tokens.values, weights.values, out=np.zeros(len(counts)), where=counts)
    return np.where(tokens.lengths > 0, tokens.with_values(products).sum(), np.nan)


def _same_rows(rows: Ragged, tokens: Ragged, what: str) -> None:
    """Raise unless the rows have the lengths of the responses."""
    if rows.n_rows != tokens.n_rows:
        raise ValueError(f"{rows.n_rows} rows of {what} for {tokens.n_rows} responses")
    if not np.array_equal(rows.offsets, tokens.offsets):
        row = int(np.flatnonzero(rows.lengths != tokens.lengths)[0])
        raise ValueError(
            f"row {row} of {what} has {rows.lengths[row]} values for {tokens.lengths[row]} tokens"
        )
