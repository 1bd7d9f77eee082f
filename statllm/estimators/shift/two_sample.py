"""Permutation tests that two samples have one distribution: MMD and energy distance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import whole
from statllm.estimators.shift._distances import FloatArray, distances, gaussian_kernel, rows
from statllm.results import TestResult

_BATCH = 256  # permutations at a time
_ROUNDING = 1e-12  # of a statistic that a permutation reaches again in another order


def mmd_test(
    x: ArrayLike,
    y: ArrayLike,
    bandwidth: float | None = None,
    n_permutations: int = 999,
    rng: np.random.Generator | int | None = 0,
) -> TestResult:
    """Maximum mean discrepancy, unbiased, with a permutation p-value.

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over different rows, k Gaussian (Gretton
    et al. 2012, equation 3). p = (1 + #{permuted >= observed}) / (B + 1): never 0, and valid at
    every size of the samples.

    Parameters
    ----------
    x, y : array_like, shape (n, d) and (m, d), or (n,) and (m,)
        Embeddings, say. Rows of a sample must be independent: one per prompt.
    bandwidth : float, optional
        Default the median distance of the pooled rows, which no permutation changes.
    n_permutations : int
    rng : Generator or int

    Returns
    -------
    TestResult
        The statistic is MMD^2, which may be negative.

    Raises
    ------
    ValueError
        If a sample has fewer than two rows, features differ in number or aren't finite, or there
        are over 20,000 rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mmd_test(rng.normal(size=(60, 3)), rng.normal(0.8, 1, (60, 3))).p_value
    0.001
    """
    pooled, n = _pooled(x, y)
    kernel, used = gaussian_kernel(distances(pooled), bandwidth, "x and y")
    np.fill_diagonal(kernel, 0.0)
    return _permuted(kernel, n, n_permutations, rng, f"MMD, Gaussian kernel of width {used:.3g}")


def energy_test(
    x: ArrayLike,
    y: ArrayLike,
    n_permutations: int = 999,
    rng: np.random.Generator | int | None = 0,
) -> TestResult:
    """Energy distance, unbiased, with a permutation p-value.

    2 E|x - y| - E|x - x'| - E|y - y'| (Székely and Rizzo 2013): no bandwidth to choose, and
    against any difference of distributions with finite means.

    Parameters, returned value and errors as for `mmd_test`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> energy_test(rng.normal(size=100), rng.normal(size=100)).p_value > 0.05
    True
    """
    pooled, n = _pooled(x, y)
    return _permuted(-distances(pooled), n, n_permutations, rng, "energy distance")


def _pooled(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, int]:
    first, second = rows(x, "x"), rows(y, "y")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"x has {first.shape[1]} features, y {second.shape[1]}")
    return np.concatenate([first, second]), len(first)


def _permuted(
    kernel: FloatArray,
    n: int,
    n_permutations: int,
    rng: np.random.Generator | int | None,
    method: str,
) -> TestResult:
    """The statistic under relabelled rows: two sums of the kernel, by matrix products."""
    n_permutations = whole(n_permutations, "n_permutations", 1)
    generator = np.random.default_rng(rng)
    total, m = len(kernel), len(kernel) - n
    everything = float(kernel.sum())
    sums = kernel.sum(axis=1)

    def statistics(labels: FloatArray) -> FloatArray:
        """Of columns of 0/1, 1 for the first sample."""
        within_x = np.einsum("ij,ij->j", labels, kernel @ labels)
        from_x = sums @ labels
        across = from_x - within_x
        within_y = everything - within_x - 2 * across
        value: FloatArray = (
            within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)
        )
        return value

    first = np.zeros((total, 1))
    first[:n] = 1
    observed = float(statistics(first)[0])
    slack = _ROUNDING * max(abs(everything) / total**2, abs(observed))
    reached = 0
    for start in range(0, n_permutations, _BATCH):
        size = min(_BATCH, n_permutations - start)
        labels = np.zeros((total, size))
        for column in range(size):
            labels[generator.permutation(total)[:n], column] = 1
        reached += int(np.sum(statistics(labels) >= observed - slack))
    p = (1 + reached) / (n_permutations + 1)
    return TestResult(
        observed,
        p,
        math.log(p),
        "greater",
        min(n, m),
        f"{method}, {n_permutations} permutations",
        "rows are exchangeable between the samples if nothing has changed",
    )
