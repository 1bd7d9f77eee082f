"""Language models as judges: what they are asked, what they said, and whether it can be trusted."""

from statllm.estimators.judge_audit import SwapAudit, audit_swaps
from statllm.scoring.judges._steps import Judged
from statllm.scoring.judges.asking import JudgeModel, Question, ask
from statllm.scoring.judges.criteria import LAYERS, LayeredRates, layered_rates, read_criteria
from statllm.scoring.judges.judging import judge
from statllm.scoring.judges.pairwise import (
    CombinedVerdicts,
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
from statllm.scoring.judges.schedule import pairings
from statllm.scoring.judges.self_taught import SelfTaught, self_taught
from statllm.scoring.judges.settings import JudgeSettings, SelfTaughtSettings
from statllm.scoring.judges.verdicts import (
    REASONS,
    Verdicts,
    VerdictSummary,
    parse_pairwise,
    parse_scores,
)
from statllm.scoring.judges.within_limits import WithinLimits, judge_within_limits
from statllm.scoring.judges.yes_no import YesNoJudge

__all__ = [
    "LAYERS",
    "REASONS",
    "CombinedVerdicts",
    "JudgeModel",
    "JudgeSettings",
    "JudgeTemplate",
    "Judged",
    "LayeredRates",
    "Question",
    "SelfTaught",
    "SelfTaughtSettings",
    "SwapAudit",
    "VerdictSummary",
    "Verdicts",
    "WithinLimits",
    "YesNoJudge",
    "ask",
    "audit_swaps",
    "battle_matrix",
    "combine_orders",
    "first_place_share",
    "first_place_test",
    "judge",
    "judge_within_limits",
    "layered_rates",
    "load_template",
    "pairings",
    "pairwise_prompts",
    "parse_pairwise",
    "parse_scores",
    "pointwise_prompts",
    "read_criteria",
    "read_verdicts",
    "self_taught",
    "template_names",
]
