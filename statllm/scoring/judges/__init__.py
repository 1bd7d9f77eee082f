"""Language models as judges: what they are asked, what they said, and whether it can be trusted."""

from statllm.scoring.judges.pairwise import (
    CombinedVerdicts,
    SwapAudit,
    audit_swaps,
    battle_matrix,
    combine_orders,
    first_place_share,
    first_place_test,
)
from statllm.scoring.judges.prompts import (
    JudgeTemplate,
    load_template,
    pairwise_prompts,
    pointwise_prompts,
    read_verdicts,
    template_names,
)
from statllm.scoring.judges.verdicts import (
    REASONS,
    Verdicts,
    VerdictSummary,
    parse_pairwise,
    parse_scores,
)

__all__ = [
    "REASONS",
    "CombinedVerdicts",
    "JudgeTemplate",
    "SwapAudit",
    "VerdictSummary",
    "Verdicts",
    "audit_swaps",
    "battle_matrix",
    "combine_orders",
    "first_place_share",
    "first_place_test",
    "load_template",
    "pairwise_prompts",
    "parse_pairwise",
    "parse_scores",
    "pointwise_prompts",
    "read_verdicts",
    "template_names",
]
