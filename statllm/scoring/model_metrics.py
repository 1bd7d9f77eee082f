"""Uncertainty metrics that need a model of meaning: NLI or embeddings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from statllm.estimators.semantic import (
    degree_uncertainty,
    eccentricity,
    eigenscore,
    eigenvalue_uncertainty,
    kernel_language_entropy,
    luq,
    n_semantic_sets,
    semantic_density,
    semantic_entropy,
    sentence_sar,
)
from statllm.estimators.semantic.clusters import ClusterMethod
from statllm.ragged import FloatArray, Ragged
from statllm.scoring._samples import Metric, Samples, semantic_variant, variant_needs


def _corrected(clusters: Ragged) -> FloatArray:
    return semantic_entropy(clusters).value


def _n_sets(clusters: Ragged) -> FloatArray:
    return np.where(clusters.lengths > 0, n_semantic_sets(clusters).astype(np.float64), np.nan)


def _luq(samples: Samples) -> FloatArray:
    contradiction, entailment = (samples.nli.with_values(samples.nli.values[:, c]) for c in (0, 2))
    return luq(entailment, contradiction)


def _density_complement(samples: Samples) -> FloatArray:
    lp, tokens = samples.numbers("logprob"), samples.numbers("n_tokens")
    density = semantic_density(lp, tokens, samples.agreement).mean()
    return np.where(samples.lengths > 1, 1 - density, np.nan)  # a lone sample is no evidence


def _cosine_dissimilarity(samples: Samples) -> FloatArray:
    halved = samples.cosines.with_values((1 + samples.cosines.values) / 2)  # degrees: from 0 to 1
    return 2 * degree_uncertainty(halved).value


# How those who published a score also cluster: which pairs mean the same, and the algorithm.
_PUBLISHED_CLUSTERS: Mapping[str, tuple[str, ClusterMethod]] = {
    "likelihood": ("strict", "components"),
    "jlko": ("jlko", "jlko"),
    "lorenzkuhn": ("lorenzkuhn", "lorenzkuhn"),
    "uq_nlg": ("uq_nlg", "lorenzkuhn"),
    "lm_polygraph": ("strict", "greedy"),
}


def _published_nli(kind: str) -> Metric:
    rule, method = _PUBLISHED_CLUSTERS[kind]
    return Metric(
        variant_needs(kind, "response"),
        lambda s: semantic_variant(kind, s, lambda samples: samples.nli_clusters(rule, method)),
        "nats",
        f"the published variant '{kind}', clusters by NLI ({rule} pairs, {method})",
        "nli",
    )


#: Metrics of what an NLI model says about pairs of responses.
NLI_METRICS: Mapping[str, Metric] = {
    "semantic_entropy_nli": Metric(
        ("response",),
        lambda s: _corrected(s.nli_clusters()),
        "nats",
        "entropy of the clusters of responses that entail each other, bias-corrected",
        "nli",
    ),
    **{f"semantic_entropy_nli_{kind}": _published_nli(kind) for kind in _PUBLISHED_CLUSTERS},
    "n_semantic_sets_nli": Metric(
        ("response",),
        lambda s: _n_sets(s.nli_clusters()),
        "sets",
        "number of these clusters",
        "nli",
    ),
    "degree_nli": Metric(
        ("response",),
        lambda s: degree_uncertainty(s.entailment).value,
        "share",
        "mean of 1 - p(entailment) over pairs of responses",
        "nli",
    ),
    "eigenvalue_nli": Metric(
        ("response",),
        lambda s: eigenvalue_uncertainty(s.entailment),
        "sets",
        "EigV, a smooth number of sets, by p(entailment)",
        "nli",
    ),
    "eccentricity_nli": Metric(
        ("response",), lambda s: eccentricity(s.entailment), "", "Ecc, by p(entailment)", "nli"
    ),
    "kernel_language_entropy_nli": Metric(
        ("response",),
        lambda s: kernel_language_entropy(s.agreement),
        "",
        "heat kernel entropy by p(entailment) + p(neutral) / 2, 0 for equal responses to 1",
        "nli",
    ),
    "luq": Metric(
        ("response",), _luq, "share", "mean of p(contradiction) against p(entailment)", "nli"
    ),
    "semantic_density_complement": Metric(
        ("response", "logprob", "n_tokens"),
        _density_complement,
        "share",
        "1 - mean semantic density of the responses",
        "nli",
    ),
    "sentence_sar_nli": Metric(
        ("response", "logprob"),
        lambda s: sentence_sar(s.numbers("logprob"), s.entailment),
        "nats",
        "SentSAR with p(entailment) as similarity",
        "nli",
    ),
}

#: Metrics of the responses' embeddings.
EMBEDDING_METRICS: Mapping[str, Metric] = {
    "cosine_dissimilarity": Metric(
        ("response",),
        _cosine_dissimilarity,
        "",
        "1 - mean cosine of pairs of responses",
        "embedder",
    ),
    "semantic_entropy_embedding": Metric(
        ("response",),
        lambda s: _corrected(s.embedding_clusters()),
        "nats",
        "entropy of the clusters of near embeddings, bias-corrected",
        "embedder",
    ),
    "n_semantic_sets_embedding": Metric(
        ("response",),
        lambda s: _n_sets(s.embedding_clusters()),
        "sets",
        "number of these clusters",
        "embedder",
    ),
    "eigenscore": Metric(
        ("response",),
        lambda s: eigenscore(s.vectors, s.lengths),
        "nats",
        "EigenScore of the embeddings (published for the model's own hidden states)",
        "embedder",
    ),
    "sentence_sar": Metric(
        ("response", "logprob"),
        lambda s: sentence_sar(s.numbers("logprob"), s.alikeness),
        "nats",
        "SentSAR with the cosine, from 0, as similarity",
        "embedder",
    ),
}
