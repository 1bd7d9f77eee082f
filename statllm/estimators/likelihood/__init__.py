"""Uncertainty from log-probabilities, token distributions and stated confidence."""

from statllm.estimators.likelihood.attention import (
    attention_score,
    contextualised_likelihood,
    focus,
    rauq,
)
from statllm.estimators.likelihood.claims import (
    claim_conditioned_probability,
    claim_tokens,
)
from statllm.estimators.likelihood.distances import (
    boosted_probability,
    fisher_rao,
    semantic_token_entropy,
    tsallis_entropy,
)
from statllm.estimators.likelihood.ensembles import (
    SequenceEnsemble,
    TokenEnsemble,
    sequence_ensemble,
    token_ensemble,
)
from statllm.estimators.likelihood.predictive_entropy import (
    PredictiveEntropy,
    predictive_entropy,
    sequence_tsallis,
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
from statllm.estimators.likelihood.windows import (
    group_confidence,
    token_confidence,
)

__all__ = [
    "EntropyBounds",
    "LikelihoodScores",
    "PredictiveEntropy",
    "SequenceEnsemble",
    "TokenEnsemble",
    "VerbalisedConfidence",
    "attention_score",
    "boosted_probability",
    "claim_conditioned_probability",
    "claim_tokens",
    "cocoa",
    "conditional_pmi",
    "contextualised_likelihood",
    "fisher_rao",
    "focus",
    "group_confidence",
    "likelihood_scores",
    "mars",
    "p_true",
    "p_true_uqlm",
    "parse_confidence",
    "pointwise_mutual_information",
    "predictive_entropy",
    "probability_margin",
    "rauq",
    "renormalised_entropy",
    "renyi_divergence",
    "renyi_entropy",
    "self_certainty",
    "self_score",
    "semantic_token_entropy",
    "sequence_ensemble",
    "sequence_tsallis",
    "token_confidence",
    "token_ensemble",
    "token_entropy",
    "token_sar",
    "top_k_entropy",
    "tsallis_entropy",
    "uqlm_negentropy",
]
