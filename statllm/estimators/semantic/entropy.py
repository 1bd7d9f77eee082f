"""Semantic entropy: the entropy of what a model says, not of how it says it.

One quantity in theory, a dozen in published code. All of them start from clusters of samples that
mean the same (`statllm.estimators.semantic.clusters`), and most from log-probabilities too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators import _answers
from statllm.estimators.entropies.estimate import EntropyEstimates, entropy
from statllm.estimators.rewards import as_float_rows
from statllm.estimators.votes import vote_counts
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ROUNDING = 1e-3  # how far above 0 half-precision sums may push the logarithm of a probability
KUHN_SHIFT = 5.0  # lorenzkuhn/semantic_uncertainty subtracts it from each cluster's log mass


def semantic_entropy(
    labels: Any,
    logprobs: Any = None,
    kind: str = "corrected",
    *,
    n_tokens: Any = None,
    texts: Any = None,
    length_normalize: bool | None = None,
    missing: Literal["raise", "drop"] = "raise",
    **options: Any,
) -> EntropyEstimates:
    """Entropy of each prompt's clusters of meaning, in nats.

    Parameters
    ----------
    labels : Ragged, Arrow list column or list of lists
        Cluster of each sample, a row per prompt: numbers from `semantic_clusters`, or answers in
        canonical form, equal ones meaning the same. Null, or a negative number in a `Ragged`, is
        no answer; such a sample is left out.
    logprobs : Ragged, Arrow list column or list of lists, optional
        ln p(response | prompt) summed over the response's tokens, in the layout of `labels`.
        ``"corrected"`` and ``"discrete"`` don't look at them.
    kind : str
        Below, n_c of the n samples are in cluster c, w = exp(log-probability), M_c = Σ w over
        the samples of c, and M'_c = Σ w over its distinct texts. ``*``: needs log-probabilities.

        ====================== =============================================================
        corrected              the default: `entropy` of the counts n_c, bias-corrected
        discrete               -Σ_c (n_c/n) ln(n_c/n), biased downwards. jlko's cluster
                               assignment entropy, uqlm's discrete, lm-polygraph's
                               (frequency, mean)
        likelihood*            -Σ_c q_c ln q_c with q_c = M'_c / Σ M'; exact once every text
                               that the model can say was sampled
        jlko*                  the same with M_c: repeated texts count again, though their
                               probability already says that they repeat (Farquhar et al.
                               2024). Log-probabilities per token
        uqlm*                  equal to jlko
        predictive*            -(1/n) Σ_i ln w_i: no clusters. Per token
        lorenzkuhn*            -mean_c(ln M_c - 5). Per token
        uq_nlg*                -ln mean_c M_c; per sequence
        truthtorchlm*          -mean_c ln Σ_{i in c} m_i w_i, where m_i samples have the text
                               of i. Per token
        lm_polygraph*          -(1/n) Σ_i ln M_c(i): (sum, mean)
        lm_polygraph_unique*   the same with M': (sum, mean, unique)
        lm_polygraph_direct*   -Σ_i M_c(i) ln M_c(i), summed over samples, not clusters:
                               (sum, direct)
        lm_polygraph_direct_unique*      the same with M'
        lm_polygraph_frequency_direct    -Σ_i s_i ln s_i, s_i the share of i's cluster, summed
                               over samples: 5 + 5 samples give 5 ln 2
        ====================== =============================================================

        Those from ``lorenzkuhn`` on aren't entropies: they can be negative, and most depend on
        how many samples there are. They are here to reproduce published numbers.
    n_tokens : like logprobs, optional
        Tokens of each response; needed where log-probabilities are per token.
    texts : like labels, optional
        The texts themselves, or codes of them: for ``likelihood``, ``truthtorchlm`` and
        ``unique``, which treat a repeated text specially.
    length_normalize : bool, optional
        Whether log-probabilities are divided by `n_tokens`. Default: as published; no for
        ``"likelihood"``. Per token they are no longer those of any distribution.
    missing : {"raise", "drop"}
        What to do about a sample whose log-probability is NaN.
    **options
        For ``"corrected"`` (and, but for `estimator`, ``"discrete"``): passed on to `entropy`,
        for instance ``estimator="chao_shen"``.

    Returns
    -------
    EntropyEstimates
        With standard errors for ``"corrected"`` and ``"discrete"``; for the others `se` is NaN.
        NaN for a prompt without samples. ``"corrected"`` needs two.

    Raises
    ------
    InputError
        If the layouts differ, an input that the kind needs isn't given, log-probabilities are
        above 0 or infinite, or some are NaN and `missing` is ``"raise"``.

    Notes
    -----
    Why the default looks at counts: samples are drawn from the model, so a cluster's share
    estimates its probability without bias and without log-probabilities. What is biased is the
    plug-in entropy of shares, and `entropy` corrects it. ``"likelihood"`` is better where the
    samples hold nearly all of the probability (short answers), and only there.

    Examples
    --------
    >>> labels = [[0, 0, 0, 0, 0, 0, 0, 0, 1, 2]]
    >>> estimates = semantic_entropy(labels)
    >>> estimates.value.round(4), estimates.se.round(4)
    (array([0.8395]), array([0.5357]))
    >>> logprobs = [[-0.4] * 8 + [-3.0, -4.0]]
    >>> semantic_entropy(labels, logprobs, "jlko", n_tokens=[[2] * 10]).value.round(6)
    array([0.238435])
    >>> semantic_entropy(labels, logprobs, "lm_polygraph").value.round(6)
    array([-0.643553])
    >>> semantic_entropy(labels, logprobs, "likelihood", texts=labels).value.round(6)
    array([0.361356])
    """
    if kind in _COUNTS:
        counts = vote_counts(labels).counts
        if kind == "discrete":
            return _renamed(entropy(counts, "plugin", **options), kind)
        found = entropy(counts, **options)
        return _renamed(found, f"corrected, {found.method}")
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; it must be one of {', '.join([*_COUNTS, *KINDS])}")
    if options:
        raise InputError(f"{kind} takes no {', '.join(options)}")
    if missing not in ("raise", "drop"):
        raise InputError(f"missing must be raise or drop, not {missing!r}")
    chosen = KINDS[kind]
    per_token = chosen.per_token if length_normalize is None else length_normalize
    samples = _read(labels, logprobs, n_tokens if per_token else None, texts, missing)
    if chosen.needs_logprobs and logprobs is None:
        raise InputError(f"{kind} needs logprobs")
    if chosen.needs_logprobs and per_token and n_tokens is None:
        raise InputError(f"{kind} needs n_tokens: its log-probabilities are per token")
    if chosen.needs_texts and texts is None:
        raise InputError(f"{kind} needs texts: it treats repeated ones specially")
    with np.errstate(divide="ignore", invalid="ignore"):  # prompts without samples: 0 / 0
        value = np.where(samples.n > 0, chosen.formula(samples), np.nan)
    nothing = np.full(len(value), np.nan)
    return EntropyEstimates(value, nothing, samples.n, samples.n_clusters, kind, "none")


_COUNTS = ("corrected", "discrete")


@dataclass(frozen=True, eq=False)
class _Groups:
    """Samples put together within their prompt: by cluster, or by text."""

    of_sample: IntArray  # number of each sample's group, rising from 0 over all prompts
    prompt: IntArray  # prompt of each group
    size: IntArray  # samples of each group


@dataclass(frozen=True, eq=False)
class _Samples:
    """The samples that count: clusters, log-probabilities, texts."""

    rows: Ragged  # of log-probabilities
    clusters: _Groups
    texts: _Groups | None

    @property
    def n_prompts(self) -> int:
        return self.rows.n_rows

    @property
    def n(self) -> IntArray:
        return self.rows.lengths

    @cached_property
    def n_clusters(self) -> IntArray:
        return np.bincount(self.clusters.prompt, minlength=self.n_prompts)

    @cached_property
    def log_mass(self) -> FloatArray:
        """ln M of each cluster, repeated texts counted again."""
        return _log_sum(self.rows.values, self.clusters.of_sample, len(self.clusters.size))

    @cached_property
    def log_mass_of_texts(self) -> FloatArray:
        """ln M' of each cluster: each text counts once, with its mean log-probability."""
        texts = self._texts
        total = np.bincount(texts.of_sample, self.rows.values, len(texts.size))
        cluster = np.empty(len(texts.size), dtype=np.int64)
        cluster[texts.of_sample] = self.clusters.of_sample
        return _log_sum(total / texts.size, cluster, len(self.clusters.size))

    @cached_property
    def log_mass_squared(self) -> FloatArray:
        """Like `log_mass`, with each sample counted once more per sample of the same text."""
        texts = self._texts
        weighted = self.rows.values + np.log(texts.size[texts.of_sample])
        return _log_sum(weighted, self.clusters.of_sample, len(self.clusters.size))

    @property
    def _texts(self) -> _Groups:
        assert self.texts is not None  # the caller has checked what the kind needs
        return self.texts

    def sum_of_clusters(self, terms: FloatArray) -> FloatArray:
        """Sum over each prompt's clusters."""
        total = np.bincount(self.clusters.prompt, terms, self.n_prompts)
        return total.astype(np.float64, copy=False)

    def sum_of_samples(self, terms: FloatArray) -> FloatArray:
        """Sum over each prompt's samples of a term given per cluster."""
        return self.sum_of_clusters(terms * self.clusters.size)


