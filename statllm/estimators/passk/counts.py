"""pass@k and pass^k from the number of samples that succeeded."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_LARGEST = 2.0**53  # above, floats leave out whole numbers


def success_counts(correct: Ragged) -> tuple[IntArray, IntArray]:
    """Count successes and samples of each task.

    Parameters
    ----------
    correct : Ragged of bool or float, n_tasks rows
        Verdicts, 1 or 0. NaN (no verdict) isn't allowed: say whether it is a failure before.

    Returns
    -------
    successes, n : ndarray of int64, shape (n_tasks,)

    Raises
    ------
    ValueError
        If a verdict is neither 0 nor 1; the task is named.

    Examples
    --------
    >>> success_counts(Ragged.from_lists([[1, 0, 1], [0]]))
    (array([2, 0]), array([3, 1]))
    """
    values = verdicts(correct)
    sums = correct.with_values(values).sum()
    return np.asarray(np.rint(sums), np.int64), np.asarray(correct.lengths, np.int64)


def verdicts(correct: Ragged) -> FloatArray:
    """Return all verdicts as floats; ValueError names the task of one that isn't 0 or 1."""
    values = numbers(correct.values, "correct")
    wrong = np.flatnonzero(~np.isin(values, [0.0, 1.0]))
    if len(wrong):
        place = int(wrong[0])
        task = int(correct.rows[place])
        raise ValueError(f"a verdict of task {task} is {values[place]:g}, not 0 or 1")
    return values


def sample_numbers(k: ArrayLike) -> IntArray:
    """Return k as whole numbers, of shape () or (n_k,); ValueError unless all are at least 1."""
    ks = numbers(k, "k")
    if ks.ndim > 1 or not np.all((ks >= 1) & (ks == np.floor(ks)) & (ks < _LARGEST)):
        raise ValueError("k must be a whole number of at least 1, or a list of such")
    return ks.astype(np.int64)


def pass_at_k(successes: ArrayLike, n: ArrayLike, k: ArrayLike) -> FloatArray:
    """Probability that at least one of k samples succeeds, task by task.

    1 - C(n - c, k) / C(n, k): unbiased for 1 - (1 - p)^k (Chen et al. 2021, equation 1).

    Parameters
    ----------
    successes, n : array_like of int, shape (n_tasks,)
        Successes c among n samples of each task.
    k : int or array_like of int, shape (n_k,)

    Returns
    -------
    ndarray of float64, shape (n_tasks,), or (n_tasks, n_k)
        NaN where a task has fewer than k samples.

    Raises
    ------
    ValueError
        Unless 0 <= successes <= n and k >= 1.

    Examples
    --------
    >>> pass_at_k([1, 0, 4], 4, [1, 2]).round(4)
    array([[0.25, 0.5 ],
           [0.  , 0.  ],
           [1.  , 1.  ]])
    """
    c, total, ks = _checked(successes, n, k)
    return 1 - _share_of_draws(total - c, total, ks)


def all_at_k(successes: ArrayLike, n: ArrayLike, k: ArrayLike) -> FloatArray:
    """Probability that all of k samples succeed, task by task (pass^k).

    C(c, k) / C(n, k): unbiased for p^k (Yao et al. 2024, tau-bench).

    Parameters, returned value and errors as for `pass_at_k`.

    Examples
    --------
    >>> all_at_k([3], 4, [1, 2, 3, 4])
    array([[0.75, 0.5 , 0.25, 0.  ]])
    """
    c, total, ks = _checked(successes, n, k)
    return _share_of_draws(c, total, ks)


def _share_of_draws(c: IntArray, n: IntArray, k: IntArray) -> FloatArray:
    """C(c, k) / C(n, k); shapes broadcast; NaN where n < k."""
    # The product of (c - i) / (n - i), i < k: no cancellation, exact zeros. Many tasks, few pairs.
    pairs, place = np.unique(np.stack([c.ravel(), n.ravel()]), axis=1, return_inverse=True)
    i = np.arange(max(min(int(k.max(initial=1)), int(n.max(initial=1))), 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.maximum(pairs[0][:, None] - i, 0) / (pairs[1][:, None] - i)
    products = np.cumprod(factors, axis=1)
    share = products[place.reshape(c.shape), np.minimum(k, len(i)) - 1]
    return np.where(n < k, np.nan, share)


def _checked(
    successes: ArrayLike, n: ArrayLike, k: ArrayLike
) -> tuple[IntArray, IntArray, IntArray]:
    """Counts of shape (n_tasks,) or (n_tasks, 1), and k of shape () or (n_k,)."""
    ks = sample_numbers(k)
    given = []
    for name, counts in (("successes", successes), ("n", n)):
        x = numbers(counts, name)
        if not np.all((x == np.floor(x)) & (np.abs(x) < _LARGEST)):
            raise ValueError(f"{name} must be whole numbers")
        given.append(x.astype(np.int64))
    c, total = np.broadcast_arrays(*given)
    if c.ndim != 1:
        raise ValueError("successes and n must be one-dimensional")
    if np.any(c < 0) or np.any(c > total):
        task = int(np.flatnonzero((c < 0) | (c > total))[0])
        raise ValueError(f"task {task} has {c[task]} successes in {total[task]} samples")
    return (c[:, None], total[:, None], ks) if ks.ndim else (c, total, ks)
