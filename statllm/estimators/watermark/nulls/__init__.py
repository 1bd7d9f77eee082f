"""Laws of test statistics in texts that know nothing of a key: log P(S >= s), far into the tail."""

from statllm.estimators.watermark.nulls.bernoulli_sums import (
    poisson_binomial_log_tail,
    weighted_bernoulli_log_tail,
)
from statllm.estimators.watermark.nulls.binomial import binomial_log_tail
from statllm.estimators.watermark.nulls.exponential_sums import (
    hypoexponential_log_tail,
    two_gamma_log_tail,
)
from statllm.estimators.watermark.nulls.gamma import gamma_log_cdf, gamma_log_tail
from statllm.estimators.watermark.nulls.hypergeometric import (
    hypergeometric_log_tail,
    hypergeometric_sum_log_tail,
)
from statllm.estimators.watermark.nulls.lattice import lattice_log_tail, weighted_bits_log_tail
from statllm.estimators.watermark.nulls.optimal import optimal_log_tail, optimal_score

__all__ = [
    "binomial_log_tail",
    "gamma_log_cdf",
    "gamma_log_tail",
    "hypergeometric_log_tail",
    "hypergeometric_sum_log_tail",
    "hypoexponential_log_tail",
    "lattice_log_tail",
    "optimal_log_tail",
    "optimal_score",
    "poisson_binomial_log_tail",
    "two_gamma_log_tail",
    "weighted_bernoulli_log_tail",
    "weighted_bits_log_tail",
]
