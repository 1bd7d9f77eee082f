"""Recipes side by side: arms, each trained with several seeds, compared on the same problems."""

from statllm.experiment.analysis import analyse
from statllm.experiment.run import run_experiment
from statllm.experiment.scores import Result, compare_scores
from statllm.experiment.script import run_study
from statllm.experiment.settings import Comparison, Experiment, read_experiment

__all__ = [
    "Comparison",
    "Experiment",
    "Result",
    "analyse",
    "compare_scores",
    "read_experiment",
    "run_experiment",
    "run_study",
]
