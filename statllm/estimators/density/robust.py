"""Robust density estimation: kernel principal components, and a covariance that outliers spare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.density._split import FloatArray, embeddings, scored, split
from statllm.estimators.density.gaussian import DensityScores

IntArray = NDArray[np.int64]

_STARTS, _KEPT, _STEPS = 100, 10, 30  # random starts, those run to the end, steps at most


def robust_density(
    train: ArrayLike,
    test: ArrayLike,
    n_components: int = 100,
    gamma: float | None = None,
    residual: bool = True,
    calibration: ArrayLike | float | None = 0.3,
    rng: np.random.Generator | int = 0,
) -> DensityScores:
    """RDE: squared Mahalanobis distance among kernel principal components, robustly.

    Embeddings are mapped to the leading principal components of the kernel exp(-γ |x - y|²), and
    mean and covariance there are those of the `minimum_covariance_determinant` (Yoo, Kim, Jang
    and Kwak 2022; lm-polygraph's ``RDESeq``).

    Parameters
    ----------
    train, test, calibration, rng : as for `mahalanobis_distance`
    n_components : int
        100 as published; fewer where the training rows span fewer.
    gamma : float, optional
        Default 1 / n_dimensions, as published.
    residual : bool
        Whether to add what the components miss: the squared distance from their span over its
        mean for each of the directions left out, as in a density of probabilistic principal
        components (Moghaddam and Pentland 1997). As published (False), a row far from all
        training rows goes unseen: its kernel with each of them is 0, so that all such rows
        share one image, which lies near the middle.

    Returns
    -------
    DensityScores

    Raises
    ------
    ValueError
        If there are no more than twice as many rows to fit on as components.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> train = rng.normal(size=(200, 3))
    >>> found = robust_density(train, [[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]], n_components=2)
    >>> bool(found.value[1] > found.value[0]), found.p_value.round(2)
    (True, array([0.75, 0.01]))
    """
    generator = np.random.default_rng(rng)
    rows = embeddings(train, "train")
    points = embeddings(test, "test", rows.shape[1])
    width = 1 / rows.shape[1] if gamma is None else float(gamma)
    if not width > 0:
        raise ValueError(f"gamma must be positive, not {gamma}")
    if n_components < 1:
        raise ValueError(f"n_components must be at least 1, not {n_components}")
    fit, held = split(rows, calibration, generator)
    components = _KernelComponents.of(rows[fit], width, n_components)
    known = components.known
    if len(known) <= 2 * known.shape[1]:
        raise ValueError(
            f"{len(known)} rows to fit on are too few for {known.shape[1]} components; "
            "there must be more than twice as many"
        )
    centre, covariance = minimum_covariance_determinant(known, rng=generator)

    def score(x: FloatArray) -> FloatArray:
        along, beyond = components.project(x)
        squares = _squares(along, centre, covariance)
        return squares + beyond if residual else squares

    value, p = scored(score, points, held, generator)
    n_held = 0 if held is None else len(held)
    name = f"robust density, {known.shape[1]} components"
    return DensityScores(value, p, len(fit), n_held, name)


def minimum_covariance_determinant(
    rows: ArrayLike, rng: np.random.Generator | int = 0
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the half of the rows that lies closest together, reweighted.

    FAST-MCD (Rousseeuw and Van Driessen 1999): from random starts, take the h = ⌈(n + d + 1) / 2⌉
    rows nearest to the mean of the last h until they stay, keep the subset whose covariance has
    the smallest determinant, scale it so that the median squared distance is that of a χ²
    distribution with d degrees of freedom, and take mean and covariance of the rows within its
    97.5% quantile, the covariance scaled up to what it is for normal rows (Croux and
    Haesbroeck 1999).

    Parameters
    ----------
    rows : array_like of float, shape (n, d)
        More than d rows.
    rng : numpy.random.Generator or int
        Draws the starts.

    Returns
    -------
    mean : ndarray of float64, shape (d,)
    covariance : ndarray of float64, shape (d, d)
        n in the denominator; that of scikit-learn's ``MinCovDet`` from 1.8 on.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rows = np.concatenate([rng.normal(size=(80, 1)), np.full((20, 1), 50.0)])
    >>> mean, covariance = minimum_covariance_determinant(rows)
    >>> mean.round(2), covariance.round(2)
    (array([0.12]), array([[1.09]]))
    """
    from scipy import special

    x = embeddings(rows, "rows")
    n, d = x.shape
    if n <= d:
        raise ValueError(f"{n} rows are too few for {d} dimensions")
    subset = _best_half(x, np.random.default_rng(rng))
    centre, covariance = _moments(x[subset])
    squares = _squares(x, centre, covariance)
    squares /= np.median(squares) / (2 * special.gammaincinv(d / 2, 0.5))
    bound = special.gammaincinv(d / 2, 0.975)
    mean, covariance = _moments(x[squares < 2 * bound])
    return mean, covariance * (0.975 / special.gammainc(d / 2 + 1, bound))


def _best_half(x: FloatArray, rng: np.random.Generator) -> IntArray:
    """The h rows whose covariance has the smallest determinant that was found."""
    n, d = x.shape
    h = min(n, math.ceil((n + d + 1) / 2))
    # Small starts find tight groups of rows, large ones the middle of all.
    sizes = [d + 1, h] * (_STARTS // 2)
    begun = [_concentrate(x, rng.permutation(n)[:size], h, 2) for size in sizes]
    distinct = {subset.tobytes(): (volume, subset) for volume, subset in begun}
    begun = sorted(distinct.values(), key=lambda each: each[0])
    found = [_concentrate(x, subset, h, _STEPS) for _, subset in begun[:_KEPT]]
    return min(found, key=lambda each: each[0])[1]


def _concentrate(x: FloatArray, subset: IntArray, h: int, steps: int) -> tuple[float, IntArray]:
    """Steps towards a smaller determinant; its logarithm and the subset reached."""
    for _ in range(steps):
        nearest = np.sort(np.argsort(_squares(x, *_moments(x[subset])), kind="stable")[:h])
        if np.array_equal(nearest, subset):
            break
        subset = nearest
    return float(np.linalg.slogdet(_moments(x[subset])[1])[1]), subset


def _moments(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance, n in the denominator."""
    mean = x.mean(axis=0)
    centred = x - mean
    return mean, centred.T @ centred / len(x)


def _squares(x: FloatArray, centre: FloatArray, covariance: FloatArray) -> FloatArray:
    """Squared Mahalanobis distances; directions without spread count for nothing."""
    from scipy import linalg

    try:
        root = linalg.cholesky(covariance, lower=True)
        if root.diagonal().min() > 1e-6 * root.diagonal().max():
            whitened = linalg.solve_triangular(root, (x - centre).T, lower=True)
            return np.asarray((whitened**2).sum(axis=0))
    except linalg.LinAlgError:
        pass  # fewer rows than directions: leave out those without spread
    values, vectors = np.linalg.eigh(covariance)
    seen = values > values[-1] * 1e-12
    along = (x - centre) @ vectors[:, seen]
    return np.asarray((along**2 / values[seen]).sum(axis=1))


@dataclass(frozen=True, eq=False)
class _KernelComponents:
    """Leading principal components of rows in the space of an RBF kernel."""

    rows: FloatArray
    gamma: float
    columns: FloatArray  # mean kernel of each row with all rows
    level: float  # their mean
    axes: FloatArray
    known: FloatArray  # the rows' own components
    left: float  # mean variance in each direction left out; 0 if there is none

    @classmethod
    def of(cls, rows: FloatArray, gamma: float, n_components: int) -> _KernelComponents:
        """Centre the kernel and take its leading eigenvectors."""
        kernel = _kernel(rows, rows, gamma)
        columns, level = kernel.mean(axis=0), float(kernel.mean())
        values, vectors = np.linalg.eigh(kernel - columns - columns[:, None] + level)
        order = np.argsort(-values, kind="stable")
        seen = order[values[order] > max(float(values.max()), 0.0) * 1e-10]
        if not len(seen):
            raise ValueError("train has no spread: all of its rows are equal")
        lead, rest = seen[:n_components], seen[n_components:]
        left = float(values[rest].mean()) / len(rows) if len(rest) else 0.0
        root = np.sqrt(values[lead])
        axes, known = vectors[:, lead] / root, vectors[:, lead] * root
        return cls(rows, gamma, columns, level, axes, known, left)

    def project(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Components of further points, and their scaled squared distance from the span."""
        own = _kernel(points, self.rows, self.gamma)
        mean = own.mean(axis=1)
        along = (own - mean[:, None] - self.columns + self.level) @ self.axes
        if self.left == 0:
            return along, np.zeros(len(points))
        length = 1 - 2 * mean + self.level
        return along, np.maximum(length - (along**2).sum(axis=1), 0.0) / self.left


def _kernel(a: FloatArray, b: FloatArray, gamma: float) -> FloatArray:
    """exp(-γ |x - y|²) of every row of `a` and of `b`."""
    from scipy.spatial.distance import cdist

    return np.asarray(np.exp(-gamma * cdist(a, b, "sqeuclidean")))
