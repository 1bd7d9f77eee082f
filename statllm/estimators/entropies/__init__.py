"""Entropy of counts: estimators, their bias corrections and their variances."""

from statllm.estimators.entropies.estimate import (
    EntropyEstimates,
    entropy,
    vote_entropy,
)

__all__ = [
    "EntropyEstimates",
    "entropy",
    "vote_entropy",
]
