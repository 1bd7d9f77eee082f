"""Covariances that hold where battles depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.ranking._likelihood import outcome_scores
from statllm.estimators.ranking.records import Battles

if TYPE_CHECKING:
    from statllm.estimators.ranking.bradley_terry import Fit

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def sandwich(
    fitted: Fit, data: Battles, inverse: FloatArray, clusters: IntArray | None
) -> tuple[FloatArray, float]:
    """H^-1 G H^-1, and the degrees of freedom; without clusters every battle is its own.

    Raises
    ------
    ValueError
        If there's one cluster.
    """
    if clusters is None:
        return inverse @ _meat_of_battles(fitted, data) @ inverse, np.inf
    number = int(clusters.max()) + 1
    if number < 2:
        raise ValueError("clustered errors need at least two clusters")
    scores = _cluster_scores(fitted, data, clusters, number)
    meat = number / (number - 1) * (scores.T @ scores)
    return inverse @ meat @ inverse, number - 1.0


def two_way(fitted: Fit, data: Battles, inverse: FloatArray) -> tuple[FloatArray, float]:
    """V_1 + V_2 - V_12 (Cameron, Gelbach and Miller 2011), negative eigenvalues set to 0."""
    one, other = data.clusters
    both = np.unique(one * (int(other.max()) + 1) + other, return_inverse=True)[1].astype(np.int64)
    first, df_first = sandwich(fitted, data, inverse, one)
    second, df_second = sandwich(fitted, data, inverse, other)
    values, vectors = np.linalg.eigh(first + second - sandwich(fitted, data, inverse, both)[0])
    return (vectors * np.maximum(values, 0.0)) @ vectors.T, min(df_first, df_second)


def jackknife(fitted: Fit, data: Battles) -> tuple[FloatArray, float]:
    """(C - 1) / C times the summed squares of refits without a cluster, less the estimate.

    Raises
    ------
    ValueError
        Without exactly one way of clustering and two clusters, or if a refit isn't finite.
    """
    if len(data.clusters) != 1:
        raise ValueError("covariance='jackknife' needs one way of clustering")
    table = cluster_counts(fitted, data, data.clusters[0])
    number = table.shape[0]
    if number < 2:
        raise ValueError("clustered errors need at least two clusters")
    shape, total = fitted.counts.shape, fitted.counts.ravel()
    moved = np.empty((number, fitted.problem.size))
    for c in range(number):
        left = np.maximum(total - table[[c], :].toarray()[0], 0.0).reshape(shape)
        left[left < 1e-9] = 0.0
        moved[c] = fitted.maximise(left, fitted.x) - fitted.x
    if np.isnan(moved).any():
        raise ValueError("ratings without some cluster aren't finite; use a prior")
    if np.isinf(moved).any():  # of the tie parameter alone, which is at its limit
        moved = np.where(np.isinf(moved).any(axis=0), np.nan, moved)
    return (number - 1) / number * (moved.T @ moved), number - 1.0


def cluster_counts(fitted: Fit, data: Battles, clusters: IntArray):  # type: ignore[no-untyped-def]
    """Sparse counts by cluster and cell, shape (C, 3 R)."""
    from scipy import sparse

    shape = (int(clusters.max()) + 1, fitted.counts.size)
    return sparse.coo_array((data.weight, (clusters, fitted.cell)), shape=shape).tocsr()


def _cluster_scores(fitted: Fit, data: Battles, clusters: IntArray, number: int) -> FloatArray:
    """Sum of the scores of each cluster's battles, shape (C, parameters)."""
    from scipy import sparse

    problem, rows = fitted.problem, fitted.problem.rows
    by_eta, by_tie = outcome_scores(problem.ties, problem.eta(fitted.x), problem.tie(fitted.x))
    row = fitted.cell // 3
    score = by_eta.ravel()[fitted.cell] * data.weight
    k, q = rows.k, rows.z.shape[1]
    scores = np.zeros((number, problem.size))
    entries = (
        np.concatenate([score, -score]),
        (np.concatenate([clusters, clusters]), np.concatenate([rows.i[row], rows.j[row]])),
    )
    scores[:, :k] = sparse.coo_array(entries, shape=(number, k)).toarray()
    for column in range(q):
        scores[:, k + column] = np.bincount(clusters, score * rows.z[row, column], number)
    if problem.n_ties:
        scores[:, -1] = np.bincount(clusters, by_tie.ravel()[fitted.cell] * data.weight, number)
    return scores


def _meat_of_battles(fitted: Fit, data: Battles) -> FloatArray:
    """Sum of the outer products of the scores of single battles."""
    problem, rows = fitted.problem, fitted.problem.rows
    by_eta, by_tie = outcome_scores(problem.ties, problem.eta(fitted.x), problem.tie(fitted.x))
    # a weight counts battles, each with its own score
    counts, k, q = fitted.counts, rows.k, rows.z.shape[1]
    ee = (counts * by_eta**2).sum(axis=1)
    meat = np.zeros((problem.size, problem.size))
    meat[:k, :k] = problem.laplacian(ee)
    for column in range(q):
        meat[:k, k + column] = problem.spread(ee * rows.z[:, column])
    meat[k : k + q, k : k + q] = rows.z.T @ (ee[:, None] * rows.z)
    if problem.n_ties:
        et = (counts * by_eta * by_tie).sum(axis=1)
        meat[:k, -1] = problem.spread(et)
        meat[k : k + q, -1] = rows.z.T @ et
        meat[-1, -1] = float((counts * by_tie**2).sum())
    return np.asarray(np.triu(meat) + np.triu(meat, 1).T)
