"""A labelled estimate, corrected by what predictions say in two samples: value, error, tuning.

Every estimate here is theta_Y - lambda (theta_f - phi): theta_Y and theta_f are computed from the
labels and from the predictions of the same rows, phi from predictions of unlabelled rows. What
differs between a mean, a regression and a distribution function is how these three come about, and
how they change when a cluster is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes, labels

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Tuning = Literal["plug-in", "cross-fitted"]


@dataclass(frozen=True, eq=False)
class Parts:
    """Three estimates of p numbers, and their changes without each of the clusters.

    Attributes
    ----------
    y, f, u : ndarray of float64, shape (p,)
        theta_Y, theta_f, phi.
    dy, df, du : ndarray of float64, shape (n_clusters, p)
        Estimate without the cluster, less the estimate with it; 0 where the cluster has no row in
        that sample.
    labelled, unlabelled : ndarray of bool, shape (n_clusters,)
        Which sample a cluster has rows in; it may be both.
    copies : ndarray of float64, shape (n_clusters,)
        How often each cluster counts.
    """

    y: FloatArray
    f: FloatArray
    u: FloatArray
    dy: FloatArray
    df: FloatArray
    du: FloatArray
    labelled: NDArray[np.bool_]
    unlabelled: NDArray[np.bool_]
    copies: FloatArray


@dataclass(frozen=True, eq=False)
class Combined:
    """The corrected estimates.

    Attributes
    ----------
    value, se, df, tuning : ndarray of float64, shape (p,)
        Estimates, standard errors, degrees of freedom of their t intervals, lambda.
    change : ndarray of float64, shape (n_clusters, p)
        What each cluster adds to the error: `se` is the root of the sum of squares.
    """

    value: FloatArray
    se: FloatArray
    df: FloatArray
    tuning: FloatArray
    change: FloatArray


def union(
    clusters: ArrayLike | None, unlabelled_clusters: ArrayLike | None, n: int, n_unlabelled: int
) -> tuple[IntArray, IntArray, int]:
    """Number the clusters of both samples alike; without labels every row is a cluster.

    Raises
    ------
    ValueError
        If only one sample has clusters, their number isn't that of the rows, or one is missing.
    """
    if clusters is None and unlabelled_clusters is None:
        rows = np.arange(n + n_unlabelled, dtype=np.int64)
        return rows[:n], rows[n:], n + n_unlabelled
    if clusters is None or unlabelled_clusters is None:
        raise ValueError("clusters and unlabelled_clusters must be given together")
    first = labels(clusters, "clusters", n)
    second = labels(unlabelled_clusters, "unlabelled_clusters", n_unlabelled)
    number = label_codes(np.concatenate([first, second]), "clusters", n + n_unlabelled)
    return number[:n], number[n:], int(number.max()) + 1


def cluster_sums(values: FloatArray, number: IntArray, n_clusters: int) -> FloatArray:
    """Sum rows (m, p) by cluster, shape (n_clusters, p)."""
    if len(number) and np.array_equal(number, np.arange(number[0], number[0] + len(number))):
        sums = np.zeros((n_clusters, values.shape[1]))  # every row a cluster
        sums[number] = values
        return sums
    columns = [np.bincount(number, column, n_clusters) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float64)


def combine(parts: Parts, tuning: Tuning | float, clip: bool) -> Combined:
    """Choose lambda, correct, and jackknife the whole over clusters.

    lambda = Cov(theta_Y, theta_f - phi) / Var(theta_f - phi), by the jackknife, for each of the p
    numbers by itself: for independent rows that's PPI++'s Cov(Y, f) / ((1 + n/N) Var f), with the
    variance of f in its own sample. Leaving out a labelled cluster changes lambda, too, which is
    what makes the error hold with few labels.
    """
    if isinstance(tuning, str) and tuning not in ("plug-in", "cross-fitted"):
        raise ValueError(f"tuning must be plug-in, cross-fitted or a number, not {tuning!r}")
    if not isinstance(tuning, str) and not np.isfinite(tuning):
        raise ValueError(f"tuning must be finite, not {tuning!r}")
    copies = parts.copies[:, None]
    n_labelled = float(parts.copies[parts.labelled].sum())
    n_unlabelled = float(parts.copies[parts.unlabelled].sum())
    if n_labelled < 3 or n_unlabelled < 2:
        raise ValueError(
            f"at least 3 labelled and 2 unlabelled clusters are needed, not {n_labelled:.0f} and "
            f"{n_unlabelled:.0f}"
        )
    shrink, shrink_u = np.sqrt(1 - 1 / n_labelled), np.sqrt(1 - 1 / n_unlabelled)
    dy, df, du = shrink * parts.dy, shrink * parts.df, shrink_u * parts.du
    inside = parts.labelled[:, None]
    gap = parts.f - parts.u
    if isinstance(tuning, str):
        apart = df - du
        product, square = copies * dy * apart, copies * apart**2
        top, bottom = product.sum(0), square.sum(0)
        lam = _ratio(top, bottom, clip)
        # Without a cluster the others' means move, too: n / (n - 1) makes up for it.
        once = n_labelled / (n_labelled - 1) / copies
        without = _ratio(top - once * product, bottom - once * square, clip)
        without = np.where(inside, without, lam)
    else:
        lam = np.full(len(parts.y), float(tuning))
        without = np.broadcast_to(lam, dy.shape)
    value = parts.y - lam * gap
    if tuning == "cross-fitted":
        share = np.where(inside, copies, 0.0) / n_labelled
        mean = (share * without).sum(0)
        value = (
            parts.y - mean * gap + (n_labelled - 1) * (share * (without - mean) * parts.df).sum(0)
        )
        lam = mean
    change = dy - without * df - shrink * (without - lam) * gap
    change = np.where(inside, change, 0.0) + lam * du  # a cluster may be in both samples
    change = np.sqrt(copies) * change
    own = (np.where(inside, change, 0.0) ** 2).sum(0)
    rest = (np.where(inside, 0.0, change) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        free = (own + rest) ** 2 / (own**2 / (n_labelled - 1) + rest**2 / (n_unlabelled - 1))
    free = np.where(np.isnan(free), n_labelled - 1, free)
    return Combined(value, np.sqrt(own + rest), free, lam, change)


def _ratio(top: FloatArray, bottom: FloatArray, clip: bool) -> FloatArray:
    """Quotient, 0 where predictions don't vary; clipped to [0, 1] if asked for."""
    ratio = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 1e-300)
    return np.clip(ratio, 0.0, 1.0) if clip else ratio
