"""Are two measurements of the same rows independent?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import whole
from statllm.estimators.shift._distances import distances, gaussian_kernel, rows
from statllm.results import TestResult

_ROUNDING = 1e-12


def hsic_test(
    x: ArrayLike,
    y: ArrayLike,
    n_permutations: int = 999,
    rng: np.random.Generator | int | None = 0,
) -> TestResult:
    """Hilbert-Schmidt independence criterion with a permutation p-value.

    tr(K H L H) / n^2 with Gaussian kernels at the median distance (Gretton et al. 2007), y's rows
    permuted; p = (1 + #{permuted >= observed}) / (B + 1).

    Parameters
    ----------
    x, y : array_like, shape (n, d) and (n, e), or (n,)
    n_permutations : int
    rng : Generator or int

    Returns
    -------
    TestResult

    Raises
    ------
    ValueError
        If rows differ in number, or as `mmd_test`.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 80)
    >>> hsic_test(x, x**2).p_value  # no correlation, and dependent
    0.001
    """
    first, second = rows(x, "x"), rows(y, "y")
    if len(first) != len(second):
        raise ValueError(f"x has {len(first)} rows, y {len(second)}")
    n_permutations = whole(n_permutations, "n_permutations", 1)
    n = len(first)
    left, _ = gaussian_kernel(distances(first), None, "x")
    right, _ = gaussian_kernel(distances(second), None, "y")
    centred = left - left.mean(axis=0) - left.mean(axis=1)[:, None] + left.mean()
    observed = float(np.sum(centred * right)) / n**2
    generator = np.random.default_rng(rng)
    reached = 0
    for _ in range(n_permutations):
        order = generator.permutation(n)
        value = float(np.sum(centred * right[np.ix_(order, order)])) / n**2
        reached += value >= observed - _ROUNDING * abs(observed)
    p = (1 + reached) / (n_permutations + 1)
    return TestResult(
        observed,
        p,
        math.log(p),
        "greater",
        n,
        f"HSIC, {n_permutations} permutations",
        "rows are independent of each other",
    )
