"""Tables larger than memory: a function over their batches, on this machine or on Ray."""

from statllm.engines.decontamination import FileDecontamination, decontaminate_file
from statllm.engines.deduplication import near_duplicates_file
from statllm.engines.job import Job, Work
from statllm.engines.run import run
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.engines.works import FileSelection, score_file, select_file

__all__ = [
    "EngineSettings",
    "FileDecontamination",
    "FileSelection",
    "Job",
    "Source",
    "Work",
    "decontaminate_file",
    "near_duplicates_file",
    "run",
    "score_file",
    "select_file",
]
