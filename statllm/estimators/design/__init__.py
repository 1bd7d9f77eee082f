"""One table of scores (item, model, sample, cluster, judge), read by every comparison."""

from statllm.estimators.design.compare import Comparison, compare, mean
from statllm.estimators.design.table import Design, Pairs

__all__ = ["Comparison", "Design", "Pairs", "compare", "mean"]
