"""Distillation of long solutions: which problems, which solutions, and what the student learned.

After O1 Journey, part 2 (Huang et al. 2024, arXiv 2411.16489): problems with a numerical answer,
their solutions rewritten step by step, a teacher's long chains kept where they are right, and
probes that ask whether the student became more or less easy to mislead.
"""

from statllm.distill.chains import CHAIN_REASONS, Chains, ChainSettings, keep_chains
from statllm.distill.filters import (
    FILTER_REASONS,
    FilteredProblems,
    ProblemFilters,
    filter_problems,
    numerical_answer,
)
from statllm.distill.probes import (
    PROBES,
    ProbeReport,
    ProbeSettings,
    compare_probe,
    probe_prompts,
    wrong_answer,
)
from statllm.distill.reformat import (
    REFORMAT_FAILURES,
    ReformatSettings,
    Reformatted,
    read_reformatted,
    reformat,
)

__all__ = [
    "CHAIN_REASONS",
    "FILTER_REASONS",
    "PROBES",
    "REFORMAT_FAILURES",
    "ChainSettings",
    "Chains",
    "FilteredProblems",
    "ProbeReport",
    "ProbeSettings",
    "ProblemFilters",
    "ReformatSettings",
    "Reformatted",
    "compare_probe",
    "filter_problems",
    "keep_chains",
    "numerical_answer",
    "probe_prompts",
    "read_reformatted",
    "reformat",
    "wrong_answer",
]
