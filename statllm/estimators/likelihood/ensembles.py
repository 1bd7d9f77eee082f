"""What several models, or several draws of one model's weights, disagree about.

Total uncertainty is the entropy of the models' mean distribution; data uncertainty is the mean
of their entropies; the difference is what knowing the model would tell: mutual information.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.likelihood.sequence import check_logprobs
from statllm.estimators.likelihood.token_entropy import SUM_ROUNDING, plogp
from statllm.estimators.likelihood.top_k import renormalised_entropy
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
Correction = Literal["jackknife", "none"]


@dataclass(frozen=True, eq=False)
class TokenEnsemble:
    """Uncertainty of each token, in nats; every array has length n_tokens.

    Names of lm-polygraph in parentheses, without their prefix: EPT where models are weighted by
    how well they predicted the tokens before, PET where all weigh the same.

    Attributes
    ----------
    total : ndarray of float64
        Entropy of the mean distribution (tu).
    data : ndarray of float64
        Mean entropy of the models (du).
    mutual_information : ndarray of float64
        total - data: BALD (mi).
    pairwise_kl : ndarray of float64
        Expected KL divergence between two models (epkl).
    reverse_mutual_information : ndarray of float64
        Mean KL divergence of a model from the mean distribution: pairwise_kl -
        mutual_information (rmi).
    mutual_information_se : ndarray of float64
        Jackknife error over models; NaN below three.
    mean_logprob : ndarray of float64, shape (n_tokens, vocabulary)
        The mean distribution.
    n_models : int
    correction : {"jackknife", "none"}
    """

    total: FloatArray
    data: FloatArray
    mutual_information: FloatArray
    pairwise_kl: FloatArray
    reverse_mutual_information: FloatArray
    mutual_information_se: FloatArray
    mean_logprob: FloatArray
    n_models: int
    correction: Correction

    def top_entropy(self, k: int) -> FloatArray:
        """Entropy of the k most probable tokens of the mean, scaled to sum to 1 (ent5, ent10)."""
        if not 1 <= k <= self.mean_logprob.shape[1]:
            raise ValueError(f"k must lie between 1 and the vocabulary, not be {k}")
        top = np.partition(self.mean_logprob, -k, axis=1)[:, -k:]
        return renormalised_entropy(top)


def token_ensemble(
    logprobs: ArrayLike,
    prefix_logprobs: ArrayLike | None = None,
    correction: Correction = "jackknife",
) -> TokenEnsemble:
    """Total, data and model uncertainty of each token from an ensemble.

    With weights w_m, p̄ = Σ w_m p_m: total H(p̄), data Σ w_m H(p_m), mutual information their
    difference, pairwise KL Σ w_m w_n KL(p_m || p_n), and reverse mutual information
    Σ w_m KL(p̄ || p_m) (Malinin and Gales 2021).

    Parameters
    ----------
    logprobs : array_like of float, shape (n_models, n_tokens, vocabulary)
        The whole distributions. NaN makes its token NaN.
    prefix_logprobs : array_like of float, shape (n_models, n_tokens), optional
        ln of the probability that a model gave to the response up to the token before. Then
        models are weighted by their share of it ("expectation of products", EPT); default: all
        the same ("product of expectations", PET).
    correction : {"jackknife", "none"}
        A few models stand for all that could have been: the entropy of their mean is too small
        by about Σ_v var(p_v) / (2 M p̄_v), and pairs of a model with itself pull the pairwise
        divergence down by the factor (M - 1) / M. ``"jackknife"`` (the default) removes the
        order 1/M from the former (Quenouille 1956) and leaves out the latter pairs, which is
        exact without weights. ``"none"`` is as published. With one model there is nothing to
        correct with: what models disagree about is NaN, and 0 for ``"none"``.

    Returns
    -------
    TokenEnsemble
        Corrected differences may fall below 0 where models agree; cutting them off at 0 would
        bring the bias back.

    Raises
    ------
    ValueError
        If shapes differ or a distribution doesn't sum to 1.

    Examples
    --------
    >>> table = np.log([[[0.9, 0.1]], [[0.5, 0.5]]])
    >>> published = token_ensemble(table, correction="none")
    >>> published.mutual_information.round(4), published.pairwise_kl.round(4)
    (array([0.1017]), array([0.2197]))
    >>> token_ensemble(table).mutual_information.round(4)
    array([0.2035])
    """
    table = np.asarray(logprobs, dtype=np.float64)
    if table.ndim != 3 or 0 in (table.shape[0], table.shape[2]):
        raise ValueError(
            f"logprobs must have shape (n_models, n_tokens, vocabulary), not {table.shape}"
        )
    check_logprobs(table, "logprobs")
    n_models, n_tokens = table.shape[:2]
    probability = np.exp(table)
    mass = probability.sum(axis=2)
    if (np.abs(mass - 1) > SUM_ROUNDING).any():
        raise ValueError("logprobs must hold whole distributions, which sum to 1")
    if correction not in ("jackknife", "none"):
        raise ValueError(f"correction must be jackknife or none, not {correction!r}")
    weights = _weights(prefix_logprobs, (n_models, n_tokens))
    entropies = np.stack([plogp(table[m], probability[m]) for m in range(n_models)])
    mean, total = _mixture(probability, weights)
    data = (weights * entropies).sum(axis=0)
    information = total - data
    # Σ w_m w_n KL(p_m || p_n) = -Σ_v p̄_v Σ_n w_n ln p_n,v - data
    pairwise = -data
    for m in range(n_models):
        pairwise = pairwise - weights[m] * _expectation(mean, table[m])
    se = np.full(n_tokens, np.nan)
    if correction == "jackknife":
        information, se = _jackknife(probability, weights, entropies, information)
        with_another = 1 - (weights**2).sum(axis=0)  # share of pairs of two different models
        alone = with_another < 1e-12
        pairwise = np.divide(pairwise, with_another, out=np.full(n_tokens, np.nan), where=~alone)
        total = data + np.nan_to_num(information) if n_models == 1 else data + information
    with np.errstate(invalid="ignore"):  # disjoint models: infinite divergences
        reverse = pairwise - information
    with np.errstate(divide="ignore"):
        log_mean = np.log(mean)
    return TokenEnsemble(
        total, data, information, pairwise, reverse, se, log_mean, n_models, correction
    )


def _jackknife(
    probability: FloatArray, weights: FloatArray, entropies: FloatArray, plugin: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mutual information without its bias of order 1/M, and its error over models."""
    m = len(weights)
    nothing = np.full(len(plugin), np.nan)
    if m == 1:
        return nothing, nothing
    without = np.stack([_information(probability, weights, entropies, i) for i in range(m)])
    centre = without.mean(axis=0)
    se = np.sqrt((m - 1) / m * ((without - centre) ** 2).sum(axis=0)) if m > 2 else nothing
    return m * plugin - (m - 1) * centre, se


