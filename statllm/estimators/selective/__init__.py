"""Answering only when sure: ranking, risk against coverage, thresholds with a guarantee."""

from statllm.estimators.selective.auroc import (
    auroc,
    auroc_difference,
    delong_test,
)
from statllm.estimators.selective.average_precision import (
    average_precision,
)
from statllm.estimators.selective.coverage_curve import (
    CoverageCurve,
    coverage_curve,
)
from statllm.estimators.selective.rank_calibration import RankCalibration, rank_calibration_error
from statllm.estimators.selective.rank_correlation import (
    kendall,
    reversed_pairs_proportion,
    spearman,
)
from statllm.estimators.selective.rejection import (
    Rejection,
    prr,
    rejection,
)
from statllm.estimators.selective.risk_bounds import (
    betting_p_value,
    betting_upper_bound,
    risk_p_value,
    risk_upper_bound,
)
from statllm.estimators.selective.risk_control import (
    LearnThenTest,
    SelectiveThreshold,
    learn_then_test,
    rcps_threshold,
    reject_familywise,
    selective_threshold,
)
from statllm.estimators.selective.risk_coverage import (
    auarc,
    augrc,
    aurc,
    e_aurc,
)

__all__ = [
    "CoverageCurve",
    "LearnThenTest",
    "RankCalibration",
    "Rejection",
    "SelectiveThreshold",
    "auarc",
    "augrc",
    "aurc",
    "auroc",
    "auroc_difference",
    "average_precision",
    "betting_p_value",
    "betting_upper_bound",
    "coverage_curve",
    "delong_test",
    "e_aurc",
    "kendall",
    "learn_then_test",
    "prr",
    "rank_calibration_error",
    "rcps_threshold",
    "reject_familywise",
    "rejection",
    "reversed_pairs_proportion",
    "risk_p_value",
    "risk_upper_bound",
    "selective_threshold",
    "spearman",
]
