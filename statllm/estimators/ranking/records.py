"""A table of battles between models, coded once and counted by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WIN, TIE, LOSS = 0, 1, 2  # of the first model; columns of all tables of counts


@dataclass(frozen=True, eq=False)
class Battles:
    """N battles between K models; made by `battles`.

    Attributes
    ----------
    models : tuple
        Labels, sorted; codes index them.
    first, second : ndarray of int64, shape (N,)
        Codes of the two models.
    result : ndarray of int64, shape (N,)
        0: the first won, 1: a tie, 2: the second won.
    weight : ndarray of float64, shape (N,)
    clusters : tuple of ndarray of int64, shape (N,)
        Codes of none, one or two ways in which battles are grouped.
    style : ndarray of float64, shape (N, q)
        Covariates, positive where the first model has more of them.
    style_names : tuple of str
    """

    models: tuple[Any, ...]
    first: IntArray
    second: IntArray
    result: IntArray
    weight: FloatArray
    clusters: tuple[IntArray, ...]
    style: FloatArray
    style_names: tuple[str, ...]

    @property
    def n_models(self) -> int:
        """K."""
        return len(self.models)

    def __len__(self) -> int:
        return len(self.first)


def battles(
    a: ArrayLike,
    b: ArrayLike,
    outcome: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    clusters: ArrayLike | Sequence[ArrayLike] | None = None,
    style: ArrayLike | None = None,
    style_names: Sequence[str] = (),
) -> Battles:
    """Code a table of battles.

    Parameters
    ----------
    a, b : array_like, shape (N,)
        Labels of the two models: text or integers.
    outcome : array_like of float, shape (N,)
        1 where a won, 0 where b did, 0.5 for a tie.
    weight : array_like of float, shape (N,), optional
        How many battles a row stands for. Default: 1.
    clusters : array_like, shape (N,), or a tuple or list of two of them, optional
        Labels of what battles share: the prompt, the judge, the worker. Battles of one cluster
        may depend on each other. Two: battles that share either may.
    style : array_like of float, shape (N, q) or (N,), optional
        Covariates of the comparison, see `style_differences`.
    style_names : sequence of str
        Default: ``style0``, ``style1``, ...

    Returns
    -------
    Battles

    Raises
    ------
    ValueError
        If lengths differ, a model fights itself, an outcome is none of 1, 0.5 and 0, a weight
        is negative or a covariate isn't finite; the row is named.

    Examples
    --------
    >>> table = battles(["x", "x", "y"], ["y", "z", "z"], [1, 0.5, 0], clusters=[7, 7, 8])
    >>> table.models, table.result, table.clusters
    (('x', 'y', 'z'), array([0, 1, 2]), (array([0, 0, 1]),))
    """
    left, right = np.asarray(a), np.asarray(b)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(
            f"a and b must be of one length, not of shapes {left.shape}, {right.shape}"
        )
    n = len(left)
    if not n:
        raise ValueError("there are no battles")
    models, codes = coded(np.concatenate([left, right]), "a and b")
    first, second = codes[:n], codes[n:]
    _refuse(first == second, "a model fights itself")
    won = _column(outcome, n, "outcome")
    _refuse((won != 1) & (won != 0.5) & (won != 0), "outcome must be 1, 0.5 or 0", won)
    weights = np.ones(n) if weight is None else _column(weight, n, "weight")
    _refuse(~((weights >= 0) & np.isfinite(weights)), "weight must be finite and not negative")
    covariates = np.zeros((n, 0)) if style is None else numbers(style, "style")
    covariates = covariates.reshape(len(covariates), -1)
    if len(covariates) != n:
        raise ValueError(f"style has {len(covariates)} rows, a has {n}")
    _refuse(~np.isfinite(covariates).all(axis=1), "style must be finite")
    q = covariates.shape[1]
    names = tuple(style_names) or tuple(f"style{number}" for number in range(q))
    if len(names) != q:
        raise ValueError(f"{len(names)} style_names for {q} columns of style")
    for name, values in zip(names, covariates.T, strict=True):
        if not np.any(values != 0):
            raise ValueError(f"style covariate {name!r} is 0 in every battle")
    result = np.where(won == 1, WIN, np.where(won == 0.5, TIE, LOSS)).astype(np.int64)
    ways = _ways(clusters, n)
    return Battles(models, first, second, result, weights, ways, covariates, names)


def style_differences(a: ArrayLike, b: ArrayLike, *, centre: bool = False) -> FloatArray:
    """Relative differences of a style feature, (a - b) / (a + b), on a common scale.

    The features of Chatbot Arena's style control: length, numbers of headers, lists and bold
    spans. 0 where both are 0. Divided by the root of its mean square, so that swapping the models
    of a battle changes the sign and nothing else.

    Parameters
    ----------
    a, b : array_like of float, shape (N,)
        Counts, not negative.
    centre : bool
        Subtract the mean and divide by the standard deviation instead, as Arena's notebook does.
        The ratings then assume that the first model has the mean advantage in style.

    Raises
    ------
    ValueError
        If a count is negative or not finite, or nothing ever differs.

    Examples
    --------
    >>> style_differences([300, 100, 0], [100, 100, 0]).round(3)
    array([1.732, 0.   , 0.   ])
    """
    left = numbers(a, "a")
    right = _column(b, left.size, "b")
    for name, values in (("a", left), ("b", right)):
        _refuse(~((values >= 0) & np.isfinite(values)), f"{name} must be finite and not negative")
    total = left + right
    ratio = np.divide(left - right, total, out=np.zeros(len(total)), where=total > 0)
    if centre:
        ratio = ratio - ratio.mean()
    size = float(np.sqrt(np.mean(ratio**2)))
    if size == 0:
        raise ValueError("a and b never differ in style")
    return np.asarray(ratio / size)


def coded(values: NDArray[Any], name: str) -> tuple[tuple[Any, ...], IntArray]:
    """Sorted distinct labels, and the place of each value among them; NaN and None are refused."""
    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if high - low < max(1_000_000, values.size):  # counting is faster than sorting
            shifted = (values - low).astype(np.int64)
            present = np.bincount(shifted) > 0
            found = np.flatnonzero(present) + low
            return tuple(found.tolist()), (np.cumsum(present) - 1)[shifted].astype(np.int64)
    listed = values.tolist()
    distinct = set(listed)
    if any(label is None or label != label for label in distinct):
        _refuse(
            [label is None or label != label for label in listed], f"{name}: a label is missing"
        )
    try:
        labels = sorted(distinct)
    except TypeError as error:
        raise ValueError(f"{name}: labels must be of one type") from error
    place = {label: number for number, label in enumerate(labels)}  # faster than sorting rows
    return tuple(labels), np.fromiter(map(place.__getitem__, listed), np.int64, len(listed))


def _ways(clusters: ArrayLike | Sequence[ArrayLike] | None, n: int) -> tuple[IntArray, ...]:
    """Cluster codes, one array a way."""
    if clusters is None:
        return ()
    listed = (
        list(clusters)
        if isinstance(clusters, (tuple, list)) and clusters and np.ndim(clusters[0]) == 1
        else [clusters]
    )
    if len(listed) > 2:
        raise ValueError(f"clusters can be given in one or two ways, not {len(listed)}")
    ways = []
    for labels in listed:
        values = np.asarray(labels)
        if values.shape != (n,):
            raise ValueError(f"clusters have shape {values.shape}, {n} labels were expected")
        ways.append(coded(values, "clusters")[1])
    return tuple(ways)


def _column(values: ArrayLike, n: int, name: str) -> FloatArray:
    column = numbers(values, name)
    if column.shape != (n,):
        raise ValueError(f"{name} has shape {column.shape}, {n} values were expected")
    return column


def check_scale(scale: float) -> None:
    """ValueError unless units per nat are positive and finite."""
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, not {scale}")


def _refuse(wrong: ArrayLike, message: str, values: FloatArray | None = None) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        row = int(rows[0])
        shown = "" if values is None else f", not {values[row]:g}"
        raise ValueError(f"{message}{shown} (row {row})")
