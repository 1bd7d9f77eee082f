"""Does a model treat groups alike? Gaps with intervals, over prompts as the random sample."""

from statllm.estimators.fairness.association import WordAssociation, word_association
from statllm.estimators.fairness.counterfactual import counterfactual_gap
from statllm.estimators.fairness.gaps import GroupGap, odds_gap, parity_gap

__all__ = [
    "GroupGap",
    "WordAssociation",
    "counterfactual_gap",
    "odds_gap",
    "parity_gap",
    "word_association",
]
