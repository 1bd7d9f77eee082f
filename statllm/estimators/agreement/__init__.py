"""Agreement of raters, judges among them: coefficients with intervals that cover."""

from statllm.estimators.agreement._counts import (
    CategoryCounts,
    agreement_weights,
    category_counts,
)
from statllm.estimators.agreement.alpha import krippendorff_alpha
from statllm.estimators.agreement.icc import icc
from statllm.estimators.agreement.kappa import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac,
    percent_agreement,
)

__all__ = [
    "CategoryCounts",
    "agreement_weights",
    "category_counts",
    "cohen_kappa",
    "fleiss_kappa",
    "gwet_ac",
    "icc",
    "krippendorff_alpha",
    "percent_agreement",
]
