"""How hard, how diverse and how well answered a set of questions is, and two sets compared."""

from statllm.estimators.questions.clusters import (
    ClusterDiversity,
    cluster_diversity,
    spherical_kmeans,
)
from statllm.estimators.questions.compare import (
    SetComparison,
    compare_questions,
    homogeneity_test,
)
from statllm.estimators.questions.difficulty import QuestionDifficulty, question_difficulty
from statllm.estimators.questions.references import (
    BUCKETS,
    ReferenceBuckets,
    reference_buckets,
)

__all__ = [
    "BUCKETS",
    "ClusterDiversity",
    "QuestionDifficulty",
    "ReferenceBuckets",
    "SetComparison",
    "cluster_diversity",
    "compare_questions",
    "homogeneity_test",
    "question_difficulty",
    "reference_buckets",
    "spherical_kmeans",
]
