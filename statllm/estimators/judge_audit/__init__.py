"""Can a judge be believed? Position, length and self-preference, repeats, humans, correction."""

from statllm.estimators.judge_audit.audit import JudgeAudit, adjusted, audit_judge, correction
from statllm.estimators.judge_audit.findings import Finding
from statllm.estimators.judge_audit.length import LengthCurve, length_bias, length_curve
from statllm.estimators.judge_audit.position import position_bias
from statllm.estimators.judge_audit.preference import (
    human_agreement,
    repeat_consistency,
    self_preference,
)
from statllm.estimators.judge_audit.swaps import SwapAudit, audit_swaps
from statllm.estimators.judge_audit.verdicts import Pairs, Verdicts, by_pair

__all__ = [
    "Finding",
    "JudgeAudit",
    "LengthCurve",
    "Pairs",
    "SwapAudit",
    "Verdicts",
    "adjusted",
    "audit_judge",
    "audit_swaps",
    "by_pair",
    "correction",
    "human_agreement",
    "length_bias",
    "length_curve",
    "position_bias",
    "repeat_consistency",
    "self_preference",
]
