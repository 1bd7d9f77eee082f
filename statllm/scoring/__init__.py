"""What turns a response into an answer, a verdict and numbers."""

from statllm.scoring.answers import AnswerRule, extract, extract_column
from statllm.scoring.canonical import canonical, canonical_column
from statllm.scoring.embeddings import embed
from statllm.scoring.equivalence import Equivalence, equivalent, merge_equivalent
from statllm.scoring.nli import nli_logits
from statllm.scoring.reward_models import RewardModel, add_rewards
from statllm.scoring.score import score
from statllm.scoring.settings import ScoringSettings
from statllm.scoring.verifier import verify

__all__ = [
    "AnswerRule",
    "Equivalence",
    "RewardModel",
    "ScoringSettings",
    "add_rewards",
    "canonical",
    "canonical_column",
    "embed",
    "equivalent",
    "extract",
    "extract_column",
    "merge_equivalent",
    "nli_logits",
    "score",
    "verify",
]
