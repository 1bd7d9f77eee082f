"""Bootstrap and permutation: collapsed to counts where scores are discrete, in bounded memory."""

from statllm.estimators.resampling.bootstrap import (
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_quantile,
    bootstrap_ratio,
    bootstrap_statistic,
)
from statllm.estimators.resampling.permutation import permutation_test, sign_flip_test
from statllm.estimators.resampling.result import Bootstrap

__all__ = [
    "Bootstrap",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_quantile",
    "bootstrap_ratio",
    "bootstrap_statistic",
    "permutation_test",
    "sign_flip_test",
]
