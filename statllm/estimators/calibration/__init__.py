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
    hosmer_lemeshow,
    spiegelhalter,
)
from statllm.estimators.calibration.corp import (
    ScoreDecomposition,
    corp_decomposition,
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
    brier_score,
    log_score,
)
from statllm.estimators.calibration.recalibration import (
    CoxCalibration,
    cox,
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
from statllm.estimators.calibration.top_k import (
    top_k_calibration_error,
)
from statllm.estimators.calibration.variants import (
    adaptive_calibration_error,
    sweep_calibration_error,
)

__all__ = [
    "CalibrationMonitor",
    "CoxCalibration",
    "IsotonicCurve",
    "ReliabilityCurve",
    "ScoreDecomposition",
    "adaptive_calibration_error",
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
    "sweep_calibration_error",
    "t_cal",
    "top_k_calibration_error",
    "top_label",
]