def _shannon(samples: _Samples, log_mass: FloatArray) -> FloatArray:
    """-Σ q ln q, q the clusters' masses divided by their sum."""
    prompt = samples.clusters.prompt
    log_q = log_mass - _log_sum(log_mass, prompt, samples.n_prompts)[prompt]
    return samples.sum_of_clusters(-np.exp(log_q) * log_q)


def _mean_log(samples: _Samples, log_mass: FloatArray) -> FloatArray:
    """-Σ ln M over samples / n."""
    return samples.sum_of_samples(-log_mass) / samples.n


def _direct(samples: _Samples, log_mass: FloatArray) -> FloatArray:
    """-Σ M ln M over samples."""
    return samples.sum_of_samples(-np.exp(log_mass) * log_mass)


def _predictive(samples: _Samples) -> FloatArray:
    return -samples.rows.mean()


def _lorenzkuhn(samples: _Samples) -> FloatArray:
    return samples.sum_of_clusters(KUHN_SHIFT - samples.log_mass) / samples.n_clusters


def _uq_nlg(samples: _Samples) -> FloatArray:
    total = _log_sum(samples.log_mass, samples.clusters.prompt, samples.n_prompts)
    return np.log(samples.n_clusters) - total


def _truthtorchlm(samples: _Samples) -> FloatArray:
    return samples.sum_of_clusters(-samples.log_mass_squared) / samples.n_clusters


