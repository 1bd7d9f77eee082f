"""Before an evaluation: how many prompts, how many repeats, what difference would be seen."""

from statllm.estimators.power.allocation import Allocation, allocate
from statllm.estimators.power.equivalence import (
    equivalence_power,
    non_inferiority_power,
)
from statllm.estimators.power.means import (
    design_effect,
    mean_power,
    minimum_detectable_effect,
    sample_size,
)
from statllm.estimators.power.paired_binary import (
    mcnemar_power,
    mcnemar_sample_size,
)

__all__ = [
    "Allocation",
    "allocate",
    "design_effect",
    "equivalence_power",
    "mcnemar_power",
    "mcnemar_sample_size",
    "mean_power",
    "minimum_detectable_effect",
    "non_inferiority_power",
    "sample_size",
]
