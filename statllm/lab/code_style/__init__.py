"""A small world of Python style: snippets, injected violations, exact checks, remedies."""

from statllm.lab.code_style.checks import Verdict, check
from statllm.lab.code_style.criteria import BY_NAME, CRITERIA, StyleCriterion
from statllm.lab.code_style.houses import House, house, true_findings
from statllm.lab.code_style.mutations import can_inject, inject
from statllm.lab.code_style.remedies import apply, covers, helps
from statllm.lab.code_style.snippets import snippet

__all__ = [
    "BY_NAME",
    "CRITERIA",
    "House",
    "StyleCriterion",
    "Verdict",
    "apply",
    "can_inject",
    "check",
    "covers",
    "helps",
    "house",
    "inject",
    "snippet",
    "true_findings",
]
