"""How many hypotheses of many are false? Storey's estimate, with an interval."""

from __future__ import annotations

import math

from statllm.estimators.proportions import clopper_pearson
from statllm.results import Estimate, Interval


def non_null_share(n_above: int, n: int, threshold: float = 0.5) -> Estimate:
    """Estimate the share of p-values that aren't by chance, 1 - pi0 (Storey 2002).

    p-values by chance are uniform, so of those above the threshold t there are about
    pi0 (1 - t) n: pi0 is estimated by ``n_above / (n (1 - t))``, cut to [0, 1]. False hypotheses
    whose p-value is large all the same count as true ones, and so does the surplus of large values
    of discrete tests: the share is a lower bound.

    Parameters
    ----------
    n_above : int
        p-values above the threshold.
    n : int
        All p-values.
    threshold : float
        In (0, 1), fixed before looking.

    Returns
    -------
    Estimate
        Its interval is Clopper and Pearson's of ``n_above / n`` taken the same way; it supposes
        independent p-values. NaN, in [0, 1], without any.

    Raises
    ------
    ValueError
        Unless 0 <= n_above <= n and the threshold is in (0, 1).

    Examples
    --------
    >>> found = non_null_share(400, 1000)
    >>> f"{found.value:.2f} {found.interval(0.95):.3f}"
    '0.20 [0.138, 0.261]'
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, not {threshold}")
    if not 0 <= n_above <= n:
        raise ValueError(f"0 <= n_above <= n must hold, not {n_above}, {n}")

    def share(rate: float) -> float:
        return min(max(1 - rate / (1 - threshold), 0.0), 1.0)

    def interval(level: float) -> Interval:
        if n == 0:
            return Interval(0.0, 1.0, level, "nothing was tested")
        low, high = clopper_pearson([n_above], [n], level)
        return Interval(share(float(high[0])), share(float(low[0])), level, "Clopper-Pearson")

    rate = n_above / n if n else math.nan
    se = math.sqrt(rate * (1 - rate) / n) / (1 - threshold) if n else math.nan
    value = share(rate) if n else math.nan
    method = f"Storey, threshold {threshold:g}"
    return Estimate(value, se, n, method, "share that isn't by chance", "share", interval)
