"""Does a stated confidence mean what it says: errors, scores, curves and tests."""

from statllm.estimators.calibration.adaptive import (
    t_cal,
)
from statllm.estimators.calibration.binned import (
    calibration_error,
    classwise_calibration_error,
    debiased_squared_calibration_error,
    top_label,
)
from statllm.estimators.calibration.classical import (
    CoxCalibration,
    cox,
    hosmer_lemeshow,
    spiegelhalter,
)
from statllm.estimators.calibration.cumulative import (
    cumulative_differences,
    kolmogorov_smirnov_calibration,
    kuiper_calibration,
)
from statllm.estimators.calibration.kernel import (
    kernel_calibration_error,
    kernel_calibration_test,
)
from statllm.estimators.calibration.monitor import (
    CalibrationMonitor,
    safe_hosmer_lemeshow,
)
from statllm.estimators.calibration.proper_scores import (
    ScoreDecomposition,
    brier_score,
    corp_decomposition,
    log_score,
)
from statllm.estimators.calibration.reliability import (
    IsotonicCurve,
    ReliabilityCurve,
    isotonic_reliability,
    reliability_curve,
)
from statllm.estimators.calibration.smooth import (
    smooth_calibration_error,
)

__all__ = [
    "CalibrationMonitor",
    "CoxCalibration",
    "IsotonicCurve",
    "ReliabilityCurve",
    "ScoreDecomposition",
    "brier_score",
    "calibration_error",
    "classwise_calibration_error",
    "corp_decomposition",
    "cox",
    "cumulative_differences",
    "debiased_squared_calibration_error",
    "hosmer_lemeshow",
    "isotonic_reliability",
    "kernel_calibration_error",
    "kernel_calibration_test",
    "kolmogorov_smirnov_calibration",
    "kuiper_calibration",
    "log_score",
    "reliability_curve",
    "safe_hosmer_lemeshow",
    "smooth_calibration_error",
    "spiegelhalter",
    "t_cal",
    "top_label",
]
