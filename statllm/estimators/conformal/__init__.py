"""Conformal prediction: sets, p-values, risk control, selection and abstention."""

from statllm.estimators.conformal.abstention import (
    FactTest,
    fact_test,
)
from statllm.estimators.conformal.conditional import (
    ConditionalFactuality,
    conditional_factuality,
    conditional_threshold,
)
from statllm.estimators.conformal.factuality import (
    FactualityThreshold,
    conformal_factuality,
)
from statllm.estimators.conformal.generation import (
    GenerationRule,
    conformal_generation,
)
from statllm.estimators.conformal.law import CoverageLaw, conformal_quantile
from statllm.estimators.conformal.p_values import (
    conformal_p_values,
)
from statllm.estimators.conformal.risk import (
    RiskControl,
    conformal_risk_control,
)
from statllm.estimators.conformal.selection import (
    ConformalSelection,
    conformal_selection,
)
from statllm.estimators.conformal.sets import PredictionSets, prediction_sets

__all__ = [
    "ConditionalFactuality",
    "ConformalSelection",
    "CoverageLaw",
    "FactTest",
    "FactualityThreshold",
    "GenerationRule",
    "PredictionSets",
    "RiskControl",
    "conditional_factuality",
    "conditional_threshold",
    "conformal_factuality",
    "conformal_generation",
    "conformal_p_values",
    "conformal_quantile",
    "conformal_risk_control",
    "conformal_selection",
    "fact_test",
    "prediction_sets",
]
