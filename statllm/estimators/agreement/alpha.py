"""Krippendorff's alpha."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes
from statllm.estimators.agreement._counts import CategoryCounts, category_counts
from statllm.estimators.agreement._jackknife import cluster_sums, from_deletions
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
Labels = NDArray[Any] | None
Metric = Literal["nominal", "ordinal", "interval", "ratio"]


def krippendorff_alpha(
    ratings: ArrayLike | CategoryCounts,
    *,
    metric: Metric = "nominal",
    clusters: ArrayLike | None = None,
    name: str = "Krippendorff's alpha",
) -> Estimate:
    """Agreement of any number of raters, some ratings missing (Krippendorff 2011).

    1 - D_o / D_e. With counts n_uc, m_u = sum_c n_uc >= 2 and n = sum_u m_u,

        D_o = sum_u sum_cd n_uc n_ud delta(c, d) / (m_u - 1) / n,
        D_e = sum_cd n_c n_d delta(c, d) / (n (n - 1)).

    delta is 1 for different categories (nominal), (c - d)^2 (interval), ((c - d) / (c + d))^2
    (ratio), or the squared number of ratings between c and d, their own counted half (ordinal).
    From the counts that's O(units x categories), but for the ratio metric.

    Parameters
    ----------
    ratings : array_like, shape (n_units, n_raters), or CategoryCounts
        NaN and None are missing; units with fewer than two ratings don't count.
    metric : {"nominal", "ordinal", "interval", "ratio"}
        Text can be nominal, or ordinal in the order of the counts' categories.
    clusters : array_like, shape (n_units,), optional
        Labels of units that depend on each other.
    name : str

    Returns
    -------
    Estimate
        n counts units with two ratings, or clusters of them. NaN where all ratings are equal. The
        interval is the jackknife's by unit or cluster, on the scale log(1 - alpha): resampling
        ratings rather than units, as Hayes and Krippendorff (2007) do, has held 73 % instead of
        95 at 50 units.

    Raises
    ------
    ValueError
        If the metric is unknown or needs numbers, or as `category_counts`.

    Examples
    --------
    >>> units = [[1, 1, None], [2, 2, 3], [3, 3, 3], [3, 3, 3], [2, 2, 2], [1, 2, 3]] * 4
    >>> alpha = krippendorff_alpha(units, metric="ordinal")
    >>> f"{alpha.value:.3f} {alpha.interval():.2f}"
    '0.574 [0.11, 0.83]'
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {', '.join(get_args(Metric))}, not {metric!r}")
    if metric == "interval" and not isinstance(ratings, CategoryCounts):
        m, sums, squares = _moments(ratings)
        n_units = len(m)
    else:
        table = category_counts(ratings)
        if metric in ("interval", "ratio") and table.categories.dtype.kind not in "iuf":
            raise ValueError(f"metric {metric} needs numbers, not text")
        if metric == "ratio" and len(table.values) and table.values.min() < 0:
            raise ValueError("metric ratio needs ratings that aren't negative")
        m, n_units = table.raters, len(table.counts)
        centred = table.values - table.values.sum() / max(len(table.values), 1)
        sums, squares = table.counts @ centred, table.counts @ centred**2
    paired = m >= 2
    labels = None if clusters is None else label_codes(clusters, "clusters", n_units)[paired]
    if not paired.any():
        none = np.zeros(0)
        found = _Disagreement(math.nan, math.nan, none, none, none, math.nan)
    elif metric == "interval":
        found = _interval(m[paired], sums[paired], squares[paired], labels)
    elif metric == "ordinal":
        found = _ordinal(table.counts[paired], labels)
    else:
        apart = None if metric == "nominal" else _ratio_metric(table.values)
        found = _by_matrix(table.counts[paired], apart, labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        return from_deletions(
            float(np.divide(found.observed, found.expected)),
            found.observed_without / found.expected_without,
            found.parts / found.expected,
            float(np.divide(found.largest, found.expected)),
            name,
            f"Krippendorff, {metric}",
            "jackknife" if clusters is None else "cluster jackknife",
        )


@dataclass(frozen=True, eq=False)
class _Disagreement:
    """D_o and D_e, in all and without each cluster; parts of D_o; the largest delta."""

    observed: float
    expected: float
    parts: FloatArray
    observed_without: FloatArray
    expected_without: FloatArray
    largest: float

    @classmethod
    def of(
        cls,
        units: FloatArray,
        m: FloatArray,
        expected: FloatArray,
        expected_without: FloatArray,
        labels: Labels,
        largest: float,
    ) -> _Disagreement:
        """Put it together from n D_o unit by unit, numbers of ratings, and D_e."""
        each = cluster_sums(np.stack([units, m], axis=1), labels)
        whole, n = each.sum(axis=0)
        left = _difference(whole, each[:, 0])
        with np.errstate(invalid="ignore", divide="ignore"):
            return cls(
                float(whole / n), float(expected), each[:, 0] / n, left / (n - each[:, 1]),
                expected_without, largest,
            )  # fmt: skip


def _moments(ratings: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Number, sum and sum of squares of each unit's ratings, which are centred first."""
    try:
        table = np.asarray(ratings, np.float64)
    except (TypeError, ValueError):
        raise ValueError("metric interval needs numbers, not text") from None
    if table.ndim != 2:
        raise ValueError(f"ratings must be a matrix of units by raters, not of shape {table.shape}")
    known = ~np.isnan(table)
    centred = np.where(known, table - (table[known].mean() if known.any() else 0.0), 0.0)
    return known.sum(axis=1).astype(np.float64), centred.sum(axis=1), (centred**2).sum(axis=1)


def _interval(
    m: FloatArray, sums: FloatArray, squares: FloatArray, labels: Labels
) -> _Disagreement:
    """delta = (c - d)^2: sums over pairs are 2 (m sum v^2 - (sum v)^2)."""
    units = 2 * (m * squares - sums**2) / (m - 1)
    units = np.where(units < 1e-12 * np.maximum(m * squares, 1e-300), 0.0, units)
    by_cluster = cluster_sums(np.stack([m, sums, squares], axis=1), labels)

    def expected(total: FloatArray) -> FloatArray:
        n, first, second = total[..., 0], total[..., 1], total[..., 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            chance: FloatArray = 2 * (n * second - first**2) / (n * (n - 1))
        return chance

    total = by_cluster.sum(axis=0)
    worst = float(4 * squares.max())  # (c - d)^2 <= 2 c^2 + 2 d^2
    return _Disagreement.of(units, m, expected(total), expected(total - by_cluster), labels, worst)


def _by_matrix(counts: FloatArray, apart: FloatArray | None, labels: Labels) -> _Disagreement:
    """delta by a matrix of categories; None is the nominal one."""
    m = counts.sum(axis=1)
    by_cluster = cluster_sums(counts, labels)

    def pairs(n: FloatArray) -> FloatArray:
        total: FloatArray = (
            n.sum(axis=-1) ** 2 - (n**2).sum(axis=-1)
            if apart is None
            else ((n @ apart) * n).sum(axis=-1)
        )
        return total

    def expected(n: FloatArray) -> FloatArray:
        size = n.sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            chance: FloatArray = pairs(n) / (size * (size - 1))
        return chance

    total = by_cluster.sum(axis=0)
    used = total > 0
    largest = 1.0 if apart is None else float(apart[np.ix_(used, used)].max())
    return _Disagreement.of(
        pairs(counts) / (m - 1), m, expected(total), expected(total - by_cluster), labels, largest
    )


def _ordinal(counts: FloatArray, labels: Labels) -> _Disagreement:
    """As the interval metric of places R_c = sum_{g <= c} n_g - n_c / 2, which go with the margins.

    n D_o = R' Q R with a sum Q over units; without a cluster, R and Q both change.
    """
    m = counts.sum(axis=1, keepdims=True)
    scaled = counts / (m - 1)
    by_cluster = cluster_sums(counts, labels)
    totals = by_cluster.sum(axis=0)
    left = totals - by_cluster

    def places(n: FloatArray) -> FloatArray:
        ranks = np.cumsum(n, axis=-1) - n / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = (n * ranks).sum(-1, keepdims=True) / n.sum(-1, keepdims=True)
        centred: FloatArray = ranks - middle
        return centred

    def expected(n: FloatArray) -> FloatArray:
        size = n.sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            chance: FloatArray = 2 * (n * places(n) ** 2).sum(axis=-1) / (size - 1)
        return chance

    def units_at(r: FloatArray) -> FloatArray:
        found = 2 * (
            m[:, 0] * (scaled * r**2).sum(axis=1)
            - (scaled * r).sum(axis=1) * (counts * r).sum(axis=1)
        )
        return np.where((counts > 0).sum(axis=1) == 1, 0.0, found)

    number = np.arange(len(counts))
    if labels is not None:
        number = np.unique(labels, return_inverse=True)[1]
    r_left = places(left)
    units = units_at(np.broadcast_to(places(totals), counts.shape))
    own = cluster_sums(units_at(r_left[number])[:, None], labels)[:, 0]
    q = 2 * (np.diag((scaled * m).sum(axis=0)) - scaled.T @ counts)
    rest = _difference(((r_left @ q) * r_left).sum(axis=1), own)
    of_all = _Disagreement.of(
        units, m[:, 0], expected(totals), expected(left), labels, float(totals.sum()) ** 2
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return replace(of_all, observed_without=rest / left.sum(axis=1))


def _difference(whole: float | FloatArray, part: FloatArray) -> FloatArray:
    """What is left of sums of squares; rounding is no disagreement."""
    left = whole - part
    return np.where(left < 1e-12 * np.maximum(whole, 1e-300), 0.0, left)


def _ratio_metric(values: FloatArray) -> FloatArray:
    total = values[:, None] + values
    apart = np.abs(values[:, None] - values)
    quotient: FloatArray = np.divide(apart, total, out=np.zeros_like(total), where=total > 0) ** 2
    return quotient
