"""Wilcoxon's signed-rank test with its exact law, ties and zeros included."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.comparison import _lattice
from statllm.estimators.comparison._arrays import differences_of
from statllm.estimators.comparison._tails import result, two_sided
from statllm.estimators.comparison.t_tests import Alternative
from statllm.results import TestResult


def signed_rank(
    differences: ArrayLike,
    alternative: Alternative = "two-sided",
    zeros: Literal["pratt", "wilcoxon"] = "pratt",
    method: Literal["auto", "exact", "normal"] = "auto",
) -> TestResult:
    """Wilcoxon's signed-rank test: are differences symmetric about 0? (Wilcoxon 1945)

    W is the sum of the ranks of |d| over the positive differences, tied ones having their mean
    rank. Given |d|, every sign is a fair coin under the hypothesis, so the law of W is a sum of
    twice the midranks, integers, each with probability 1/2: exact with ties as without.

    Parameters
    ----------
    differences : array_like of float, shape (n,)
        b - a, prompt by prompt.
    alternative : {"two-sided", "greater", "less"}
    zeros : {"pratt", "wilcoxon"}
        Differences of 0 are left out after ranking (Pratt 1959: more of them make the others
        weigh less unequally), or before it.
    method : {"auto", "exact", "normal"}
        ``"normal"``: z = (|W - E W| - h) / sd with the ties' variance, h half a step of W: 1/2, or
        1/4 where a midrank is a half. ``"auto"``: exact to about 800 untied differences, and to
        more with few values.

    Returns
    -------
    TestResult
        The statistic is W; n_effective the number of differences that aren't 0.

    Raises
    ------
    ValueError
        If a difference is NaN, or exact takes too long.

    Examples
    --------
    >>> test = signed_rank([1, 2, 2, 3, -1, 4, 0])
    >>> test.statistic, round(test.p_value, 3), test.n_effective
    (24.5, 0.094, 6)
    """
    from scipy import special, stats

    d = differences_of(differences)
    if zeros not in ("pratt", "wilcoxon"):
        raise ValueError(f"zeros must be pratt or wilcoxon, not {zeros!r}")
    if zeros == "wilcoxon":
        d = d[d != 0]
    twice = np.rint(2 * stats.rankdata(np.abs(d))).astype(np.int64)[d != 0]
    d = d[d != 0]
    ranks, counts = np.unique(twice, return_counts=True)
    shared = int(np.gcd.reduce(ranks)) if len(ranks) else 1  # 2 where no midrank is a half
    steps, observed = ranks // shared, int(twice[d > 0].sum()) // shared
    most = int(steps @ counts)
    cheap = _lattice.work(steps, counts) <= _lattice.MOST_WORK
    if method == "auto":
        method = "exact" if cheap else "normal"
    if method == "exact":
        if not cheap:
            raise ValueError(f"the exact law of {len(d)} differences takes too long")
        upper = _lattice.log_upper_tail(steps, counts, observed)
        lower = _lattice.log_upper_tail(steps, counts, most - observed)
    elif method == "normal":
        sd = math.sqrt(float(counts @ steps.astype(np.float64) ** 2)) / 2
        gap = observed - most / 2
        upper, lower = (
            float(special.log_ndtr(-(side * gap - 0.5) / sd)) if sd else 0.0 for side in (1, -1)
        )
    else:
        raise ValueError(f"method must be auto, exact or normal, not {method!r}")
    return result(
        observed * shared / 2, two_sided(upper, lower, alternative), alternative, len(d),
        f"Wilcoxon signed-rank, {method}, zeros by {zeros.capitalize()}",
        "differences are independent and, under the hypothesis, symmetric about 0",
    )  # fmt: skip
