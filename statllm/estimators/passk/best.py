"""best@k: what the best of k samples by a reward is worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.passk.counts import sample_numbers
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]


def best_at_k(reward: Ragged, value: Ragged, k: ArrayLike) -> FloatArray:
    """Expected value of the sample with the highest reward among k, task by task.

    The reward may be noisy and the value is what counts (0/1 correctness, or a better reward). Of
    the n samples in falling order of reward, the best of k drawn without replacement is the one at
    place i (from 0) with probability C(n - 1 - i, k - 1) / C(n, k); equal rewards share theirs. The
    mean is unbiased for k new samples. With value as its own reward it's pass@k, the ceiling; with
    a constant reward it's the mean, the floor.

    Parameters
    ----------
    reward : Ragged of float, n_tasks rows
    value : Ragged of float, the same rows
    k : int or array_like of int, shape (n_k,)

    Returns
    -------
    ndarray of float64, shape (n_tasks,), or (n_tasks, n_k)
        NaN where a task has fewer than k samples or a reward or value is NaN.

    Raises
    ------
    ValueError
        If rows differ in length or k is below 1.

    Examples
    --------
    >>> reward = Ragged.from_lists([[0.9, 0.1, 0.5]])
    >>> correct = Ragged.from_lists([[0.0, 0.0, 1.0]])
    >>> best_at_k(reward, correct, [1, 2, 3]).round(4)
    array([[0.3333, 0.3333, 0.    ]])
    """
    if not np.array_equal(reward.offsets, value.offsets):
        raise ValueError("reward and value must have rows of the same lengths")
    ks = sample_numbers(k)
    wanted = np.atleast_1d(ks)
    out = np.full((reward.n_rows, len(wanted)), np.nan)
    for task in range(reward.n_rows):
        scores = np.asarray(reward.row(task), np.float64)
        worth = np.asarray(value.row(task), np.float64)
        n = len(scores)
        usable = wanted <= n
        if n == 0 or np.isnan(scores).any() or np.isnan(worth).any() or not usable.any():
            continue
        # Blocks of equal reward, best first.
        _, block = np.unique(-scores, return_inverse=True)
        sizes = np.bincount(block)
        means = np.bincount(block, weights=worth) / sizes
        after = n - np.concatenate([[0], np.cumsum(sizes)])  # samples that are not better
        for place in np.flatnonzero(usable).tolist():
            none_before = _share(after, n, int(wanted[place]))
            out[task, place] = float((none_before[:-1] - none_before[1:]) @ means)
    return out if ks.ndim else out[:, 0]


def _share(m: NDArray[np.int64], n: int, k: int) -> FloatArray:
    """C(m, k) / C(n, k): the probability that all k draws are among m of the n."""
    i = np.arange(k)
    return np.asarray(np.prod(np.maximum(m[:, None] - i, 0) / (n - i), axis=1))
