"""Items against repeats: how to spend a budget of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from statllm.estimators._arrays import whole

_TRIED = 100_000  # repeats, one by one; above them only some about the best in real numbers


@dataclass(frozen=True)
class Allocation:
    """How many items, and how often each.

    Attributes
    ----------
    items, repeats : int
    se : float
        Standard error of the mean.
    cost : float
    """

    items: int
    repeats: int
    se: float
    cost: float


def allocate(
    item_variance: float,
    sample_variance: float,
    budget: float,
    item_cost: float = 0.0,
    sample_cost: float = 1.0,
    most_items: int | None = None,
) -> Allocation:
    """Choose items and repeats for the smallest standard error of the mean.

    Var(mean) = item_variance / n + sample_variance / (n k) at the cost n (item_cost + k
    sample_cost). Without a cost of items, or enough items, k = 1 is best: a new item is worth more
    than a repeat. With one, k = sqrt(item_cost / sample_cost * sample_variance / item_variance)
    (Cochran 1977, section 10.6); all whole numbers are tried, since few spend the budget evenly.
    Where there are only `most_items`, what is left buys repeats.

    Parameters
    ----------
    item_variance, sample_variance : float
        Between items, and between samples of one item, for example of `variance_components` or
        `paired` differences of them.
    budget : float
    item_cost, sample_cost : float
        Of writing or labelling an item, and of one sample of it.
    most_items : int, optional

    Raises
    ------
    ValueError
        If a variance or cost is negative, or the budget doesn't pay for one sample of one item.

    Examples
    --------
    >>> allocate(0.1, 0.1, budget=1000)
    Allocation(items=1000, repeats=1, se=0.0141..., cost=1000.0)
    >>> allocate(0.1, 0.1, budget=1000, most_items=200).repeats
    5
    >>> allocate(0.1, 0.1, budget=1000, item_cost=9).repeats
    3
    """
    for name, value in (
        ("item_variance", item_variance),
        ("sample_variance", sample_variance),
        ("item_cost", item_cost),
    ):
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be at least 0, not {value}")
    if not sample_cost > 0:
        raise ValueError(f"sample_cost must be positive, not {sample_cost}")
    if not (math.isfinite(budget) and budget >= item_cost + sample_cost):
        raise ValueError(f"a budget of {budget} doesn't pay for one sample of one item")
    most = math.inf if most_items is None else whole(most_items, "most_items", 1)
    longest = max(int((budget - item_cost) // sample_cost), 1)
    ideal = (
        math.sqrt(item_cost / sample_cost * sample_variance / item_variance)
        if item_variance
        else float(longest)
    )
    # The repeats that use the budget up on all items there are, where those are few.
    filled = (budget / most - item_cost) / sample_cost if math.isfinite(most) else 1.0
    near = {longest, *range(1, min(longest, _TRIED) + 1)}
    for centre in (ideal, filled):
        near.update(range(max(int(centre) - 3, 1), min(int(centre) + 4, longest) + 1))
    k = np.array(sorted(near), np.float64)
    n = np.minimum(budget // (item_cost + k * sample_cost), most)
    k, n = k[n >= 1], n[n >= 1]
    se = np.sqrt(item_variance / n + sample_variance / (n * k))
    cost = n * (item_cost + k * sample_cost)
    best = int(np.lexsort((cost, se))[0])
    return Allocation(int(n[best]), int(k[best]), float(se[best]), float(cost[best]))
