"""Mahalanobis distances: how far an embedding lies from training data, in units of their spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.conformal.p_values import conformal_p_values
from statllm.estimators.density._split import FloatArray, Score, embeddings, scored, split
from statllm.ragged import Ragged

Covariance = Literal["ledoit_wolf", "empirical", "lm_polygraph"]

_JITTERS = 10.0 ** np.arange(-15, 0)


@dataclass(frozen=True, eq=False)
class DensityScores:
    """How unlike the training data each test row is; arrays have length n_test.

    Attributes
    ----------
    value : ndarray of float64
        Larger is farther.
    p_value : ndarray of float64, or None without a calibration set
        Conformal: of "this row is exchangeable with the calibration rows". Uniform where it is,
        whatever the distribution of the embeddings.
    n_fit, n_calibration : int
        Training rows behind the distance, and behind the p-values.
    method : str
    """

    value: FloatArray
    p_value: FloatArray | None
    n_fit: int
    n_calibration: int
    method: str

    def __len__(self) -> int:
        return len(self.value)


def mahalanobis_distance(
    train: ArrayLike,
    test: ArrayLike,
    covariance: Covariance = "ledoit_wolf",
    classes: ArrayLike | None = None,
    calibration: ArrayLike | float | None = 0.3,
    rng: np.random.Generator | int = 0,
) -> DensityScores:
    """√((x - μ)ᵀ Σ⁻¹ (x - μ)) of each test row from the training rows.

    Lee et al. (2018); for text generation Ren et al. (2023) and lm-polygraph's
    ``MahalanobisDistanceSeq``.

    Parameters
    ----------
    train : array_like of float, shape (n_train, n_dimensions)
        Embeddings of training data, one row per response: the mean hidden state of its tokens,
        say.
    test : array_like of float, shape (n_test, n_dimensions)
    covariance : {"ledoit_wolf", "empirical", "lm_polygraph"}
        ``"ledoit_wolf"`` (the default): shrunk towards a multiple of the identity, see
        `ledoit_wolf`; it exists where there are fewer rows than dimensions, as is usual.
        ``"empirical"``: n - 1 in the denominator; it needs more rows than dimensions.
        ``"lm_polygraph"``: the same plus the smallest of 1e-15, 1e-14, ..., 0.1 on the diagonal
        that leaves no negative eigenvalue. With fewer rows than dimensions it is nearly
        singular, and the distance measures rounding.
    classes : array_like, shape (n_train,), optional
        Then the distance is that from the nearest class mean, with the covariance within
        classes.
    calibration : array_like of float, shape (n_calibration, n_dimensions); float; or None
        Rows for p-values, which must have no part in the fit. A number is the share of the
        training rows, drawn at random, that is kept apart for it; None: no p-values, and a fit
        on all rows, as published.
    rng : numpy.random.Generator or int

    Returns
    -------
    DensityScores

    Raises
    ------
    ValueError
        If shapes differ, a number is NaN or infinite, or there are too few rows.

    Examples
    --------
    >>> train = [[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]
    >>> found = mahalanobis_distance(train, [[1.0, 0.0], [0.0, 1.0]], "empirical",
    ...                              calibration=None)
    >>> found.value.round(4)
    array([1.2247, 0.6124])
    """
    generator = np.random.default_rng(rng)
    rows = embeddings(train, "train")
    points = embeddings(test, "test", rows.shape[1])
    fit, held = split(rows, calibration, generator)
    labels = None if classes is None else np.asarray(classes)
    if labels is not None and labels.shape != (len(rows),):
        raise ValueError(f"classes must hold one label for each of {len(rows)} training rows")
    score = _distance(rows[fit], covariance, None if labels is None else labels[fit])
    value, p = scored(score, points, held, generator)
    n_held = 0 if held is None else len(held)
    return DensityScores(value, p, len(fit), n_held, f"Mahalanobis distance, {covariance}")


def relative_mahalanobis_distance(
    train: ArrayLike,
    background: ArrayLike,
    test: ArrayLike,
    form: Literal["squared", "lm_polygraph"] = "squared",
    covariance: Covariance = "ledoit_wolf",
    calibration: ArrayLike | float | None = 0.3,
    rng: np.random.Generator | int = 0,
) -> DensityScores:
    """Distance from the training data less that from text of all sorts.

    What all text shares cancels out (Ren et al. 2023).

    Parameters
    ----------
    train, test : as for `mahalanobis_distance`
    background : array_like of float, shape (n_background, n_dimensions)
        Embeddings of general text.
    form : {"squared", "lm_polygraph"}
        ``"squared"``, that of the paper: the squares are subtracted. Up to a constant it's
        minus twice the log-likelihood ratio of the two normal distributions. ``"lm_polygraph"``
        subtracts the distances themselves.
    covariance, calibration, rng : as for `mahalanobis_distance`

    Returns
    -------
    DensityScores
        May be negative.

    Examples
    --------
    >>> ring = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> found = relative_mahalanobis_distance(ring, 2 * ring, [[2.0, 0.0]], calibration=None,
    ...                                       covariance="empirical")
    >>> found.value.round(4)
    array([4.5])
    """
    generator = np.random.default_rng(rng)
    if form not in ("squared", "lm_polygraph"):
        raise ValueError(f"form must be squared or lm_polygraph, not {form!r}")
    rows = embeddings(train, "train")
    points = embeddings(test, "test", rows.shape[1])
    other = embeddings(background, "background", rows.shape[1])
    fit, held = split(rows, calibration, generator)
    near, far = _distance(rows[fit], covariance), _distance(other, covariance)
    power = 2 if form == "squared" else 1
    value, p = scored(lambda x: near(x) ** power - far(x) ** power, points, held, generator)
    n_held = 0 if held is None else len(held)
    return DensityScores(value, p, len(fit), n_held, f"relative Mahalanobis distance, {form}")


def token_mahalanobis_distance(
    train: ArrayLike,
    test: ArrayLike,
    n_tokens: ArrayLike,
    background: ArrayLike | None = None,
    covariance: Covariance = "ledoit_wolf",
    calibration: tuple[ArrayLike, ArrayLike] | None = None,
    rng: np.random.Generator | int = 0,
) -> DensityScores:
    """Mean of the distances of a response's tokens (ATMD; relative to a background: ATRMD).

    Vazhentsev et al. (2025), who take hidden states of the training answers that were right, for
    several layers, and put the layers' scores together with a regression on known answers
    (SATMD, SATRMD): `tune_ensemble` does that.

    Parameters
    ----------
    train : array_like of float, shape (n, n_dimensions)
        Hidden states of training tokens.
    test : array_like of float, shape (sum of n_tokens, n_dimensions)
        Hidden states of the tokens of the responses, one response after another.
    n_tokens : array_like of int, shape (n_responses,)
    background : array_like of float, shape (n_background, n_dimensions), optional
        Hidden states of general text: its distance is subtracted token by token.
    covariance : as for `mahalanobis_distance`
    calibration : pair of arrays like `test` and `n_tokens`, optional
        Responses for p-values, whose tokens had no part in the fit. The tokens of a response
        aren't exchangeable with each other, so responses are compared, not tokens.
    rng : numpy.random.Generator or int

    Returns
    -------
    DensityScores
        One per response; NaN without tokens.

    Examples
    --------
    >>> ring = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> token_mahalanobis_distance(ring, [[1.0, 0.0], [3.0, 0.0]], [2], covariance="empirical",
    ...                            ).value.round(4)
    array([2.4495])
    """
    generator = np.random.default_rng(rng)
    rows = embeddings(train, "train")
    score = _distance(rows, covariance)
    far = None
    if background is not None:
        far = _distance(embeddings(background, "background", rows.shape[1]), covariance)

    def per_response(values: ArrayLike, lengths: ArrayLike, what: str) -> FloatArray:
        points = embeddings(values, what, rows.shape[1])
        counts = np.asarray(lengths, dtype=np.int64)
        if counts.ndim != 1 or (counts < 0).any() or counts.sum() != len(points):
            raise ValueError(f"n_tokens must add up to the {len(points)} rows of {what}")
        distance = score(points) if far is None else score(points) - far(points)
        return Ragged.from_lengths(distance, counts).mean()

    value = per_response(test, n_tokens, "test")
    p, n_held = None, 0
    if calibration is not None:
        known = per_response(*calibration, "calibration")
        known, n_held = known[~np.isnan(known)], int((~np.isnan(known)).sum())
        p = np.full(len(value), np.nan)
        some = ~np.isnan(value)
        p[some] = conformal_p_values(known, value[some], rng=generator)
    name = "average token Mahalanobis distance" + (", relative" if far is not None else "")
    return DensityScores(value, p, len(rows), n_held, f"{name}, {covariance}")


def ledoit_wolf(centred: ArrayLike) -> tuple[FloatArray, float]:
    """Covariance shrunk towards a multiple of the identity, and by how much.

    (1 - s) S + s (tr S / d) I with the s in [0, 1] that estimates the one of least expected
    squared error (Ledoit and Wolf 2004), S = Xᵀ X / n.

    Parameters
    ----------
    centred : array_like of float, shape (n, n_dimensions)
        Rows less their mean.

    Returns
    -------
    covariance : ndarray of float64, shape (n_dimensions, n_dimensions)
    shrinkage : float

    Examples
    --------
    >>> covariance, shrinkage = ledoit_wolf([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    >>> covariance.round(4), round(shrinkage, 4)
    (array([[1.2083, 0.    ],
           [0.    , 1.2917]]), 0.9444)
    """
    x = embeddings(centred, "centred")
    n, d = x.shape
    if n == 0:
        raise ValueError("centred must hold at least one row")
    sample = x.T @ x / n
    level = float(np.trace(sample)) / d
    # Frobenius norms per dimension: of S - level I, and of the error of S.
    spread = float(((sample - level * np.eye(d)) ** 2).sum()) / d
    fourth = float((np.einsum("ij,ij->i", x, x) ** 2).sum()) / n
    error = (fourth - float((sample**2).sum())) / (n * d)
    shrinkage = min(max(error, 0.0), spread) / spread if spread > 0 else 1.0
    return (1 - shrinkage) * sample + shrinkage * level * np.eye(d), shrinkage


def _distance(
    rows: FloatArray, covariance: str, classes: NDArray[np.generic] | None = None
) -> Score:
    """Distance from the nearest class mean of the rows, as a function of points."""
    from scipy import linalg

    if len(rows) < 2:
        raise ValueError(f"train must leave at least two rows to fit on, not {len(rows)}")
    labels = np.zeros(len(rows), dtype=np.int64)
    if classes is not None:
        labels = np.unique(classes, return_inverse=True)[1].astype(np.int64)
    count = np.bincount(labels)
    means = np.zeros((len(count), rows.shape[1]))
    np.add.at(means, labels, rows)
    means /= count[:, None]
    centred = rows - means[labels]
    free = len(rows) - len(count)
    if covariance == "ledoit_wolf":
        matrix = ledoit_wolf(centred)[0]
    elif covariance in ("empirical", "lm_polygraph"):
        if free < 1 or (covariance == "empirical" and free < rows.shape[1]):
            raise ValueError(
                f"{len(rows)} rows are too few for the covariance of {rows.shape[1]} dimensions; "
                "ledoit_wolf needs no more"
            )
        matrix = centred.T @ centred / free
        if covariance == "lm_polygraph":
            lowest = np.linalg.eigvalsh(matrix)[0]
            enough = lowest + _JITTERS >= 0
            jitter = _JITTERS[int(np.argmax(enough)) if enough.any() else -1]
            matrix = matrix + jitter * np.eye(len(matrix))
    else:
        raise ValueError(
            f"covariance must be ledoit_wolf, empirical or lm_polygraph, not {covariance!r}"
        )
    try:
        root = linalg.cholesky(matrix, lower=True)
    except linalg.LinAlgError:
        raise ValueError("train has no spread in some direction; its covariance is singular") from (
            None
        )
    whitened_means = linalg.solve_triangular(root, means.T, lower=True)

    def distance(points: FloatArray) -> FloatArray:
        whitened = linalg.solve_triangular(root, points.T, lower=True)
        nearest = np.full(len(points), np.inf)
        for mean in whitened_means.T:
            nearest = np.minimum(nearest, ((whitened - mean[:, None]) ** 2).sum(axis=0))
        return np.asarray(np.sqrt(nearest))

    return distance
