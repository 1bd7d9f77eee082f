"""Feedback by criteria (LLMCrit): guidelines, what is asked, what was said, whether it's true."""

from statllm.scoring.criteria.answers import ReadAnswers, quote_sources, read_answers
from statllm.scoring.criteria.demos import KINDS, kind_of, make_demonstrations
from statllm.scoring.criteria.derive import Derived, derive_prompts, read_derived
from statllm.scoring.criteria.evaluate import (
    CriterionQuality,
    Evaluation,
    Truth,
    claim_layers,
    evaluate,
    read_truth,
)
from statllm.scoring.criteria.feedback import (
    GRANULARITIES,
    STRATEGIES,
    Scope,
    feedback_prompts,
    feedback_question,
    scopes,
)
from statllm.scoring.criteria.findings import Finding, format_findings, read_feedback
from statllm.scoring.criteria.parse import Criterion, format_criteria, parse_criteria
from statllm.scoring.criteria.rewards import criteria_rewards
from statllm.scoring.criteria.schema import (
    Aspect,
    Demonstration,
    Guideline,
    missing_headings,
    read_guideline,
    write_guideline,
)
from statllm.scoring.criteria.wording import CHAT, COMPLETION, WORDINGS, FeedbackWording

__all__ = [
    "CHAT",
    "COMPLETION",
    "GRANULARITIES",
    "KINDS",
    "STRATEGIES",
    "WORDINGS",
    "Aspect",
    "Criterion",
    "CriterionQuality",
    "Demonstration",
    "Derived",
    "Evaluation",
    "FeedbackWording",
    "Finding",
    "Guideline",
    "ReadAnswers",
    "Scope",
    "Truth",
    "claim_layers",
    "criteria_rewards",
    "derive_prompts",
    "evaluate",
    "feedback_prompts",
    "feedback_question",
    "format_criteria",
    "format_findings",
    "kind_of",
    "make_demonstrations",
    "missing_headings",
    "parse_criteria",
    "quote_sources",
    "read_answers",
    "read_derived",
    "read_feedback",
    "read_guideline",
    "read_truth",
    "scopes",
    "write_guideline",
]
