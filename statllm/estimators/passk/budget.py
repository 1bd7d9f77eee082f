"""Accuracy against the tokens that it costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers
from statllm.estimators.passk.counts import sample_numbers, verdicts
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]


def tokens_at_k(n_tokens: Ragged, k: ArrayLike) -> FloatArray:
    """Expected tokens of k samples of each task: k times the task's mean.

    The x axis of accuracy by majority of k against its cost (Huang et al. 2024, O1 Journey part 2).

    Parameters
    ----------
    n_tokens : Ragged of int, n_tasks rows
    k : int or array_like of int, shape (n_k,)

    Returns
    -------
    ndarray of float64, shape (n_tasks,), or (n_tasks, n_k)
        NaN for a task without samples.

    Examples
    --------
    >>> tokens_at_k(Ragged.from_lists([[10, 30], [5]]), [1, 4])
    array([[20., 80.],
           [ 5., 20.]])
    """
    ks = sample_numbers(k)
    means = n_tokens.with_values(np.asarray(n_tokens.values, np.float64)).mean()
    out: FloatArray = np.multiply.outer(means, ks).astype(np.float64)
    return out


def accuracy_within_budget(correct: Ragged, n_tokens: Ragged, budgets: ArrayLike) -> FloatArray:
    """Share of a task's samples that are right and not longer than a budget.

    What one gets who stops every response at the budget: a cut one counts as wrong.

    Parameters
    ----------
    correct : Ragged of bool or float, n_tasks rows
    n_tokens : Ragged of int, the same rows
    budgets : array_like, shape (n_budgets,)
        Tokens of a response.

    Returns
    -------
    ndarray of float64, shape (n_tasks, n_budgets)
        NaN for a task without samples. `curve` puts a band around its means.

    Raises
    ------
    ValueError
        If rows differ in length, a verdict isn't 0 or 1, a length is missing or negative (the task
        is named), or the budgets aren't one-dimensional numbers.

    Examples
    --------
    >>> right = Ragged.from_lists([[1, 1, 0, 1]])
    >>> length = Ragged.from_lists([[10, 50, 20, 90]])
    >>> accuracy_within_budget(right, length, [5, 50, 100])
    array([[0.  , 0.5 , 0.75]])
    """
    if not np.array_equal(correct.offsets, n_tokens.offsets):
        raise ValueError("correct and n_tokens must have rows of the same lengths")
    limits = numbers(budgets, "budgets")
    if limits.ndim != 1 or np.isnan(limits).any():
        raise ValueError("budgets must be one-dimensional numbers")
    right, tokens = verdicts(correct), numbers(n_tokens.values, "n_tokens")
    wrong = np.flatnonzero(~(tokens >= 0))
    if len(wrong):
        task = int(n_tokens.rows[wrong[0]])
        raise ValueError(f"n_tokens of a sample of task {task} is {tokens[wrong[0]]:g}")
    columns = [
        correct.with_values(np.where(tokens <= limit, right, 0.0)).mean() for limit in limits
    ]
    return np.stack(columns, axis=1) if columns else np.empty((correct.n_rows, 0))
