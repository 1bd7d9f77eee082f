"""How often k samples succeed: at least one, all of them, their majority, or the best by a reward.

Every function takes the samples of each task and returns what is expected of k of them, drawn
without replacement: an unbiased estimate from the n samples that there are. The tasks are the
random sample; repeated samples of one task aren't independent evidence.
"""

from statllm.estimators.passk.best import best_at_k
from statllm.estimators.passk.budget import accuracy_within_budget, tokens_at_k
from statllm.estimators.passk.counts import all_at_k, pass_at_k, success_counts
from statllm.estimators.passk.curve import Curve, curve
from statllm.estimators.passk.majority import majority_at_k

__all__ = [
    "Curve",
    "accuracy_within_budget",
    "all_at_k",
    "best_at_k",
    "curve",
    "majority_at_k",
    "pass_at_k",
    "success_counts",
    "tokens_at_k",
]
