"""Is a response like those that the model was trained on? Distances in the space of embeddings."""

from statllm.estimators.density.gaussian import (
    DensityScores,
    ledoit_wolf,
    mahalanobis_distance,
    relative_mahalanobis_distance,
    token_mahalanobis_distance,
)
from statllm.estimators.density.hybrid import (
    huq,
    mean_rank,
)
from statllm.estimators.density.robust import (
    minimum_covariance_determinant,
    robust_density,
)

__all__ = [
    "DensityScores",
    "huq",
    "ledoit_wolf",
    "mahalanobis_distance",
    "mean_rank",
    "minimum_covariance_determinant",
    "relative_mahalanobis_distance",
    "robust_density",
    "token_mahalanobis_distance",
]
