"""Statistics of samples and scores: pure functions of arrays."""

from statllm.estimators.comparison import (
    mcnemar,
    mean_estimate,
    paired_difference,
    ratio_estimate,
)
from statllm.estimators.entropy import EntropyEstimates, entropy, vote_entropy
from statllm.estimators.proportions import (
    clopper_pearson,
    goodman,
    jeffreys,
    proportion,
    wilson,
)
from statllm.estimators.raters import RaterNoise, rater_noise
from statllm.estimators.rewards import RewardSummary, reward_summary
from statllm.estimators.selective import auroc
from statllm.estimators.votes import VoteTable, majority_correct, vote_counts

__all__ = [
    "EntropyEstimates",
    "RaterNoise",
    "RewardSummary",
    "VoteTable",
    "auroc",
    "clopper_pearson",
    "entropy",
    "goodman",
    "jeffreys",
    "majority_correct",
    "mcnemar",
    "mean_estimate",
    "paired_difference",
    "proportion",
    "rater_noise",
    "ratio_estimate",
    "reward_summary",
    "vote_counts",
    "vote_entropy",
    "wilson",
]
