"""What turns a response into an answer, a verdict and numbers."""

from statllm.scoring.answers import AnswerRule, extract, extract_column
from statllm.scoring.canonical import canonical, canonical_column
from statllm.scoring.equivalence import Equivalence, equivalent, merge_equivalent
from statllm.scoring.score import score
from statllm.scoring.settings import ScoringSettings
from statllm.scoring.verifier import verify

__all__ = [
    "AnswerRule",
    "Equivalence",
    "ScoringSettings",
    "canonical",
    "canonical_column",
    "equivalent",
    "extract",
    "extract_column",
    "merge_equivalent",
    "score",
    "verify",
]