def _weights(prefix_logprobs: ArrayLike | None, shape: tuple[int, int]) -> FloatArray:
    """Weight of each model at each token."""
    if prefix_logprobs is None:
        return np.full(shape, 1 / shape[0])
    prefix = np.asarray(prefix_logprobs, dtype=np.float64)
    if prefix.shape != shape:
        raise ValueError(f"prefix_logprobs must have shape {shape}, not {prefix.shape}")
    check_logprobs(prefix, "prefix_logprobs")
    from scipy import special

    weights: FloatArray = special.softmax(prefix, axis=0)
    return weights


def _mixture(probability: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean distribution of each token, and its entropy."""
    from scipy import special

    mean = np.einsum("mt,mtv->tv", weights, probability)
    return mean, np.asarray(special.entr(mean).sum(axis=1))


def _information(
    probability: FloatArray, weights: FloatArray, entropies: FloatArray, left_out: int
) -> FloatArray:
    """Mutual information of all models but one."""
    others = np.delete(weights, left_out, axis=0)
    others = others / others.sum(axis=0)
    _, total = _mixture(np.delete(probability, left_out, axis=0), others)
    rest = (others * np.delete(entropies, left_out, axis=0)).sum(axis=0)
    return np.asarray(total - rest)


def _expectation(probability: FloatArray, logprob: FloatArray) -> FloatArray:
    """Σ_v p_v ln q_v with 0 times -inf = 0."""
    terms = np.where(probability == 0, 0.0, probability * logprob)
    return np.asarray(terms.sum(axis=1))


@dataclass(frozen=True, eq=False)
class SequenceEnsemble:
    """Uncertainty of each prompt's response, in nats; every array has length n_prompts.

    Attributes
    ----------
    total : ndarray of float64
        Entropy of the mean distribution over responses.
    total_se : ndarray of float64
        Monte Carlo error; NaN below two responses and for weighted ones.
    probability : ndarray of float64
        Mean of p̄ itself; minus it is lm-polygraph's EPStu, in spite of its name.
    reverse_mutual_information : ndarray of float64
        Mean over models of ln p̄ / p_m (EPSrmi).
    reverse_mutual_information_se : ndarray of float64
    absolute : ndarray of float64
        The same with |ln p̄ / p_m| (EPSrmiabs).
    mutual_information, pairwise_kl : ndarray of float64
        Mean of ln p_m / p̄, and of ln p_m / p_n over other models n, over responses that m
        drew; NaN unless it's known who drew which, and where a model drew none.
    n : ndarray of int64
        Responses.
    """

    total: FloatArray
    total_se: FloatArray
    probability: FloatArray
    reverse_mutual_information: FloatArray
    reverse_mutual_information_se: FloatArray
    absolute: FloatArray
    mutual_information: FloatArray
    pairwise_kl: FloatArray
    n: NDArray[np.int64]


def sequence_ensemble(
    logprobs: ArrayLike,
    n_responses: ArrayLike,
    weighting: Literal["samples", "beam"] = "samples",
    drawn_by: Any = None,
) -> SequenceEnsemble:
    """Total and model uncertainty of responses as a whole, from an ensemble.

    With p̄ the mean of the models' probabilities of a response: total uncertainty -E ln p̄(y) and
    reverse mutual information E mean_m ln p̄(y) / p_m(y), the expectation over y from p̄
    (Malinin and Gales 2021).

    Parameters
    ----------
    logprobs : array_like of float, shape (n, n_models)
        ln p_m(y) of each response under each model, prompt after prompt; finite. ln p_m of the
        product of the models' token distributions gives the PES names in place of EPS.
    n_responses : array_like of int, shape (n_prompts,)
    weighting : {"samples", "beam"}
        ``"samples"``: responses were drawn from the ensemble, each model's turn equally often,
        and their mean is unbiased. ``"beam"``: the responses of a beam, each once, weighted by
        p̄ scaled to sum to 1 (lm-polygraph); what the beam has left out isn't known.
    drawn_by : array_like of int, shape (n,), optional
        The model that drew each response, for ``"samples"``. Without it `mutual_information` and
        `pairwise_kl` can't be had.

    Returns
    -------
    SequenceEnsemble
        With M models, p̄ is theirs: like the published values, it isn't corrected for the models
        that could have been. NaN without responses.

    Raises
    ------
    ValueError
        If shapes differ, or a log-probability is infinite, NaN or above 0.

    Examples
    --------
    >>> table = np.log([[0.5, 0.1], [0.2, 0.6]])
    >>> scores = sequence_ensemble(table, [2], drawn_by=[0, 1])
    >>> scores.total.round(4), scores.reverse_mutual_information.round(4)
    (array([1.0601]), array([0.2189]))
    >>> scores.mutual_information.round(4), scores.pairwise_kl.round(4)
    (array([0.4581]), array([1.354]))
    """
    table, counts = np.asarray(logprobs, dtype=np.float64), np.asarray(n_responses, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] == 0 or counts.ndim != 1 or counts.sum() != len(table):
        raise ValueError(
            "logprobs must have shape (n, n_models), n the sum of n_responses, "
            f"not {table.shape} for {counts.sum()} responses"
        )
    check_logprobs(table, "logprobs")
    if not np.isfinite(table).all():
        raise ValueError("logprobs must be finite, without NaN")
    if weighting not in ("samples", "beam"):
        raise ValueError(f"weighting must be samples or beam, not {weighting!r}")
    from scipy import special

    n_models = table.shape[1]
    mean: FloatArray = special.logsumexp(table, axis=1) - np.log(n_models)
    gap = mean[:, None] - table
    rows = Ragged.from_lengths(mean, counts)
    terms = {
        "total": -mean,
        "p": np.exp(mean),
        "reverse": gap.mean(axis=1),
        "absolute": np.abs(gap).mean(axis=1),
    }
    if weighting == "samples":
        value = {name: rows.with_values(term).mean() for name, term in terms.items()}
        root = np.sqrt(np.maximum(counts, 1))
        error = {name: np.sqrt(rows.with_values(t).var()) / root for name, t in terms.items()}
    else:
        if drawn_by is not None:
            raise ValueError("drawn_by is for responses that were drawn, not those of a beam")
        top = np.where(counts > 0, rows.max(), 0.0).astype(np.float64)
        weight = np.exp(mean - top[rows.rows])
        weight /= rows.with_values(weight).sum()[rows.rows]
        value = {n: rows.with_values(weight * term).sum() for n, term in terms.items()}
        value = {n: np.where(counts > 0, each, np.nan) for n, each in value.items()}
        error = dict.fromkeys(terms, np.full(len(counts), np.nan))
    information, pairwise = _by_drawer(rows, gap, drawn_by)
    return SequenceEnsemble(
        value["total"],
        error["total"],
        value["p"],
        value["reverse"],
        error["reverse"],
        value["absolute"],
        information,
        pairwise,
        counts,
    )


def _by_drawer(rows: Ragged, gap: FloatArray, drawn_by: Any) -> tuple[FloatArray, FloatArray]:
    """Mean over models of ln p_m / p̄, and of ln p_m / p_n, where m drew the response."""
    n_models = gap.shape[1]
    nothing = np.full(rows.n_rows, np.nan)
    if drawn_by is None:
        return nothing, nothing
    drawer = np.asarray(drawn_by)
    inside = drawer.shape == (len(gap),) and drawer.dtype.kind in "iu"
    if not inside or ((drawer < 0) | (drawer >= n_models)).any():
        raise ValueError(f"drawn_by must hold a model's number for each of {len(gap)} responses")
    own = -gap[np.arange(len(gap)), drawer]
    key = rows.rows * n_models + drawer
    count = np.bincount(key, minlength=rows.n_rows * n_models).reshape(-1, n_models)
    scale = 1 / np.where(count > 0, count, np.nan)
    others = (gap.sum(axis=1) + n_models * own) / max(n_models - 1, 1)
    means = []
    for term in (own, others):
        total = np.bincount(key, term, rows.n_rows * n_models).reshape(-1, n_models)
        means.append((total * scale).mean(axis=1))
    if n_models == 1:
        means[1] = nothing
    return means[0], means[1]
