"""Statistics of samples and scores: pure functions of arrays."""

from statllm.estimators.average_precision import average_precision
from statllm.estimators.calibration import (
    calibration_error,
    classwise_calibration_error,
    debiased_squared_calibration_error,
    top_label,
)
from statllm.estimators.calibration_adaptive import t_cal
from statllm.estimators.calibration_cumulative import (
    cumulative_differences,
    kolmogorov_smirnov_calibration,
    kuiper_calibration,
)
from statllm.estimators.calibration_kernel import kernel_calibration_error, kernel_calibration_test
from statllm.estimators.calibration_monitor import CalibrationMonitor, safe_hosmer_lemeshow
from statllm.estimators.calibration_smooth import smooth_calibration_error
from statllm.estimators.calibration_tests import CoxCalibration, cox, hosmer_lemeshow, spiegelhalter
from statllm.estimators.calibrators import Beta, Platt, Temperature
from statllm.estimators.comparison import mcnemar, mean_estimate, paired_difference, ratio_estimate
from statllm.estimators.conformal import (
    CoverageLaw,
    PredictionSets,
    conformal_quantile,
    prediction_sets,
)
from statllm.estimators.conformal_abstention import FactTest, fact_test
from statllm.estimators.conformal_factuality import FactualityThreshold, conformal_factuality
from statllm.estimators.conformal_generation import GenerationRule, conformal_generation
from statllm.estimators.conformal_pvalues import conformal_p_values
from statllm.estimators.conformal_risk import RiskControl, conformal_risk_control
from statllm.estimators.conformal_selection import ConformalSelection, conformal_selection
from statllm.estimators.coverage_curve import CoverageCurve, coverage_curve
from statllm.estimators.cross_fitting import (
    CalibrationReport,
    CrossFit,
    calibration_report,
    cross_fit,
)
from statllm.estimators.embedding_scores import cosine_similarity, eigenscore
from statllm.estimators.entropy import EntropyEstimates, entropy, vote_entropy
from statllm.estimators.lexical import lexical_similarity, text_similarity
from statllm.estimators.likelihood import (
    LikelihoodScores,
    cocoa,
    conditional_pmi,
    likelihood_scores,
    mars,
    pointwise_mutual_information,
    token_sar,
)
from statllm.estimators.nonparametric_calibrators import Histogram, Isotonic
from statllm.estimators.pairwise import Pairwise
from statllm.estimators.predictive_entropy import PredictiveEntropy, predictive_entropy
from statllm.estimators.proper_scores import (
    ScoreDecomposition,
    brier_score,
    corp_decomposition,
    log_score,
)
from statllm.estimators.proportions import clopper_pearson, goodman, jeffreys, proportion, wilson
from statllm.estimators.raters import RaterNoise, rater_noise
from statllm.estimators.rejection import Rejection, prr, rejection
from statllm.estimators.relevance import luq, semantic_density, sentence_sar
from statllm.estimators.reliability import (
    IsotonicCurve,
    ReliabilityCurve,
    isotonic_reliability,
    reliability_curve,
)
from statllm.estimators.rewards import RewardSummary, reward_summary
from statllm.estimators.risk_bounds import (
    betting_p_value,
    betting_upper_bound,
    risk_p_value,
    risk_upper_bound,
)
from statllm.estimators.risk_control import (
    LearnThenTest,
    SelectiveThreshold,
    learn_then_test,
    rcps_threshold,
    reject_familywise,
    selective_threshold,
)
from statllm.estimators.risk_coverage import auarc, augrc, aurc, e_aurc
from statllm.estimators.selective import auroc, auroc_difference, delong_test
from statllm.estimators.semantic import semantic_entropy
from statllm.estimators.semantic_clusters import n_semantic_sets, nli_relation, semantic_clusters
from statllm.estimators.similarity_graph import (
    DegreeUncertainty,
    degree_uncertainty,
    eccentricity,
    eigenvalue_uncertainty,
    kernel_language_entropy,
    nli_similarity,
)
from statllm.estimators.stopping import (
    AnswerStream,
    Decision,
    StoppingSimulation,
    simulate_stopping,
)
from statllm.estimators.token_entropy import (
    renyi_divergence,
    renyi_entropy,
    self_certainty,
    token_entropy,
)
from statllm.estimators.top_k_entropy import (
    EntropyBounds,
    probability_margin,
    renormalised_entropy,
    top_k_entropy,
    uqlm_negentropy,
)
from statllm.estimators.venn_abers import VennAbers
from statllm.estimators.verbalised import (
    VerbalisedConfidence,
    p_true,
    p_true_uqlm,
    parse_confidence,
    self_score,
)
from statllm.estimators.votes import VoteTable, majority_correct, vote_counts

