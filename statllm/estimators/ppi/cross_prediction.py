"""Predictions by a model that is trained on the labels themselves, each by the other folds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes, numbers

FloatArray = NDArray[np.float64]
Predictor = Callable[[FloatArray], ArrayLike]


def cross_predictions(
    fit: Callable[[FloatArray, FloatArray], Predictor],
    x: ArrayLike,
    labels: ArrayLike,
    x_unlabelled: ArrayLike,
    *,
    folds: int = 5,
    clusters: ArrayLike | None = None,
    rng: np.random.Generator | int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Cross-fit a predictor, for `ppi_mean` and its like (Zrnic and Candès 2024).

    A model judged on the rows it was trained on looks too good, and the correction would be too
    small. Each labelled row is predicted by the model of the other folds; unlabelled rows by the
    mean of all the models.

    Parameters
    ----------
    fit : callable
        ``fit(x, labels)`` returns a function from rows of x to predictions.
    x : array_like of float, shape (n, p)
    labels : array_like of float, shape (n,)
    x_unlabelled : array_like of float, shape (N, p)
    folds : int
        At least 2.
    clusters : array_like, shape (n,), optional
        A cluster stays within one fold.
    rng : Generator or int
        Deals clusters to folds.

    Returns
    -------
    predictions, unlabelled_predictions : ndarray of float64, shapes (n,) and (N,)

    Raises
    ------
    ValueError
        If lengths differ, or there are fewer clusters than folds.

    Examples
    --------
    >>> def line(x, y):
    ...     slope, start = np.polyfit(x[:, 0], y, 1)
    ...     return lambda new: start + slope * new[:, 0]
    >>> x = np.arange(10.0)[:, None]
    >>> f, more = cross_predictions(line, x, 2 * x[:, 0] + 1, [[20.0]])
    >>> f.round(6), more.round(6)
    (array([ 1.,  3.,  5.,  7.,  9., 11., 13., 15., 17., 19.]), array([41.]))
    """
    known, more = numbers(x, "x"), numbers(x_unlabelled, "x_unlabelled")
    y = numbers(labels, "labels")
    if known.ndim != 2 or more.ndim != 2 or y.shape != (len(known),):
        raise ValueError("x and x_unlabelled must be matrices, with one label per row of x")
    groups = np.arange(len(y)) if clusters is None else clusters
    number = label_codes(groups, "clusters", len(y))
    size = int(number.max(initial=-1)) + 1
    if not 2 <= folds <= size:
        raise ValueError(f"folds must lie between 2 and the {size} clusters, not {folds}")
    fold = np.random.default_rng(rng).permutation(np.arange(size) % folds)[number]
    held_out, total = np.empty(len(y)), np.zeros(len(more))
    for k in range(folds):
        out = fold == k
        model = fit(known[~out], y[~out])
        held_out[out] = np.asarray(model(known[out]), np.float64)
        total += np.asarray(model(more), np.float64)
    return held_out, total / folds
