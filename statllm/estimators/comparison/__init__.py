"""Means, ratios, differences and quantiles of scores, their errors, and tests of them."""

from statllm.estimators.comparison.binary import cochran_q, mcnemar, sign_test
from statllm.estimators.comparison.crossed import crossed_mean
from statllm.estimators.comparison.groups import macro_mean, size_weighted_mean
from statllm.estimators.comparison.means import (
    mean_estimate,
    paired_difference,
    ratio_estimate,
    unpaired_difference,
)
from statllm.estimators.comparison.quantiles import median_difference, quantile_estimate
from statllm.estimators.comparison.signed_rank import signed_rank
from statllm.estimators.comparison.t_tests import (
    TEstimate,
    equivalence,
    non_inferiority,
    t_estimate,
    t_test,
)
from statllm.estimators.comparison.two_way import two_way_mean

__all__ = [
    "TEstimate",
    "cochran_q",
    "crossed_mean",
    "equivalence",
    "macro_mean",
    "mcnemar",
    "mean_estimate",
    "median_difference",
    "non_inferiority",
    "paired_difference",
    "quantile_estimate",
    "ratio_estimate",
    "sign_test",
    "signed_rank",
    "size_weighted_mean",
    "t_estimate",
    "t_test",
    "two_way_mean",
    "unpaired_difference",
]
