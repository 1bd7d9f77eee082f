"""Means of rows that depend on each other in two ways: prompts and judges, say."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import label_codes
from statllm.estimators.comparison._arrays import flat
from statllm.estimators.comparison.means import ratio_estimate
from statllm.estimators.comparison.t_tests import TEstimate, t_estimate


def two_way_mean(
    x: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    weights: ArrayLike | None = None,
    name: str = "mean",
    unit: str = "",
) -> TEstimate:
    """Mean of rows that are clustered in two crossed ways (Cameron, Gelbach and Miller 2011).

    V = V_first + V_second - V_both, each the clustered variance of `ratio_estimate`, clusters of
    V_both being the pairs of labels. Rows that share a prompt or a judge depend on each other;
    others don't. V may be negative or too small by chance: it's never taken below V_first and
    V_second, which it exceeds where rows that share a label are positively correlated, and the
    method says so (MacKinnon, Nielsen and Webb 2021 do so where V isn't positive).

    Parameters
    ----------
    x : array_like of float, shape (n,)
    first, second : array_like, shape (n,)
        Labels.
    weights : array_like of float, shape (n,), optional
        Not negative.
    name, unit : str

    Returns
    -------
    TEstimate
        n is the smaller number of clusters; t with one degree of freedom fewer, or Bell and
        McCaffrey's of either way where these are fewer yet.

    Raises
    ------
    ValueError
        If lengths differ, a label is missing or a weight negative.

    Examples
    --------
    >>> scores = [3.0, 4.0, 2.0, 3.0, 4.0, 5.0, 1.0, 1.5]
    >>> item, judge = [0, 0, 1, 1, 2, 2, 3, 3], ["x", "y"] * 4
    >>> mean = two_way_mean(scores, item, judge)
    >>> mean.value, round(mean.se, 4), mean.n
    (2.9375, 0.695, 2)
    """
    values = flat(x, "x")
    w = np.ones(len(values)) if weights is None else flat(weights, "weights")
    if (w < 0).any():
        row = int((w < 0).argmax())
        raise ValueError(f"weights must not be negative, but row {row} is {w[row]:g}")
    codes = [
        label_codes(labels, name, len(values))
        for name, labels in (("first", first), ("second", second))
    ]
    both = codes[0] * (int(codes[1].max(initial=0)) + 1) + codes[1]
    one, other, cell = (
        ratio_estimate(w * values, w, clusters=code) for code in (codes[0], codes[1], both)
    )
    least = max(one.se**2, other.se**2)
    variance = one.se**2 + other.se**2 - cell.se**2
    how = "mean, clustered two ways"
    if variance < least:
        variance, how = least, "mean, clustered two ways (the larger one-way variance)"
    if math.isnan(one.se) or math.isnan(other.se):
        variance = math.nan
    n = min(one.n, other.n)
    df = min(one.df, other.df)
    return t_estimate(one.value, math.sqrt(variance), df, n, how, name, unit)
