"""Tables larger than memory: a function over their batches, on this machine or on Ray."""

from statllm.engines.job import Job, Work
from statllm.engines.run import run
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.engines.works import FileSelection, score_file, select_file

__all__ = [
    "EngineSettings",
    "FileSelection",
    "Job",
    "Source",
    "Work",
    "run",
    "score_file",
    "select_file",
]
