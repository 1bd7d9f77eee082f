"""Where the variance of scores comes from: prompts, samples, judges, seeds.

`variance_components` splits it, by mean squares where the table is complete and by REML where it
isn't; the split says what more prompts, more samples or more judges would gain
(`statllm.estimators.power`).
"""

from statllm.estimators.variance_components.factors import Factors
from statllm.estimators.variance_components.moments import moments
from statllm.estimators.variance_components.reml import reml
from statllm.estimators.variance_components.split import VarianceSplit, variance_components

__all__ = ["Factors", "VarianceSplit", "moments", "reml", "variance_components"]
