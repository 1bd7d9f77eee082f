"""The stages of an iteration; each reads files, writes files, and runs in its own process."""

from statllm.stages.problems import check_sources, load_problems, resolve_model
from statllm.stages.run_folder import STAGES, Run
from statllm.stages.running import adopt, execute, is_complete, main, stage_key

__all__ = [
    "STAGES",
    "Run",
    "adopt",
    "check_sources",
    "execute",
    "is_complete",
    "load_problems",
    "main",
    "resolve_model",
    "stage_key",
]
