"""Many questions at once: adjusted p-values and e-values, as logarithms.

Every function takes natural logarithms, adjusts along the last axis and returns adjusted log
p-values: what is at most log(alpha) can be rejected at level alpha. NaN stays NaN and counts as a
test that isn't rejected.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers, whole

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def bonferroni(log_p: ArrayLike, n_tests: int | None = None) -> FloatArray:
    """Adjust by Bonferroni: m p. Family-wise error at most alpha, whatever the dependence.

    Parameters
    ----------
    log_p : array_like, shape (..., m)
    n_tests : int, optional
        All tests of the family, where some aren't listed.

    Raises
    ------
    ValueError
        If a log p is above 0, or `n_tests` is below m.

    Examples
    --------
    >>> np.exp(bonferroni(np.log([0.01, 0.04, 0.03]))).round(4)
    array([0.03, 0.12, 0.09])
    """
    values, n = _checked(log_p, n_tests)
    return np.minimum(values + math.log(max(n, 1)), 0.0)


def holm(log_p: ArrayLike, n_tests: int | None = None) -> FloatArray:
    """Adjust by Holm's step-down rule (1979). Family-wise error, whatever the dependence.

    The j-th smallest of m becomes the largest of (m - i + 1) p_(i), i <= j, at most 1. This is the
    closed test by Bonferroni: `holm(...).min()` is the p-value of "any of these".

    Parameters
    ----------
    log_p : array_like, shape (..., m)
    n_tests : int, optional
        All tests of the family, where some aren't listed: these count as not rejected, which
        only makes the listed ones larger.

    Raises
    ------
    ValueError
        If a log p is above 0, or `n_tests` is below m.

    Examples
    --------
    >>> np.exp(holm(np.log([0.01, 0.04, 0.03]))).round(4)
    array([0.03, 0.06, 0.06])
    """
    values, n = _checked(log_p, n_tests)
    order, ranked = _ranked(values)
    ranked = ranked + np.log(n - np.arange(values.shape[-1]))
    return _placed(np.maximum.accumulate(ranked, axis=-1), order, values)


def hommel(log_p: ArrayLike) -> FloatArray:
    """Adjust by Hommel's rule (1988), the closed test by Simes's: never larger than Holm's.

    Family-wise error for independent or positively dependent tests (Sarkar 1998), such as those
    of different keys on one text.

    Parameters
    ----------
    log_p : array_like, shape (..., m)

    Raises
    ------
    ValueError
        If a log p is above 0.

    Examples
    --------
    >>> np.exp(hommel(np.log([0.01, 0.04, 0.03]))).round(4)
    array([0.03, 0.04, 0.04])
    """
    values, m = _checked(log_p, None)
    order, p = _ranked(values)
    found = p.copy()
    numbers = np.arange(1, m + 1)
    for size in range(1, m + 1):
        # Simes of the set of `size` tests that holds p_i and otherwise the largest ones
        log_size = math.log(size)
        others = p[..., m - size + 1 :] + log_size - np.log(numbers[1:size])
        smallest = others.min(axis=-1, keepdims=True, initial=np.inf)
        found = np.maximum(found, np.minimum(p + log_size, smallest))
    return _placed(found, order, values)


def benjamini_hochberg(log_p: ArrayLike, n_tests: int | None = None) -> FloatArray:
    """Adjust by Benjamini and Hochberg (1995). False discovery rate.

    The j-th smallest of m becomes the smallest of m p_(i) / i, i >= j. For independent or
    positively dependent tests (Benjamini and Yekutieli 2001).

    Parameters
    ----------
    log_p : array_like, shape (..., m)
    n_tests : int, optional
        All tests of the family, where only the smallest are listed.

    Raises
    ------
    ValueError
        If a log p is above 0, or `n_tests` is below m.

    Examples
    --------
    >>> np.exp(benjamini_hochberg(np.log([0.01, 0.04, 0.03, 0.5]))).round(4)
    array([0.04 , 0.0533, 0.0533, 0.5 ])
    """
    return _step_up(log_p, n_tests, harmonic=False)


def benjamini_yekutieli(log_p: ArrayLike, n_tests: int | None = None) -> FloatArray:
    """Adjust by Benjamini and Yekutieli (2001). False discovery rate, whatever the dependence.

    As `benjamini_hochberg`, times 1 + 1/2 + ... + 1/m.

    Parameters
    ----------
    log_p : array_like, shape (..., m)
    n_tests : int, optional
        All tests of the family, where only the smallest are listed.

    Raises
    ------
    ValueError
        If a log p is above 0, or `n_tests` is below m.

    Examples
    --------
    >>> np.exp(benjamini_yekutieli(np.log([0.01, 0.04, 0.03, 0.5]))).round(4)
    array([0.0833, 0.1111, 0.1111, 1.    ])
    """
    return _step_up(log_p, n_tests, harmonic=True)


def e_benjamini_hochberg(log_e: ArrayLike) -> FloatArray:
    """Adjust e-values by e-BH (Wang and Ramdas 2022). False discovery rate, any dependence.

    The j-th largest of m becomes the smallest of m / (i e_(i)), i >= j, at most 1. An e-value is
    not negative and has a mean of at most 1 under its null hypothesis.

    Parameters
    ----------
    log_e : array_like, shape (..., m)

    Returns
    -------
    ndarray
        Logarithms of the smallest level at which each would be a discovery.

    Examples
    --------
    >>> np.exp(e_benjamini_hochberg(np.log([100.0, 40.0, 0.5]))).round(4)
    array([0.03  , 0.0375, 1.    ])
    """
    # 1 / e of an e-value below 1 is above 1: it counts all the same where others are large
    return _adjusted_up(-_listed(log_e, "log_e"), 0.0)


def closed_e(log_e: ArrayLike) -> FloatArray:
    """Adjust e-values by closed testing with averages (Vovk and Wang 2021, algorithm 1).

    Each becomes 1 / the smallest average over the sets that hold it, at most 1. Family-wise
    error, whatever the dependence: of the keys under which a text was read, those with an
    adjusted log p of at most log(alpha) are all in it.

    Parameters
    ----------
    log_e : array_like, shape (..., m)

    Examples
    --------
    >>> np.exp(closed_e(np.log([100.0, 40.0, 0.5]))).round(4)
    array([0.0214, 0.0494, 1.    ])
    """
    values = _listed(log_e, "log_e")
    order, ranked = _ranked(np.where(np.isnan(values), -np.inf, values))
    rank = np.arange(values.shape[-1])
    found, smallest = ranked.copy(), np.full((*ranked.shape[:-1], 1), -np.inf)
    for k in rank:  # with the k + 1 smallest ones, of which it may be one itself
        smallest = np.logaddexp(smallest, ranked[..., k : k + 1])
        others = np.logaddexp(ranked, smallest) - math.log(k + 2)
        found = np.minimum(found, np.where(rank <= k, smallest - math.log(k + 1), others))
    return _placed(-found, order, values)


def _step_up(log_p: ArrayLike, n_tests: int | None, *, harmonic: bool) -> FloatArray:
    values, n = _checked(log_p, n_tests)
    more = math.log(float(np.sum(1 / np.arange(1, n + 1)))) if harmonic and n else 0.0
    return _adjusted_up(values, math.log(n / max(values.shape[-1], 1)) + more if n else 0.0)


def _adjusted_up(values: FloatArray, more: float) -> FloatArray:
    """The smallest of m p_(i) / i over i >= j, times exp(more)."""
    m = values.shape[-1]
    order, ranked = _ranked(values)
    scaled = ranked - np.log(np.arange(1, m + 1)) + math.log(max(m, 1)) + more
    smallest = np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    return _placed(smallest, order, values)


def _checked(log_p: ArrayLike, n_tests: int | None) -> tuple[FloatArray, int]:
    values = _listed(log_p, "log_p")
    if np.any(values > 1e-12):
        raise ValueError(f"log_p must be at most 0, but one is {np.nanmax(values):g}")
    m = values.shape[-1]
    if n_tests is None:
        return values, m
    return values, whole(n_tests, "n_tests", m)


def _listed(x: ArrayLike, name: str) -> FloatArray:
    values = numbers(x, name)
    if values.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension")
    return values


def _ranked(values: FloatArray) -> tuple[IntArray, FloatArray]:
    """The order along the last axis, smallest first, and the values in it; NaN is last, as inf."""
    order = np.argsort(values, axis=-1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=-1)
    return order.astype(np.int64), np.where(np.isnan(ranked), np.inf, ranked)


def _placed(ranked: FloatArray, order: IntArray, values: FloatArray) -> FloatArray:
    """Put adjusted values back in their places, at most 0; NaN where there was NaN."""
    out = np.empty_like(ranked)
    np.put_along_axis(out, order, np.minimum(ranked, 0.0), axis=-1)
    return np.where(np.isnan(values), np.nan, out)