def _frequency_direct(samples: _Samples) -> FloatArray:
    return _direct(samples, np.log(samples.clusters.size / samples.n[samples.clusters.prompt]))


@dataclass(frozen=True)
class _Kind:
    """One published score: its formula, and what it asks for."""

    formula: Callable[[_Samples], FloatArray]
    per_token: bool = False
    needs_texts: bool = False
    needs_logprobs: bool = True


KINDS: dict[str, _Kind] = {
    "likelihood": _Kind(lambda s: _shannon(s, s.log_mass_of_texts), needs_texts=True),
    "jlko": _Kind(lambda s: _shannon(s, s.log_mass), per_token=True),
    "uqlm": _Kind(lambda s: _shannon(s, s.log_mass), per_token=True),
    "predictive": _Kind(_predictive, per_token=True),
    "lorenzkuhn": _Kind(_lorenzkuhn, per_token=True),
    "uq_nlg": _Kind(_uq_nlg),
    "truthtorchlm": _Kind(_truthtorchlm, per_token=True, needs_texts=True),
    "lm_polygraph": _Kind(lambda s: _mean_log(s, s.log_mass)),
    "lm_polygraph_unique": _Kind(lambda s: _mean_log(s, s.log_mass_of_texts), needs_texts=True),
    "lm_polygraph_direct": _Kind(lambda s: _direct(s, s.log_mass)),
    "lm_polygraph_direct_unique": _Kind(
        lambda s: _direct(s, s.log_mass_of_texts), needs_texts=True
    ),
    "lm_polygraph_frequency_direct": _Kind(_frequency_direct, needs_logprobs=False),
}


