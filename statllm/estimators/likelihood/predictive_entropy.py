"""Entropy of a prompt's response distribution, by Monte Carlo over its samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.likelihood.sequence import as_logprobs
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PredictiveEntropy:
    """Monte Carlo entropy of the response distribution, prompt by prompt.

    Attributes
    ----------
    entropy : ndarray of float64
        Nats; NaN for a prompt without samples.
    se : ndarray of float64
        Monte Carlo standard error; NaN below two samples.
    n_samples : ndarray of int64
    """

    entropy: FloatArray
    se: FloatArray
    n_samples: IntArray

    @cached_property
    def mean(self) -> Estimate:
        """Mean over prompts; its error counts the prompts, and so both sources of variation."""
        return mean_estimate(self.entropy, name="predictive entropy", unit="nats")


def predictive_entropy(logprobs: Any) -> PredictiveEntropy:
    """Monte Carlo estimate -(1/M) sum_i log p(y_i given prompt) over a prompt's samples.

    Unbiased for the entropy of the distribution that the samples were drawn from, if the
    log-probabilities are those of that distribution (same temperature, no truncation that they
    leave out). Equal samples count as often as they were drawn. With mean log-probabilities per
    token it's the length-normalised score (Malinin and Gales 2021), no entropy of anything.

    Parameters
    ----------
    logprobs : Ragged, pyarrow list column, or list of lists of float
        Row i holds log p(sample given prompt) of the samples of prompt i, nats.

    Returns
    -------
    PredictiveEntropy

    Raises
    ------
    ValueError
        If a log-probability is above 0.

    Examples
    --------
    >>> entropy = predictive_entropy([[-1.0, -2.0, -3.0], [-0.5]])
    >>> entropy.entropy, entropy.se.round(4)
    (array([2. , 0.5]), array([0.5774,    nan]))
    """
    samples = as_logprobs(logprobs, "logprobs")
    n = samples.lengths
    se = np.sqrt(samples.var() / np.maximum(n, 1))
    return PredictiveEntropy(-samples.mean(), se, n)


def sequence_tsallis(logprobs: Any, q: float = 2.0) -> PredictiveEntropy:
    """Monte Carlo estimate of the Tsallis entropy of a prompt's response distribution.

    (1 - mean_i p(y_i)^(q - 1)) / (q - 1) over a prompt's samples: unbiased, because E p^(q - 1)
    is the Σ p^q of the definition (Tsallis 1988). For q = 2 it's the probability that two
    responses differ, and 1 minus it, the mean probability of the samples, is what uqlm calls
    ``monte_carlo_probability`` (there the geometric mean over tokens takes the place of p,
    unless asked otherwise). Bounded, and so steadier than `predictive_entropy`, which a single
    improbable sample may move far.

    Parameters
    ----------
    logprobs : Ragged, pyarrow list column, or list of lists of float
        Row i holds log p(sample given prompt) of the samples of prompt i, nats.
    q : float
        Order, above 1: below, the estimate has no bounds. 1 is `predictive_entropy`.

    Returns
    -------
    PredictiveEntropy

    Raises
    ------
    ValueError
        If a log-probability is above 0, or `q` isn't above 1.

    Examples
    --------
    >>> found = sequence_tsallis(np.log([[0.5, 0.3, 0.5, 0.1]]))
    >>> found.entropy.round(4), found.se.round(4)
    (array([0.65]), array([0.0957]))
    """
    if not 1 < q < np.inf:
        raise ValueError(f"q must be above 1 and finite, not {q}")
    samples = as_logprobs(logprobs, "logprobs")
    terms = samples.with_values((1 - np.exp((q - 1) * samples.values)) / (q - 1))
    n = samples.lengths
    return PredictiveEntropy(terms.mean(), np.sqrt(terms.var() / np.maximum(n, 1)), n)
