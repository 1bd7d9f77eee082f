"""Power of the truncated goodness-of-fit test, by the exact law of its statistic."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from statllm.estimators.watermark._search import check_share, fewest_tokens
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.trgof_law import _bounds, trgof_log_tail
from statllm.ragged import FloatArray


def trgof_critical(n: int, alpha: float, s: float = 2.0, truncation: float | None = None) -> float:
    """Return the smallest Tr-GoF statistic of n tokens that is significant at level alpha.

    Parameters
    ----------
    n : int
    alpha : float
    s, truncation : float
        As for `pivot_test`.

    Returns
    -------
    float
        inf where no statistic is: the truncation keeps small p from counting.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> round(trgof_critical(100, 0.05), 2), round(trgof_critical(100, 0.01), 2)
    (4.68, 7.4)
    """
    check_share("alpha", alpha)
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    return _critical(n, alpha, s, truncation)


@lru_cache(maxsize=256)
def _critical(n: int, alpha: float, s: float, truncation: float | None) -> float:
    from scipy import optimize

    def excess(log_x: float) -> float:
        log_p = float(trgof_log_tail(math.exp(log_x), n, s, truncation))
        return max(log_p, -1e4) - math.log(alpha)

    low, high = math.log(0.1), math.log(4.0)
    while excess(high) > 0:
        low, high = high, high + 1
        if high > 50:
            return math.inf
    if excess(low) <= 0:  # alpha is near 1, or hardly anything counts
        low = -30.0
        if excess(low) <= 0:
            return math.exp(low)
    root = optimize.brentq(excess, low, high, xtol=1e-9, rtol=1e-9)
    return math.exp(float(root))


def trgof_power(
    n: int,
    law: ChosenLaw,
    alpha: float = 1e-6,
    s: float = 2.0,
    truncation: float | None = None,
) -> float:
    """Return the probability that Tr-GoF finds n independent tokens of a law.

    p = 1 - Y has the distribution function G(v) = 1 - P(Y <= 1 - v), and G(p) is uniform: power is
    the crossing probability of `trgof_log_tail` with G's values of the boundary and the
    truncation in place of themselves. Exact; n^2 operations.

    Parameters
    ----------
    n : int
        Scored tokens: distinct (seed, target) pairs.
    law : ChosenLaw
        `edited_law` gives that of edited text.
    alpha : float
    s, truncation : float
        As for `pivot_test`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> round(trgof_power(100, ChosenLaw.least_favourable(0.3), 0.01), 3)
    0.95
    """
    critical = trgof_critical(n, alpha, s, truncation)
    if critical == math.inf:
        return 0.0
    cut = 1 / n if truncation is None else truncation
    bounds = _bounds(np.array([critical]), np.array([n]), s, np.array([cut]))[0]
    return _crossing(_below(law, bounds), float(_below(law, np.array([cut]))[0]))


def trgof_tokens_needed(
    law: ChosenLaw, alpha: float = 1e-6, wanted: float = 0.99, s: float = 2.0
) -> int:
    """Return the fewest tokens at which Tr-GoF, truncated at 1 / n, has the power that is wanted.

    Work is the square of the answer: use it up to some thousand tokens.

    Parameters
    ----------
    law, alpha, s
        As for `trgof_power`.
    wanted : float

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> trgof_tokens_needed(ChosenLaw.least_favourable(0.5), 0.01, 0.9)
    59
    """
    check_share("wanted", wanted)
    return fewest_tokens(lambda n: trgof_power(n, law, alpha, s) >= wanted)


def _below(law: ChosenLaw, v: FloatArray) -> FloatArray:
    """G(v) = P(1 - Y <= v) without the cancellation of 1 - F(1 - v)."""
    logs = np.log1p(-np.minimum(v, 1 - 1e-16))
    powers = -np.expm1(np.multiply.outer(logs, 1 / law.probabilities))
    return np.asarray(powers @ law.masses)


def _crossing(bounds: FloatArray, cut: float) -> float:
    """P(the i-th smallest of n uniform numbers lies between cut and bounds[i - 1], for some i)."""
    from scipy import stats

    n = len(bounds)
    free = np.zeros(n)  # of each i, the probability that no later j follows
    total = 0.0
    for i in range(n, 0, -1):
        here = float(bounds[i - 1])
        if here <= cut:
            continue
        step = np.clip((bounds[i:] - here) / max(1 - here, 1e-300), 0.0, 1.0)
        follow = stats.binom.pmf(np.arange(1, n - i + 1), n - i, step) @ free[i:]
        free[i - 1] = max(1 - float(follow), 0.0)
        inside = -math.expm1(i * math.log(cut / here)) if cut > 0 else 1.0
        total += float(stats.binom.pmf(i, n, here)) * inside * free[i - 1]
    return float(min(total, 1.0))