__all__ = [
    "AnswerStream",
    "Beta",
    "CalibrationMonitor",
    "CalibrationReport",
    "ConformalSelection",
    "CoverageCurve",
    "CoverageLaw",
    "CoxCalibration",
    "CrossFit",
    "Decision",
    "DegreeUncertainty",
    "EntropyBounds",
    "EntropyEstimates",
    "FactTest",
    "FactualityThreshold",
    "GenerationRule",
    "Histogram",
    "Isotonic",
    "IsotonicCurve",
    "LearnThenTest",
    "LikelihoodScores",
    "Pairwise",
    "Platt",
    "PredictionSets",
    "PredictiveEntropy",
    "RaterNoise",
    "Rejection",
    "ReliabilityCurve",
    "RewardSummary",
    "RiskControl",
    "ScoreDecomposition",
    "SelectiveThreshold",
    "StoppingSimulation",
    "Temperature",
    "VennAbers",
    "VerbalisedConfidence",
    "VoteTable",
    "auarc",
    "augrc",
    "aurc",
    "auroc",
    "auroc_difference",
    "average_precision",
    "betting_p_value",
    "betting_upper_bound",
    "brier_score",
    "calibration_error",
    "calibration_report",
    "classwise_calibration_error",
    "clopper_pearson",
    "cocoa",
    "conditional_pmi",
    "conformal_factuality",
    "conformal_generation",
    "conformal_p_values",
    "conformal_quantile",
    "conformal_risk_control",
    "conformal_selection",
    "corp_decomposition",
    "cosine_similarity",
    "coverage_curve",
    "cox",
    "cross_fit",
    "cumulative_differences",
    "debiased_squared_calibration_error",
    "degree_uncertainty",
    "delong_test",
    "e_aurc",
    "eccentricity",
    "eigenscore",
    "eigenvalue_uncertainty",
    "entropy",
    "fact_test",
    "goodman",
    "hosmer_lemeshow",
    "isotonic_reliability",
    "jeffreys",
    "kernel_calibration_error",
    "kernel_calibration_test",
    "kernel_language_entropy",
    "kolmogorov_smirnov_calibration",
    "kuiper_calibration",
    "learn_then_test",
    "lexical_similarity",
    "likelihood_scores",
    "log_score",
    "luq",
    "majority_correct",
    "mars",
    "mcnemar",
    "mean_estimate",
    "n_semantic_sets",
    "nli_relation",
    "nli_similarity",
    "p_true",
    "p_true_uqlm",
    "paired_difference",
    "parse_confidence",
    "pointwise_mutual_information",
    "prediction_sets",
    "predictive_entropy",
    "probability_margin",
    "proportion",
    "prr",
    "rater_noise",
    "ratio_estimate",
    "rcps_threshold",
    "reject_familywise",
    "rejection",
    "reliability_curve",
    "renormalised_entropy",
    "renyi_divergence",
    "renyi_entropy",
    "reward_summary",
    "risk_p_value",
    "risk_upper_bound",
    "safe_hosmer_lemeshow",
    "selective_threshold",
    "self_certainty",
    "self_score",
    "semantic_clusters",
    "semantic_density",
    "semantic_entropy",
    "sentence_sar",
    "simulate_stopping",
    "smooth_calibration_error",
    "spiegelhalter",
    "t_cal",
    "text_similarity",
    "token_entropy",
    "token_sar",
    "top_k_entropy",
    "top_label",
    "uqlm_negentropy",
    "vote_counts",
    "vote_entropy",
    "wilson",
]
