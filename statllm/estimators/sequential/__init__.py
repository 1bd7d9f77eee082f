"""Monitoring: intervals and tests that hold at every look, however often one looks.

A confidence interval made for n rows is wrong if one looks after each of them and stops when it
pleases. A confidence sequence holds at all times together, and an e-process is evidence that may
be read, and the evaluation stopped, at any time.
"""

from statllm.estimators.sequential.asymptotic import asymptotic_mean
from statllm.estimators.sequential.betting import betting_mean, betting_test
from statllm.estimators.sequential.binary import bernoulli_mean, sequential_mcnemar
from statllm.estimators.sequential.paths import ConfidenceSequence, Evidence

__all__ = [
    "ConfidenceSequence",
    "Evidence",
    "asymptotic_mean",
    "bernoulli_mean",
    "betting_mean",
    "betting_test",
    "sequential_mcnemar",
]
