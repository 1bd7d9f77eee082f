"""Permutation tests: signs of paired differences, labels of two samples."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import finite, whole
from statllm.estimators.comparison import _lattice
from statllm.estimators.comparison._arrays import cluster_sums, differences_of
from statllm.estimators.comparison._tails import result, two_sided
from statllm.estimators.comparison.t_tests import Alternative
from statllm.estimators.resampling._counts import (
    BATCH,
    FloatArray,
    IntArray,
    collapse,
)
from statllm.results import TestResult

How = Literal["auto", "exact", "random"]
Rng = np.random.Generator | int | None
_LISTED = 20  # differences all of whose signs are listed: a million sums
_ARRANGED = 200_000  # divisions into two samples that are listed
_ROUNDING = 1e-12  # of a sum that is reached again in another order
_FINEST = 12  # parts of the smallest gap between scores in which all may be whole


def sign_flip_test(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    alternative: Alternative = "two-sided",
    method: How = "auto",
    resamples: int = 9999,
    rng: Rng = 0,
) -> TestResult:
    """Test that paired differences are symmetric about 0, by flipping their signs.

    The statistic is the mean difference. Differences of one size are interchangeable: so many of
    m positive is binomial(m, 1/2), and a resample takes a draw for each distinct size. For right
    or wrong answers that law is McNemar's, exactly.

    Parameters
    ----------
    differences : array_like of float, shape (n,)
        b - a, prompt by prompt.
    clusters : array_like, shape (n,), optional
        Labels; the signs of a cluster are flipped together.
    alternative : {"two-sided", "greater", "less"}
        Two-sided: twice the smaller tail, which by symmetry are as large as |mean|.
    method : {"auto", "exact", "random"}
        ``"exact"``: by convolution where scores are whole multiples of something (counts, shares
        of k samples), by listing up to 20 differences. ``"random"``: p = (1 + #) / (R + 1).
        ``"auto"``: exact where that's quick.
    resamples : int
    rng : Generator or int

    Returns
    -------
    TestResult
        n_effective counts the differences (or clusters) that aren't 0.

    Raises
    ------
    ValueError
        If a difference isn't finite, or exact can't be done.

    Examples
    --------
    >>> test = sign_flip_test([1] * 8 + [-1] + [0] * 3)
    >>> test.method, round(test.p_value, 4), test.n_effective
    ('sign flips, exact', 0.0391, 9)
    """
    d = finite(differences, "differences")
    resamples = whole(resamples, "resamples", 1)
    mean = float(d.mean())
    if clusters is not None:
        d = cluster_sums(d, clusters)
    d = differences_of(d)
    d = d[d != 0]
    scale = float(np.abs(d).sum())
    sizes, counts = collapse(np.abs(d))
    law = _exact_tails(d, sizes, counts) if method in ("auto", "exact") else None
    if law is None and method == "exact":
        raise ValueError(f"the exact law of {len(d)} differences takes too long")
    if method not in ("auto", "exact", "random"):
        raise ValueError(f"method must be auto, exact or random, not {method!r}")
    if law is None:
        sums = _flipped_sums(sizes, counts, resamples, np.random.default_rng(rng))
        law = _drawn_tails(sums, float(d.sum()), scale)
    how = "exact" if law[2] else f"{resamples} at random"
    return result(
        mean, two_sided(law[0], law[1], alternative), alternative, len(d),
        f"sign flips, {how}" + (", clustered" if clusters is not None else ""),
        "differences (or clusters) are independent and, under the hypothesis, symmetric about 0",
    )  # fmt: skip


def permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    alternative: Alternative = "two-sided",
    method: How = "auto",
    resamples: int = 9999,
    rng: Rng = 0,
) -> TestResult:
    """Test that two independent samples come from one distribution, by their means.

    Labels are permuted over the pooled scores; how many of each distinct score fall to a sample
    is hypergeometric. For right or wrong answers that is Fisher's exact test.

    Parameters
    ----------
    a : array_like of float, shape (n_a,)
    b : array_like of float, shape (n_b,)
        Scores of different prompts; on the same ones use `sign_flip_test`.
    alternative : {"two-sided", "greater", "less"}
        ``"greater"``: b is larger. Two-sided: twice the smaller tail.
    method : {"auto", "exact", "random"}
        ``"exact"``: in closed form with two distinct scores, else by listing up to 200,000
        divisions. ``"random"``: p = (1 + #) / (R + 1). ``"auto"``: exact where that's possible.
    resamples, rng
        As for `sign_flip_test`.

    Returns
    -------
    TestResult
        The statistic is mean b - mean a.

    Examples
    --------
    >>> test = permutation_test([0] * 8 + [1] * 2, [0] * 3 + [1] * 7)
    >>> test.method, round(test.p_value, 4)
    ('permutation of two samples, exact', 0.0698)
    """
    first, second = finite(a, "a"), finite(b, "b")
    resamples = whole(resamples, "resamples", 1)
    gap = float(second.mean() - first.mean())
    pooled = np.concatenate([first, second])
    values, counts = collapse(pooled)
    values = values - pooled.mean()  # a shift changes nothing, and digits are kept
    observed = float((second - pooled.mean()).sum())
    size, n = len(second), len(pooled)
    scale = float(counts @ np.abs(values))
    law: tuple[float, float, bool] | None = None
    if method not in ("auto", "exact", "random"):
        raise ValueError(f"method must be auto, exact or random, not {method!r}")
    if method != "random":
        if len(values) == 1:
            law = 0.0, 0.0, True
        elif len(values) == 2:
            larger = int((second == pooled.max()).sum())
            law = _hypergeometric_tails(larger, counts, size)
        elif math.comb(n, size) <= _ARRANGED:
            kept = pooled - pooled.mean()
            sums = np.array([kept[list(chosen)].sum() for chosen in combinations(range(n), size)])
            law = _listed_tails(sums, observed, scale)
        elif method == "exact":
            raise ValueError(f"{n} scores have too many divisions to list")
    if law is None:
        generator = np.random.default_rng(rng)
        sums = _divided_sums(values, counts, size, resamples, generator)
        law = _drawn_tails(sums, observed, scale)
    how = "exact" if law[2] else f"{resamples} at random"
    return result(
        gap, two_sided(law[0], law[1], alternative), alternative, n,
        f"permutation of two samples, {how}",
        "all scores are independent and, under the hypothesis, of one distribution",
    )  # fmt: skip


def _exact_tails(
    d: FloatArray, sizes: FloatArray, counts: IntArray
) -> tuple[float, float, bool] | None:
    """Log P(sum >= observed) and log P(sum <= observed), or None where that takes too long."""
    if not len(d):
        return 0.0, 0.0, True
    steps = _whole(sizes)
    if steps is not None and _lattice.work(steps, counts) <= _lattice.MOST_WORK:
        most = int(steps @ counts)
        # The sum is 2 S - most, with S the sum of the positive ones.
        positive = int(np.rint(d[d > 0] / sizes[0] * steps[0]).sum())
        upper = _lattice.log_upper_tail(steps, counts, positive)
        return upper, _lattice.log_upper_tail(steps, counts, most - positive), True
    if len(d) > _LISTED:
        return None
    sums = np.zeros(1)
    for size in np.abs(d):
        sums = np.concatenate([sums + size, sums - size])
    return _listed_tails(sums, float(d.sum()), float(np.abs(d).sum()))


def _whole(sizes: FloatArray) -> IntArray | None:
    """Sizes as whole multiples of the largest step that fits; None where none does."""
    gap = float(np.diff(np.concatenate([[0.0], sizes])).min())
    for parts in range(1, _FINEST + 1):
        multiples = sizes / gap * parts
        if multiples[-1] > _lattice.MOST_WORK:
            return None
        if np.abs(multiples - np.rint(multiples)).max() < 1e-6:
            steps = np.rint(multiples).astype(np.int64)
            whole: IntArray = steps // np.gcd.reduce(steps)
            return whole
    return None


def _flipped_sums(
    sizes: FloatArray, counts: IntArray, resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Sums under random signs: sum_u sizes[u] (2 B_u - counts[u])."""
    sums = np.empty(resamples)
    batch = max(1, BATCH // max(len(sizes), 1))
    for start in range(0, resamples, batch):
        b = min(batch, resamples - start)
        if len(sizes) and counts.max() == 1:
            # A bit each. Of 64-bit integers, as the generator forgets what is left of smaller ones.
            octets = rng.integers(0, 256, (b, -(-len(sizes) // 8)), dtype=np.uint64)
            bits = np.unpackbits(octets.astype(np.uint8), axis=1, count=len(sizes))
            positive = bits.astype(np.float64)
        else:
            positive = rng.binomial(counts, 0.5, (b, len(sizes))).astype(np.float64)
        sums[start : start + b] = 2 * (positive @ sizes) - counts @ sizes
    return sums


def _divided_sums(
    values: FloatArray, counts: IntArray, size: int, resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Sums of `size` scores drawn from the pool without replacement."""
    sums = np.empty(resamples)
    n = int(counts.sum())
    few = len(values) * 8 < n
    pool = np.repeat(values, counts)
    batch = max(1, BATCH // (len(values) if few else n))
    for start in range(0, resamples, batch):
        b = min(batch, resamples - start)
        if few:
            drawn = rng.multivariate_hypergeometric(counts, size, b, method="marginals")
            sums[start : start + b] = drawn @ values
        else:
            shuffled = rng.permuted(np.broadcast_to(pool, (b, n)), axis=1)
            sums[start : start + b] = shuffled[:, :size].sum(axis=1)
    return sums


def _hypergeometric_tails(right: int, counts: IntArray, size: int) -> tuple[float, float, bool]:
    """Tails of how many of the larger of two scores fall to the second sample."""
    from scipy import special

    larger, n = int(counts[1]), int(counts.sum())
    k = np.arange(max(0, size + larger - n), min(size, larger) + 1)

    def choose(m: int, j: IntArray) -> FloatArray:
        found: FloatArray = (
            special.gammaln(m + 1.0) - special.gammaln(j + 1.0) - special.gammaln(m - j + 1.0)
        )
        return found

    log_law = choose(larger, k) + choose(n - larger, size - k)
    log_law = log_law - special.logsumexp(log_law)
    upper, lower = (float(special.logsumexp(log_law[side])) for side in (k >= right, k <= right))
    return upper, lower, True


def _listed_tails(sums: FloatArray, observed: float, scale: float) -> tuple[float, float, bool]:
    """Tails among all sums there are."""
    near = _ROUNDING * scale
    upper, lower = np.mean(sums >= observed - near), np.mean(sums <= observed + near)
    return math.log(upper), math.log(lower), True


def _drawn_tails(sums: FloatArray, observed: float, scale: float) -> tuple[float, float, bool]:
    """Tails among drawn sums and the observed one, which is one of them: (1 + #) / (R + 1)."""
    near = _ROUNDING * scale
    upper, lower = (sums >= observed - near).sum(), (sums <= observed + near).sum()
    total = len(sums) + 1
    return math.log((1 + upper) / total), math.log((1 + lower) / total), False
