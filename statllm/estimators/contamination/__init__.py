"""Provenance from log-probabilities: was a model trained on this text, in this order?"""

from statllm.estimators.contamination.conformal_membership import (
    Membership,
    length_bins,
    membership,
    membership_test,
)
from statllm.estimators.contamination.dataset_inference import (
    DatasetInference,
    combine_p_values,
    dataset_inference_by_size,
    dataset_inference_splits,
    dataset_inference_test,
)
from statllm.estimators.contamination.exchangeability import (
    exchangeability_test,
    shard_e_process,
    shard_ranks,
)
from statllm.estimators.contamination.min_k import (
    curvature,
    mean_log_p,
    min_k_percent,
    min_k_plus_plus,
    reference_ratio,
    zlib_ratio,
)

__all__ = [
    "DatasetInference",
    "Membership",
    "combine_p_values",
    "curvature",
    "dataset_inference_by_size",
    "dataset_inference_splits",
    "dataset_inference_test",
    "exchangeability_test",
    "length_bins",
    "mean_log_p",
    "membership",
    "membership_test",
    "min_k_percent",
    "min_k_plus_plus",
    "reference_ratio",
    "shard_e_process",
    "shard_ranks",
    "zlib_ratio",
]
