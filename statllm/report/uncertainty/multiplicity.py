"""p-values of several questions asked of the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(log_p: Sequence[float], n_tests: int | None = None) -> list[float]:
    """Adjust p-values by Holm's step-down rule (1979), on the scale of ln p.

    The j-th smallest of m becomes the largest of (m - i + 1) p_(i), i <= j, at most 1: those
    below alpha can be rejected with a probability of at most alpha of any false rejection,
    whatever the dependence.

    Parameters
    ----------
    log_p : sequence of float
        NaN stays, and counts as a test that isn't rejected.
    n_tests : int, optional
        All tests of the family, where some aren't listed: these count as not rejected, which
        only makes the listed ones larger.

    Examples
    --------
    >>> adjusted = holm([math.log(p) for p in (0.01, 0.04, 0.03)])
    >>> [round(math.exp(p), 4) for p in adjusted]
    [0.03, 0.06, 0.06]
    """
    m = len(log_p) if n_tests is None else n_tests
    order = sorted((i for i, p in enumerate(log_p) if not math.isnan(p)), key=lambda i: log_p[i])
    adjusted, largest = [math.nan] * len(log_p), -math.inf
    for place, i in enumerate(order):
        largest = max(largest, min(log_p[i] + math.log(m - place), 0.0))
        adjusted[i] = largest
    return adjusted
