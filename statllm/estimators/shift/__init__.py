"""Has the distribution of prompts, embeddings or scores changed?"""

from statllm.estimators.shift.classifier import classifier_test
from statllm.estimators.shift.drift import drift_monitor
from statllm.estimators.shift.independence import hsic_test
from statllm.estimators.shift.two_sample import energy_test, mmd_test

__all__ = ["classifier_test", "drift_monitor", "energy_test", "hsic_test", "mmd_test"]
