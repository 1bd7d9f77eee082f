"""Conformal p-values, exact, for any number of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.conformal.law import checked_scores
from statllm.estimators.conformal.sets import checked_weights, group_codes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def conformal_p_values(
    calibration_scores: ArrayLike,
    scores: ArrayLike,
    smoothed: bool = True,
    groups: tuple[ArrayLike, ArrayLike] | None = None,
    weights: tuple[ArrayLike, ArrayLike] | None = None,
    rng: np.random.Generator | int = 0,
) -> FloatArray:
    """P-values of "this item is exchangeable with the calibration items".

    With w = 1 unless `weights` are given (Vovk, Gammerman and Shafer 2005; weighted: Tibshirani,
    Barber, Candes and Ramdas 2019), the p-value of a score s is

        [sum_{s_i > s} w_i + u (sum_{s_i = s} w_i + w)] / (sum_i w_i + w),

    u uniform when smoothed, which makes it exactly uniform whatever the ties; u = 1 otherwise,
    which makes it valid and larger. A set {answers with p > alpha} covers 1 - alpha.

    Calibration scores are sorted once and every score is found by bisection: O((n + m) log n).

    Parameters
    ----------
    calibration_scores : array_like of float, shape (n,)
        Nonconformity of items with known truth; larger is stranger.
    scores : array_like of float, shape (m,) or (m, K)
        Nonconformity of test items, or of their K candidate answers.
    smoothed : bool
    groups : pair of array_like, shapes (n,) and (m,), optional
        Mondrian: compare within groups only. A group without calibration items has p = u.
    weights : pair of array_like, shapes (n,) and (m,), optional
        Likelihood ratios test / calibration of the items' covariates, up to one common factor,
        for covariate shift.
    rng : Generator or int
        For the u, one per score.

    Returns
    -------
    ndarray of float64, shape of `scores`

    Raises
    ------
    ValueError
        If a score is NaN, a weight negative or infinite, or lengths differ.

    Examples
    --------
    >>> conformal_p_values([1.0, 2.0, 2.0, 3.0], [0.0, 2.0, 9.0], smoothed=False)
    array([1. , 0.8, 0.2])
    """
    fit = checked_scores(calibration_scores, "calibration_scores")
    test = np.asarray(scores, dtype=np.float64)
    if test.ndim not in (1, 2):
        raise ValueError(f"scores must have one or two dimensions, not shape {test.shape}")
    flat = checked_scores(test.ravel(), "scores")
    width = test.size // max(len(test), 1)
    n_items = len(test)

    if groups is None:
        keys, test_keys = fit, flat
        codes, test_codes = np.zeros(len(fit), np.int64), np.zeros(n_items, np.int64)
        n_groups = 1
    else:
        codes, test_codes, n_groups = group_codes(*groups, len(fit), n_items)
        keys, test_keys = _grouped_keys(fit, flat, codes, np.repeat(test_codes, width))
    order = np.argsort(keys, kind="stable")
    left, right = _bounds(keys[order], test_keys)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=n_groups))])
    group = np.repeat(test_codes, width)
    begins, ends = offsets[group], offsets[group + 1]

    if weights is None:
        above, equal, total, own = ends - right, right - left, ends - begins, np.ones(1)
    else:
        w, own = checked_weights(weights, len(fit), n_items)
        running = np.concatenate([[0.0], np.cumsum(w[order])])
        above, equal = running[ends] - running[right], running[right] - running[left]
        total, own = running[ends] - running[begins], np.repeat(own, width)
    u = np.random.default_rng(rng).random(len(flat)) if smoothed else 1.0
    mass = total + own
    with np.errstate(invalid="ignore"):
        p = (above + u * (equal + own)) / mass
    # No weight at all, own or others': nothing speaks against the item.
    return np.where(mass > 0, np.minimum(p, 1.0), 1.0).reshape(test.shape)


def _bounds(ordered: NDArray[Any], keys: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """`searchsorted` on both sides for the price of one."""
    left = np.searchsorted(ordered, keys, side="left")
    if not len(ordered):
        return left, left
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    run_ends = np.repeat(np.append(starts[1:], len(ordered)), np.diff(starts, append=len(ordered)))
    inside = np.minimum(left, len(ordered) - 1)
    return left, np.where(ordered[inside] == keys, run_ends[inside], left)


def _grouped_keys(
    fit: FloatArray, test: FloatArray, codes: IntArray, test_codes: IntArray
) -> tuple[Any, Any]:
    """One whole number per score that sorts by group, then by score."""
    levels, ranks = np.unique(np.concatenate([fit, test]), return_inverse=True)
    keys = np.concatenate([codes, test_codes]) * np.int64(len(levels)) + ranks
    return keys[: len(fit)], keys[len(fit) :]
