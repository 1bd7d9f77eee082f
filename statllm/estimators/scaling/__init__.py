"""Accuracy against the number of examples: fits with intervals, compared between data sets."""

from statllm.estimators.scaling.fit import (
    ScalingFit,
    curvature,
    scaling_difference,
    scaling_fit,
)
from statllm.estimators.scaling.reported import ReportedTrend, reported_trend

__all__ = [
    "ReportedTrend",
    "ScalingFit",
    "curvature",
    "reported_trend",
    "scaling_difference",
    "scaling_fit",
]
