"""Ratings as counts of categories: one row per unit, one column per category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers

FloatArray = NDArray[np.float64]
Weights = Literal["identity", "linear", "quadratic", "ordinal", "ratio"]


@dataclass(frozen=True, eq=False)
class CategoryCounts:
    """How many raters put each unit into each category.

    Attributes
    ----------
    counts : ndarray of float64, shape (n_units, n_categories)
    categories : ndarray, shape (n_categories,)
        In order; numbers, or text.

    Examples
    --------
    >>> table = CategoryCounts(np.array([[2, 1], [0, 3]]), np.array([0, 1]))
    >>> table.raters
    array([3., 3.])
    """

    counts: FloatArray
    categories: NDArray[Any]

    def __post_init__(self) -> None:
        """Check shapes and signs."""
        counts = np.asarray(self.counts, np.float64)
        categories = np.asarray(self.categories)
        if counts.ndim != 2 or categories.shape != counts.shape[1:]:
            raise ValueError(
                f"counts must be a matrix with one column per category, {len(categories)}, not "
                f"of shape {counts.shape}"
            )
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError("counts must be finite and not negative")
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "categories", categories)

    @property
    def raters(self) -> FloatArray:
        """Ratings of each unit."""
        total: FloatArray = self.counts.sum(axis=1)
        return total

    @property
    def values(self) -> FloatArray:
        """Categories as numbers; their places where they are text."""
        if self.categories.dtype.kind in "iuf":
            return self.categories.astype(np.float64)
        return np.arange(len(self.categories), dtype=np.float64)


def category_counts(ratings: ArrayLike | CategoryCounts, categories: Any = None) -> CategoryCounts:
    """Count the ratings of each unit by category.

    Parameters
    ----------
    ratings : array_like, shape (n_units, n_raters)
        Numbers or text; NaN and None are missing. Counts are returned as they are.
    categories : sequence, optional
        All categories in order. Default: those that occur, sorted.

    Returns
    -------
    CategoryCounts

    Raises
    ------
    ValueError
        If ratings aren't a matrix, hold both text and numbers, or one isn't among the categories.

    Examples
    --------
    >>> category_counts([["a", "b", None], ["b", "b", "b"]]).counts
    array([[1., 1.],
           [0., 3.]])
    """
    if isinstance(ratings, CategoryCounts):
        return ratings
    table, missing = _table(ratings)
    known = table[~missing]
    found = np.unique(known) if categories is None else np.asarray(categories)
    order = np.argsort(found, kind="stable")
    place = np.searchsorted(found, known, sorter=order)
    code = order[np.minimum(place, len(found) - 1)] if len(found) else place
    if len(known) and (not len(found) or not np.array_equal(found[code], known)):
        wrong = known[0] if not len(found) else known[found[code] != known][0]
        raise ValueError(f"rating {wrong} isn't among the categories")
    unit = np.nonzero(~missing)[0]
    k = len(found)
    counts = np.bincount(unit * k + code, minlength=len(table) * k).reshape(len(table), k)
    return CategoryCounts(counts.astype(np.float64), found)


def _table(ratings: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Ratings of one type, and which are missing."""
    # numpy would turn a list of text and NaN into text that says 'nan'
    raw = ratings if isinstance(ratings, np.ndarray) else np.array(ratings, dtype=object)
    if raw.ndim != 2:
        raise ValueError(f"ratings must be a matrix of units by raters, not of shape {raw.shape}")
    if raw.dtype.kind in "iufb":
        table = raw.astype(np.float64)
        return table, np.isnan(table)
    if raw.dtype.kind != "O":
        return raw, np.zeros(raw.shape, bool)
    flat = raw.ravel().tolist()
    missing = np.array([x is None or x != x for x in flat], bool).reshape(raw.shape)
    kinds = {isinstance(x, str) for x, gone in zip(flat, missing.ravel(), strict=True) if not gone}
    if len(kinds) > 1:
        raise ValueError("ratings must be all text or all numbers")
    if kinds == {True}:
        return np.where(missing, "", raw).astype(np.str_), missing
    return numbers(np.where(missing, np.nan, raw), "ratings"), missing


def agreement_weights(weights: Weights | ArrayLike, values: FloatArray) -> FloatArray:
    """Agreement of every two categories, 1 on the diagonal.

    Parameters
    ----------
    weights : {"identity", "linear", "quadratic", "ordinal", "ratio"} or matrix
        1 if equal, else 0; 1 - |a - b| / range; 1 - (a - b)^2 / range^2; by the number of
        pairs of categories between the two (Gwet 2014); 1 - ((a - b) / (a + b))^2, scaled.
    values : ndarray of float64, shape (k,)

    Raises
    ------
    ValueError
        If the name is unknown; if a matrix isn't k x k, symmetric, within [0, 1], with 1 on its
        diagonal; if ratio values aren't positive.

    Examples
    --------
    >>> agreement_weights("linear", np.array([1.0, 2.0, 3.0]))
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0.5],
           [0. , 0.5, 1. ]])
    """
    k = len(values)
    if not isinstance(weights, str):
        given = np.asarray(weights, np.float64)
        fair = given.shape == (k, k) and np.allclose(given, given.T)
        if not fair or given.min() < 0 or given.max() > 1 or not np.allclose(np.diag(given), 1):
            raise ValueError(
                f"weights must be a symmetric {k} x {k} matrix within [0, 1], its diagonal 1"
            )
        return given
    differences = np.abs(values[:, None] - values)
    if weights == "identity":
        return np.eye(k)
    if weights == "ordinal":
        places = np.abs(np.arange(k)[:, None] - np.arange(k))
        differences = (places + 1) * places / 2
    elif weights == "quadratic":
        differences = differences**2
    elif weights == "ratio":
        if values.min(initial=0.0) < 0:
            raise ValueError("ratio weights need categories that aren't negative")
        total = values[:, None] + values
        differences = np.divide(differences, total, out=np.zeros_like(total), where=total > 0) ** 2
    elif weights != "linear":
        raise ValueError(
            f"weights must be identity, linear, quadratic, ordinal, ratio or a matrix, not "
            f"{weights!r}"
        )
    top = differences.max(initial=0.0)
    return 1 - differences / top if top > 0 else np.ones((k, k))
