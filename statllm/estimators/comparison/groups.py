"""Means over groups: of the means of the groups, or weighted by size, two different things."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import label_codes, labels
from statllm.estimators.comparison._arrays import FloatArray, flat
from statllm.estimators.comparison.means import mean_estimate
from statllm.estimators.comparison.t_tests import TEstimate, satterthwaite, t_estimate


def macro_mean(
    x: ArrayLike,
    groups: ArrayLike,
    clusters: ArrayLike | None = None,
    name: str = "macro mean",
    unit: str = "",
) -> TEstimate:
    """Mean of the means of G given groups, each of which counts the same (a macro average).

    se^2 = sum_g se_g^2 / G^2. The groups (subjects of a benchmark, say) are all there are, not a
    sample; rows, or clusters within groups, are a sample of their group.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    groups : array_like, shape (n,)
        Labels.
    clusters : array_like, shape (n,), optional
        Labels of dependent rows, every cluster within one group.
    name, unit : str

    Returns
    -------
    TEstimate
        t with Satterthwaite's degrees of freedom; no error where a group has one row or cluster.

    Raises
    ------
    ValueError
        If lengths differ, or a cluster lies in two groups.

    Examples
    --------
    >>> macro = macro_mean([1, 0, 1, 1, 1, 0], ["a", "a", "b", "b", "b", "b"])
    >>> macro.value, round(macro.se, 4)
    (0.625, 0.2795)
    """
    parts, _ = _of_groups(x, groups, clusters)
    return _sum(
        parts, np.full(len(parts), 1 / max(len(parts), 1)), "mean of group means", name, unit
    )


def size_weighted_mean(
    x: ArrayLike,
    groups: ArrayLike,
    clusters: ArrayLike | None = None,
    name: str = "size-weighted mean",
    unit: str = "",
) -> TEstimate:
    """Mean over all rows whose error knows that they come from given groups.

    The value is that of `mean_estimate`; se^2 = sum_g (n_g / n)^2 se_g^2 leaves out the spread
    between groups, whose sizes are held fixed (a micro average, stratified). Parameters and
    errors as for `macro_mean`.

    Examples
    --------
    >>> micro = size_weighted_mean([1, 0, 1, 1, 1, 0], ["a", "a", "b", "b", "b", "b"])
    >>> round(micro.value, 4), round(micro.se, 4)
    (0.6667, 0.2357)
    """
    parts, sizes = _of_groups(x, groups, clusters)
    return _sum(parts, sizes / sizes.sum(), "mean, stratified by group", name, unit)


def _of_groups(
    x: ArrayLike, groups: ArrayLike, clusters: ArrayLike | None
) -> tuple[list[TEstimate], FloatArray]:
    """The mean of each group, and its number of rows."""
    values = flat(x, "x")
    n = len(values)
    code = label_codes(groups, "groups", n)
    within = np.arange(n) if clusters is None else labels(clusters, "clusters", n)
    cluster = label_codes(within, "clusters", n)
    owner = np.zeros(int(cluster.max(initial=-1)) + 1, np.int64)
    owner[cluster] = code
    torn = owner[cluster] != code
    if torn.any():
        raise ValueError(f"cluster {within[torn][0]!r} lies in more than one group")
    sizes = np.bincount(code).astype(np.float64)
    order = np.split(np.argsort(code, kind="stable"), np.cumsum(sizes.astype(int))[:-1])
    ways = None if clusters is None else cluster
    return [mean_estimate(values[i], None if ways is None else ways[i]) for i in order], sizes


def _sum(
    parts: list[TEstimate], weights: FloatArray, method: str, name: str, unit: str
) -> TEstimate:
    variances = [float(w * part.se) ** 2 for w, part in zip(weights, parts, strict=True)]
    value = float(sum(w * part.value for w, part in zip(weights, parts, strict=True)))
    return t_estimate(
        value if parts else math.nan,
        math.sqrt(sum(variances)),
        satterthwaite(variances, [part.df for part in parts]) if parts else math.nan,
        sum(part.n for part in parts),
        f"{method}, {len(parts)} groups",
        name,
        unit,
    )
