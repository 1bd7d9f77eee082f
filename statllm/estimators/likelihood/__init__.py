"""Uncertainty from log-probabilities, token distributions and stated confidence."""

from statllm.estimators.likelihood.predictive_entropy import (
    PredictiveEntropy,
    predictive_entropy,
)
from statllm.estimators.likelihood.sequence import (
    LikelihoodScores,
    cocoa,
    conditional_pmi,
    likelihood_scores,
    mars,
    pointwise_mutual_information,
    token_sar,
)
from statllm.estimators.likelihood.token_entropy import (
    renyi_divergence,
    renyi_entropy,
    self_certainty,
    token_entropy,
)
from statllm.estimators.likelihood.top_k import (
    EntropyBounds,
    probability_margin,
    renormalised_entropy,
    top_k_entropy,
    uqlm_negentropy,
)
from statllm.estimators.likelihood.verbalised import (
    VerbalisedConfidence,
    p_true,
    p_true_uqlm,
    parse_confidence,
    self_score,
)

__all__ = [
    "EntropyBounds",
    "LikelihoodScores",
    "PredictiveEntropy",
    "VerbalisedConfidence",
    "cocoa",
    "conditional_pmi",
    "likelihood_scores",
    "mars",
    "p_true",
    "p_true_uqlm",
    "parse_confidence",
    "pointwise_mutual_information",
    "predictive_entropy",
    "probability_margin",
    "renormalised_entropy",
    "renyi_divergence",
    "renyi_entropy",
    "self_certainty",
    "self_score",
    "token_entropy",
    "token_sar",
    "top_k_entropy",
    "uqlm_negentropy",
]
