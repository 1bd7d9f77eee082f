"""Maps from a score to a calibrated probability, fitted out of sample."""

from statllm.estimators.calibrators.cross_fitting import (
    CalibrationReport,
    CrossFit,
    calibration_report,
    cross_fit,
)
from statllm.estimators.calibrators.multiclass import (
    Dirichlet,
    MatrixScaling,
    VectorScaling,
)
from statllm.estimators.calibrators.nonparametric import (
    BayesianBinning,
    Histogram,
    Isotonic,
)
from statllm.estimators.calibrators.parametric import (
    Beta,
    Platt,
    Temperature,
)
from statllm.estimators.calibrators.venn_abers import (
    VennAbers,
)

__all__ = [
    "BayesianBinning",
    "Beta",
    "CalibrationReport",
    "CrossFit",
    "Dirichlet",
    "Histogram",
    "Isotonic",
    "MatrixScaling",
    "Platt",
    "Temperature",
    "VectorScaling",
    "VennAbers",
    "calibration_report",
    "cross_fit",
]
