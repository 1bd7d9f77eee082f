"""Diversity of questions by the clusters that their vectors fall into."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import t_estimate
from statllm.estimators.entropies import entropy
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClusterDiversity:
    """How evenly questions spread over clusters.

    Attributes
    ----------
    counts : ndarray of int64, shape (n_clusters,)
        Questions of each cluster.
    effective : Estimate
        exp of the Shannon entropy of the clusters (Hill number of order 1): the number of equally
        large clusters that would be as diverse.
    dominance : Estimate
        Probability that two questions fall into one cluster (Simpson).
    """

    counts: IntArray
    effective: Estimate
    dominance: Estimate

    @property
    def n_seen(self) -> int:
        """Clusters with a question."""
        return int(np.count_nonzero(self.counts))

    def figures(self) -> list[Estimate]:
        """Return both figures."""
        return [self.effective, self.dominance]


def cluster_diversity(counts: ArrayLike) -> ClusterDiversity:
    """Measure diversity from the number of questions in each cluster.

    The entropy is Chao, Wang and Jost's (2013), which allows for what the sample misses; its error
    the jackknife's, and the interval normal on the scale of the entropy, so that the effective
    number's limits are exp of the entropy's. Dominance is the unbiased sum n_c (n_c - 1) / (n (n -
    1)), with the jackknife's error. Questions are the sampling units; clusters are taken as fixed.

    Parameters
    ----------
    counts : array_like of int, shape (n_clusters,)

    Raises
    ------
    ValueError
        If there are fewer than two questions, or a count isn't whole and at least 0.

    Examples
    --------
    >>> even, odd = cluster_diversity([25, 25, 25, 25]), cluster_diversity([97, 1, 1, 1])
    >>> round(even.effective.value, 1), round(odd.effective.value, 1)
    (4.1, 1.2)
    >>> round(odd.dominance.value, 3)
    0.941
    """
    found = np.asarray(counts, np.float64)
    if found.ndim != 1 or not ((found >= 0) & (found == np.floor(found))).all():
        raise ValueError("counts must be whole numbers of at least 0, in one dimension")
    sizes = found.astype(np.int64)
    n = int(sizes.sum())
    if n < 2:
        raise ValueError(f"diversity needs at least two questions, there are {n}")
    estimate = entropy([sizes[sizes > 0].tolist()], "chao_wang_jost")
    h, h_se = float(estimate.value[0]), float(estimate.se[0])

    def interval_of(level: float) -> Interval:
        from statistics import NormalDist

        half = NormalDist().inv_cdf(0.5 + level / 2) * h_se
        return Interval(
            math.exp(max(h - half, 0.0)), math.exp(h + half), level, "normal, log scale"
        )

    effective = Estimate(
        math.exp(h), math.exp(h) * h_se, n, "Hill number of order 1, Chao-Wang-Jost",
        "effective clusters", "clusters", interval_of,
    )  # fmt: skip
    return ClusterDiversity(sizes, effective, _dominance(found, n))


def _dominance(counts: FloatArray, n: int) -> Estimate:
    pairs = float((counts * (counts - 1)).sum())
    value = pairs / (n * (n - 1))
    se = math.nan
    if n > 2:
        # Without a question of cluster c, 2 (n_c - 1) ordered pairs fall out.
        left = (pairs - 2 * (counts - 1)) / ((n - 1) * (n - 2))
        mean = float(counts @ left) / n
        se = math.sqrt((n - 1) / n * float(counts @ (left - mean) ** 2))
    found = t_estimate(
        value, se, math.inf, n, "Simpson, unbiased", "same cluster", "probability"
    )  # fmt: skip
    return found.as_share(n)


def spherical_kmeans(
    vectors: ArrayLike, k: int, *, rng: np.random.Generator | int = 0, iterations: int = 100
) -> IntArray:
    """Cluster vectors by their directions (Dhillon and Modha 2001).

    Centres start as k-means++ has it, with cosine distance; a cluster that runs empty takes the
    vector that is farthest from its centre. The order of the rows doesn't matter beyond ties.

    Parameters
    ----------
    vectors : array_like of float, shape (n, d)
        None of length 0.
    k : int
        Clusters; at most the number of different directions.
    rng : Generator or int
    iterations : int
        At most.

    Returns
    -------
    ndarray of int64, shape (n,)
        Cluster of each vector, 0 being the largest.

    Raises
    ------
    ValueError
        If a vector is 0 or not finite (its row is named), or `k` isn't in 1, ..., n.

    Examples
    --------
    >>> spherical_kmeans([[1, 0], [2, 0.1], [0, 1], [0, 3], [0.1, 5]], 2)
    array([1, 1, 0, 0, 0])
    """
    x = np.asarray(vectors, np.float64)
    if x.ndim != 2:
        raise ValueError(f"vectors must have shape (n, d), not {x.shape}")
    length = np.linalg.norm(x, axis=1)
    wrong = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if len(wrong):
        raise ValueError(f"vector {wrong[0]} is 0 or not finite: it has no direction")
    n = len(x)
    if not 1 <= k <= n:
        raise ValueError(f"k must lie between 1 and {n}, the number of vectors, not {k}")
    x = x / length[:, None]
    generator = np.random.default_rng(rng)
    centres = _seeds(x, k, generator)
    label = np.full(n, -1)
    for _ in range(iterations):
        similarity = x @ centres.T
        new = similarity.argmax(axis=1)
        for empty in np.setdiff1d(np.arange(k), new):
            far = int(similarity[np.arange(n), new].argmin())
            new[far], similarity[far, :] = empty, 2.0
        if (new == label).all():
            break
        label = new
        sums = np.zeros_like(centres)
        np.add.at(sums, label, x)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.where(norms > 0, norms, 1.0), centres)
    order = np.argsort(-np.bincount(label, minlength=k), kind="stable")
    rank = np.empty(k, dtype=np.int64)
    rank[order] = np.arange(k)
    ranked: IntArray = rank[label]
    return ranked


def _seeds(x: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """k-means++: each next centre is drawn with probability proportional to its distance."""
    picks = [int(rng.integers(len(x)))]
    distance = np.maximum(1 - x @ x[picks[0]], 0.0)
    for _ in range(k - 1):
        total = distance.sum()
        if total > 1e-12:
            pick = int(rng.choice(len(x), p=distance / total))
        else:  # fewer directions than clusters
            pick = int(rng.integers(len(x)))
        picks.append(pick)
        distance = np.minimum(distance, np.maximum(1 - x @ x[pick], 0.0))
    return x[picks]
