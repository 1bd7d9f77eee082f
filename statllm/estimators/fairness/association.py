"""Word-embedding association test, for words, sentences or a model's hidden states."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers, whole
from statllm.results import TestResult

FloatArray = NDArray[np.float64]

_ENUMERATED = 200_000  # partitions that are tried one by one
_ROUNDING = 1e-12


@dataclass(frozen=True)
class WordAssociation:
    """Which of two concepts two sets of targets are nearer to.

    Attributes
    ----------
    effect : float
        Difference of mean associations over their standard deviation, from -2 to 2.
    test : TestResult
    """

    effect: float
    test: TestResult


def word_association(
    x: ArrayLike,
    y: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    n_permutations: int = 9999,
    rng: np.random.Generator | int | None = 0,
) -> WordAssociation:
    """Test whether targets x are nearer to attributes a, and y to b (Caliskan et al. 2017).

    s(w) = mean cos(w, a) - mean cos(w, b); effect = (mean_x s - mean_y s) / sd of s over both sets
    (ddof 1). p is the share of partitions of the targets with a difference as large, all of them
    where these are few, else random ones with one added to both counts.

    Parameters
    ----------
    x, y, a, b : array_like, shape (n, d) each
        Embeddings. The targets' numbers may differ.
    n_permutations : int
    rng : Generator or int

    Returns
    -------
    WordAssociation
        One-sided: x towards a.

    Raises
    ------
    ValueError
        If dimensions differ, an embedding is 0 or isn't finite, or a set is empty.

    Examples
    --------
    >>> x, y = [[1, 0.1], [1, 0.2], [1, 0]], [[0.1, 1], [0, 1], [0.2, 1]]
    >>> found = word_association(x, y, [[1, 0]], [[0, 1]])
    >>> round(found.effect, 2), found.test.p_value
    (1.82, 0.05)
    """
    sets = [_unit(v, name) for name, v in (("x", x), ("y", y), ("a", a), ("b", b))]
    if len({v.shape[1] for v in sets}) > 1:
        raise ValueError("the embeddings have different dimensions")
    n_permutations = whole(n_permutations, "n_permutations", 1)
    first, second, left, right = sets
    targets = np.concatenate([first, second])
    s = (targets @ left.T).mean(axis=1) - (targets @ right.T).mean(axis=1)
    n, total = len(first), len(targets)
    if total < 3:
        raise ValueError("there must be at least three targets")
    spread = float(s.std(ddof=1))
    difference = float(s[:n].mean() - s[n:].mean())
    everything = float(s.sum())

    def of_sums(sums: FloatArray) -> FloatArray:
        return np.asarray(sums / n - (everything - sums) / (total - n))

    slack = _ROUNDING * max(float(np.abs(s).max()), 1e-300)
    if math.comb(total, n) <= _ENUMERATED:
        sums = np.array(
            [s[list(chosen)].sum() for chosen in itertools.combinations(range(total), n)]
        )
        p = float(np.mean(of_sums(sums) >= difference - slack))
        method = f"WEAT, all {len(sums)} partitions"
    else:
        generator = np.random.default_rng(rng)
        sums = np.array([generator.permutation(s)[:n].sum() for _ in range(n_permutations)])
        reached = int(np.sum(of_sums(sums) >= difference - slack))
        p = (1 + reached) / (n_permutations + 1)
        method = f"WEAT, {n_permutations} random partitions"
    test = TestResult(
        difference,
        p,
        math.log(p),
        "greater",
        total,
        method,
        "targets are exchangeable between the sets if they are associated alike",
    )
    return WordAssociation(difference / spread if spread else math.nan, test)


def _unit(v: ArrayLike, name: str) -> FloatArray:
    rows = numbers(v, name)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} must have rows of numbers")
    largest = np.abs(rows).max(axis=1)
    wrong = np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))
    if len(wrong):
        raise ValueError(f"{name} has no direction in row {wrong[0]}")
    rows = rows / largest[:, None]  # whose squares neither overflow nor vanish
    return np.asarray(rows / np.sqrt(np.sum(rows**2, axis=1))[:, None])
