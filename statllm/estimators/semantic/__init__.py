"""Uncertainty from several answers to a prompt: clusters, graphs, embeddings, texts."""

from statllm.estimators.semantic.claim_graph import (
    ClaimCentrality,
    claim_centrality,
)
from statllm.estimators.semantic.claims import (
    ClaimSupport,
    claim_support,
    consistency,
)
from statllm.estimators.semantic.clusters import (
    n_semantic_sets,
    nli_relation,
    semantic_clusters,
)
from statllm.estimators.semantic.embeddings import (
    bert_score,
    cosine_similarity,
    eigenscore,
    predictive_kernel_entropy,
)
from statllm.estimators.semantic.entropy import (
    semantic_entropy,
)
from statllm.estimators.semantic.graph import (
    DegreeUncertainty,
    degree_uncertainty,
    eccentricity,
    eigenvalue_uncertainty,
    nli_similarity,
)
from statllm.estimators.semantic.kernel_entropy import (
    kernel_language_entropy,
)
from statllm.estimators.semantic.lexical import (
    lexical_similarity,
    text_similarity,
)
from statllm.estimators.semantic.pairwise import (
    Pairwise,
)
from statllm.estimators.semantic.relevance import (
    luq,
    semantic_density,
    sentence_sar,
)

__all__ = [
    "ClaimCentrality",
    "ClaimSupport",
    "DegreeUncertainty",
    "Pairwise",
    "bert_score",
    "claim_centrality",
    "claim_support",
    "consistency",
    "cosine_similarity",
    "degree_uncertainty",
    "eccentricity",
    "eigenscore",
    "eigenvalue_uncertainty",
    "kernel_language_entropy",
    "lexical_similarity",
    "luq",
    "n_semantic_sets",
    "nli_relation",
    "nli_similarity",
    "predictive_kernel_entropy",
    "semantic_clusters",
    "semantic_density",
    "semantic_entropy",
    "sentence_sar",
    "text_similarity",
]
