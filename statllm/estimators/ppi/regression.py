"""Prediction-powered least squares and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.ppi._combine import Parts, Tuning, combine, union
from statllm.estimators.ppi._fits import Link, design, outcome, without_each
from statllm.estimators.ppi.results import PredictionPowered, t_estimate

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PPIRegression:
    """Coefficients with predictions, each beside that of the labels alone.

    Attributes
    ----------
    coefficients : tuple of PredictionPowered, length p
    covariance : ndarray of float64, shape (p, p)
        Of the corrected coefficients.
    """

    coefficients: tuple[PredictionPowered, ...]
    covariance: FloatArray

    @property
    def values(self) -> FloatArray:
        """The corrected coefficients."""
        return np.array([each.estimate.value for each in self.coefficients])


def ppi_ols(
    x: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    x_unlabelled: ArrayLike,
    unlabelled_predictions: ArrayLike,
    *,
    tuning: Tuning | float = "plug-in",
    clip: bool = True,
    clusters: ArrayLike | None = None,
    unlabelled_clusters: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> PPIRegression:
    """Least squares on few labels and many predictions.

    b_Y - lambda (b_f - b_fU) for each coefficient: b_Y and b_f regress labels and predictions on
    `x` of the labelled rows, b_fU predictions on that of the others. At lambda = 1 it's the
    estimate of Angelopoulos et al. (2023, algorithm 3). Three fits of their own rather than one
    rectified loss: what x explains of Y - f doesn't add to the error then. lambda, error and t as
    in `ppi_mean`, with the jackknife over clusters, which is exact here.

    Parameters
    ----------
    x : array_like of float, shape (n, p)
        With a column of ones for an intercept.
    labels, predictions : array_like of float, shape (n,)
    x_unlabelled : array_like of float, shape (N, p)
    unlabelled_predictions : array_like of float, shape (N,)
    tuning, clip, clusters, unlabelled_clusters
        As for `ppi_mean`; lambda is chosen for each coefficient.
    names : sequence of str, optional

    Returns
    -------
    PPIRegression

    Raises
    ------
    ValueError
        If shapes differ, a value isn't finite, columns of x depend on each other (also without
        any one cluster), or clusters are too few.

    Examples
    --------
    >>> x = np.stack([np.ones(6), np.arange(6.0)], axis=1)
    >>> y = [1.0, 3.1, 4.9, 7.0, 9.2, 10.8]
    >>> many = np.stack([np.ones(300), np.arange(300) % 6], axis=1)
    >>> found = ppi_ols(x, y, 2.1 * x[:, 1] + 1, many, 2.1 * many[:, 1] + 1, tuning=1.0)
    >>> found.values.round(3)
    array([1.043, 1.983])
    """
    return _regression(
        "identity", x, labels, predictions, x_unlabelled, unlabelled_predictions,
        tuning, clip, clusters, unlabelled_clusters, names,
    )  # fmt: skip


def ppi_logistic(
    x: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    x_unlabelled: ArrayLike,
    unlabelled_predictions: ArrayLike,
    *,
    tuning: Tuning | float = "plug-in",
    clip: bool = True,
    clusters: ArrayLike | None = None,
    unlabelled_clusters: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> PPIRegression:
    """Logistic regression on few labels and many predictions.

    As `ppi_ols`, of three logistic fits (predict-then-debias, Kluger et al. 2025; Chen and Chen
    2000). The jackknife takes one Newton step from the full fit, with the Hessian of the rows that
    are left. PPI++'s single rectified loss is
    `statllm.estimators.ppi.published.published_logistic`.

    Parameters
    ----------
    x, x_unlabelled, tuning, clip, clusters, unlabelled_clusters, names
        As for `ppi_ols`.
    labels, predictions, unlabelled_predictions : array_like of float
        From 0 to 1; predictions may be probabilities.

    Returns
    -------
    PPIRegression
        Coefficients are log odds ratios.

    Raises
    ------
    ValueError
        As for `ppi_ols`; if a value is outside [0, 1], or a fit separates its outcomes.

    Examples
    --------
    >>> x = np.ones((8, 1))
    >>> found = ppi_logistic(x, [1, 1, 1, 0] * 2, [1, 1, 0, 0] * 2, np.ones((100, 1)), [1, 0] * 50)
    >>> round(found.coefficients[0].classical.value, 4)  # log(3)
    1.0986
    """
    return _regression(
        "logit", x, labels, predictions, x_unlabelled, unlabelled_predictions,
        tuning, clip, clusters, unlabelled_clusters, names,
    )  # fmt: skip


def _regression(
    link: Link,
    x: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    x_unlabelled: ArrayLike,
    unlabelled_predictions: ArrayLike,
    tuning: Tuning | float,
    clip: bool,
    clusters: ArrayLike | None,
    unlabelled_clusters: ArrayLike | None,
    names: Sequence[str] | None,
) -> PPIRegression:
    given, more = design(x, "x"), design(x_unlabelled, "x_unlabelled")
    if given.shape[1] != more.shape[1]:
        raise ValueError(
            f"x has {given.shape[1]} columns, x_unlabelled {more.shape[1]}: they must be the same"
        )
    y = outcome(labels, given, link, "labels")
    f = outcome(predictions, given, link, "predictions")
    u = outcome(unlabelled_predictions, more, link, "unlabelled_predictions")
    p = given.shape[1]
    called = [f"coefficient {j}" for j in range(p)] if names is None else list(names)
    if len(called) != p:
        raise ValueError(f"{len(called)} names for {p} columns of x")
    number, number_u, n_clusters = union(clusters, unlabelled_clusters, len(y), len(u))
    (b_y, dy), (b_f, df), (b_u, du) = (
        without_each(given, y, number, n_clusters, link, "labels"),
        without_each(given, f, number, n_clusters, link, "predictions"),
        without_each(more, u, number_u, n_clusters, link, "unlabelled_predictions"),
    )
    inside, outside = np.zeros(n_clusters, bool), np.zeros(n_clusters, bool)
    inside[number], outside[number_u] = True, True
    parts = Parts(b_y, b_f, b_u, dy, df, du, inside, outside, np.ones(n_clusters))
    found, alone = combine(parts, tuning, clip), combine(parts, 0.0, False)
    n, model = int(inside.sum()), {"identity": "least squares", "logit": "logistic"}[link]
    model = model if clusters is None else f"{model}, clustered"
    coefficients = tuple(
        PredictionPowered(
            t_estimate(
                float(found.value[j]), float(found.se[j]), float(found.df[j]), n,
                f"PPI {model}, lambda {found.tuning[j]:.3g}", called[j],
            ),
            t_estimate(
                float(alone.value[j]), float(alone.se[j]), float(alone.df[j]), n, model, called[j]
            ),
            float(found.tuning[j]),
        )
        for j in range(p)
    )  # fmt: skip
    return PPIRegression(coefficients, found.change.T @ found.change)