def _read(labels: Any, logprobs: Any, n_tokens: Any, texts: Any, missing: str) -> _Samples:
    """Check the inputs against each other and drop the samples that don't count."""
    codes = _answers.encode(labels)[0]
    counts = codes.values >= 0
    lp: FloatArray = np.zeros(len(codes.values))
    if logprobs is not None:
        lp = _like(as_float_rows(logprobs, "logprobs"), codes, "logprobs").values
        lost = np.isnan(lp) & counts
        if lost.any() and missing == "raise":
            raise InputError(
                f"{lost.sum()} of {len(lp)} log-probabilities are NaN; missing='drop' drops them"
            )
        if (lp > _ROUNDING).any():
            raise InputError(f"log-probabilities can't be above 0; one is {np.nanmax(lp)}")
        counts &= ~lost
    if logprobs is not None and n_tokens is not None:
        tokens = _like(as_float_rows(n_tokens, "n_tokens"), codes, "n_tokens").values
        if not (tokens[counts] >= 1).all():  # NaN fails too
            raise InputError("n_tokens must be at least 1 for every sample")
        lp = lp / np.where(counts, tokens, 1.0)
    same_text = None
    if texts is not None:
        text_codes = _like(_answers.encode(texts)[0], codes, "texts")
        if (text_codes.values[counts] < 0).any():
            raise InputError("texts must not be missing where the label isn't")
        same_text = _group(_kept(text_codes, counts))
    clusters = _group(_kept(codes, counts))
    if same_text is not None and not _refines(same_text, clusters):
        raise InputError("equal texts of a prompt must be in one cluster")
    return _Samples(_kept(codes.with_values(lp), counts), clusters, same_text)


def _kept(rows: Ragged, counts: NDArray[np.bool_]) -> Ragged:
    """The samples that count; the rows themselves where all do."""
    return rows if counts.all() else rows.keep(counts)


def _like(rows: Ragged, codes: Ragged, name: str) -> Ragged:
    """Refuse another number of samples than there are labels."""
    if not np.array_equal(rows.offsets, codes.offsets):
        raise InputError(f"{name} must have as many values per prompt as labels")
    return rows


def _group(codes: Ragged) -> _Groups:
    """Number the distinct codes of all rows."""
    rows, values = codes.rows, codes.values.astype(np.int64)
    span = int(values.max(initial=-1)) + 1
    if span * codes.n_rows <= 8 * len(values):  # a table of all codes is small: no need to sort
        key = rows * span + values
        size = np.bincount(key, minlength=span * codes.n_rows)
        present = np.flatnonzero(size)
        number = np.cumsum(size > 0) - 1
        return _Groups(number[key], present // span, size[present])
    unique, inverse, size = np.unique(rows * span + values, return_inverse=True, return_counts=True)
    return _Groups(inverse, unique // max(span, 1), size)


def _refines(fine: _Groups, coarse: _Groups) -> bool:
    """Whether each group of `fine` lies in one group of `coarse`."""
    owner = np.empty(len(fine.size), dtype=np.int64)
    owner[fine.of_sample] = coarse.of_sample
    return bool((owner[fine.of_sample] == coarse.of_sample).all())


def _log_sum(terms: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """ln Σ exp of each group, -inf for an empty one."""
    top = np.full(n_groups, -np.inf)
    np.maximum.at(top, group, terms)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.bincount(group, np.exp(terms - top[group]), n_groups)) + top)


def _renamed(found: EntropyEstimates, method: str) -> EntropyEstimates:
    return replace(found, method=method)
