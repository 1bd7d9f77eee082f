"""Memorised data: membership at low false-positive rates, audits of privacy, unlearning."""

from statllm.estimators.privacy.accounting import (
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    renyi_epsilon,
    subsampled_renyi,
)
from statllm.estimators.privacy.audit import (
    epsilon_lower_bound,
    epsilon_of_one_run,
    mu_lower_bound,
)
from statllm.estimators.privacy.membership import MembershipRate, tpr_at_fpr
from statllm.estimators.privacy.unlearning import (
    forget_quality,
    model_utility,
    truth_ratio,
    truth_ratio_utility,
)

__all__ = [
    "MembershipRate",
    "epsilon_lower_bound",
    "epsilon_of_one_run",
    "forget_quality",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_mu",
    "model_utility",
    "mu_lower_bound",
    "renyi_epsilon",
    "subsampled_renyi",
    "tpr_at_fpr",
    "truth_ratio",
    "truth_ratio_utility",
]
