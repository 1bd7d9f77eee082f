"""Was a data set trained on? Many weak scores, combined on one half and tested on the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from statllm.estimators.multiplicity import holm
from statllm.ragged import FloatArray, IntArray
from statllm.results import TestResult

TestName = Literal["t", "permutation"]
Combination = Literal["twice-median", "e-value"]

_ASSUMPTIONS = (
    "suspect and validation documents, if the suspects are new to the model, are drawn "
    "independently from one law; the seed of the split was chosen beforehand"
)
_TRIM = 0.025  # share of each feature's values, at either end, that are pulled in
_RIDGE = 1e-3  # of the standardised features' variance
_PERMUTATIONS = 9999
_DRAWS = 1 << 22


@dataclass(frozen=True, eq=False)
class DatasetInference:
    """One split's test.

    Attributes
    ----------
    test : TestResult
    weights : ndarray, shape (d,)
        Of the standardised features, as fitted on the first halves.
    held_out, held_out_validation : ndarray of int
        The rows that were tested, of either set.
    """

    test: TestResult
    weights: FloatArray
    held_out: IntArray
    held_out_validation: IntArray


def dataset_inference_test(
    suspect: ArrayLike,
    validation: ArrayLike,
    seed: int = 0,
    test: TestName = "t",
    share: float = 0.5,
) -> DatasetInference:
    """Data-set inference (Maini et al. 2024) with one split, fixed by its seed.

    Features are pulled in to the first halves' 2.5 % and 97.5 % quantiles and standardised there; a
    linear combination is fitted there to tell suspects (1) from validation documents (0). On the
    second halves the combined score is tested to be larger for suspects. The p-value is for this
    seed: try others and take the smallest, and it is none. Use `dataset_inference_splits`.

    Parameters
    ----------
    suspect, validation : array_like, shapes (n, d) and (m, d)
        Scores of membership of each document (`statllm.estimators.contamination.min_k`); those of
        validation documents are new to the model and otherwise alike.
    seed : int
        Of the split; to be chosen before looking.
    test : {"t", "permutation"}
        Welch's t, or the difference of means by 9999 permutations of the held-out labels.
    share : float
        Of each set that is fitted on.

    Returns
    -------
    DatasetInference

    Raises
    ------
    ValueError
        If shapes don't fit, a feature is NaN or infinite, or a half would have fewer than two rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trained, new = rng.normal(0.5, 1, (200, 4)), rng.normal(0, 1, (200, 4))
    >>> dataset_inference_test(trained, new).test.p_value < 0.001
    True
    """
    a, b = _features(suspect, validation)
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    rng = np.random.default_rng(seed)
    fitted, held_out = _halves(len(a), share, rng, "suspect")
    fitted_b, held_out_b = _halves(len(b), share, rng, "validation")
    low, high = np.quantile(np.concatenate([a[fitted], b[fitted_b]]), [_TRIM, 1 - _TRIM], axis=0)
    a, b = np.clip(a, low, high), np.clip(b, low, high)
    pooled = np.concatenate([a[fitted], b[fitted_b]])
    centre, scale = pooled.mean(axis=0), pooled.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)  # a constant feature says nothing, and becomes 0
    weights = _combiner((a[fitted] - centre) / scale, (b[fitted_b] - centre) / scale)
    tested = _tested(
        (a[held_out] - centre) / scale @ weights,
        (b[held_out_b] - centre) / scale @ weights,
        test,
        rng,
    )
    return DatasetInference(tested, weights, held_out, held_out_b)


def dataset_inference_splits(
    suspect: ArrayLike,
    validation: ArrayLike,
    n_splits: int = 11,
    seed: int = 0,
    test: TestName = "t",
    combine: Combination = "twice-median",
) -> TestResult:
    """Data-set inference over several splits, with one p-value that is valid.

    A single split leaves p to chance; several depend on each other in an unknown way, and
    `combine_p_values` allows for any.

    Parameters
    ----------
    suspect, validation, test
        As of `dataset_inference_test`.
    n_splits : int
        Their seeds are spawned from `seed`.
    combine : {"twice-median", "e-value"}

    Returns
    -------
    TestResult
        The statistic is the median of the splits' statistics.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trained, new = rng.normal(0.5, 1, (200, 4)), rng.normal(0, 1, (200, 4))
    >>> dataset_inference_splits(trained, new).p_value < 0.001
    True
    """
    if n_splits < 1:
        raise ValueError(f"n_splits must be at least 1, not {n_splits}")
    seeds = np.random.SeedSequence(seed).generate_state(n_splits)
    found = [dataset_inference_test(suspect, validation, int(s), test).test for s in seeds]
    log_p = combine_p_values([each.log_p_value for each in found], combine)
    return TestResult(
        float(np.median([each.statistic for each in found])),
        math.exp(log_p),
        log_p,
        "greater",
        found[0].n_effective,
        f"{found[0].method}, {n_splits} splits by {combine}",
        _ASSUMPTIONS,
    )


def dataset_inference_by_size(
    suspect: ArrayLike,
    validation: ArrayLike,
    sizes: Sequence[int],
    seed: int = 0,
    test: TestName = "t",
) -> list[TestResult]:
    """Data-set inference on the first so many suspects, p-values adjusted by Holm for all sizes.

    How few documents are enough is often read off a row of prefixes; the smallest of their p-values
    isn't one.

    Parameters
    ----------
    suspect, validation, seed, test
        As of `dataset_inference_test`; all validation documents are used each time.
    sizes : sequence of int
        Documents of each prefix.

    Raises
    ------
    ValueError
        If a size is above the number of suspects.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trained, new = rng.normal(0.5, 1, (200, 4)), rng.normal(0, 1, (200, 4))
    >>> [t.p_value < 0.01 for t in dataset_inference_by_size(trained, new, [8, 200])]
    [False, True]
    """
    a, b = _features(suspect, validation)
    if len(sizes) == 0 or max(sizes) > len(a):
        raise ValueError(f"sizes must be given and at most {len(a)}, the suspects, not {sizes}")
    found = [dataset_inference_test(a[:size], b, seed, test).test for size in sizes]
    adjusted = holm([each.log_p_value for each in found]).tolist()
    return [
        TestResult(
            each.statistic,
            math.exp(log_p),
            log_p,
            "greater",
            each.n_effective,
            f"{each.method}, {size} suspects, Holm over {len(sizes)} sizes",
            _ASSUMPTIONS,
        )
        for each, size, log_p in zip(found, sizes, adjusted, strict=True)
    ]


def combine_p_values(log_p: ArrayLike, method: Combination = "twice-median") -> float:
    """Log p of one hypothesis tested several times on the same data, whatever the dependence.

    ``"twice-median"``
        Twice the median (Rüger 1978; Meinshausen, Meier and Bühlmann 2009).
    ``"e-value"``
        1 / the mean of 1 / (2 sqrt(p)), each of which has mean 1 at most (Vovk and Wang 2021): for
        few splits with very small p-values.

    Parameters
    ----------
    log_p : array_like, shape (k,)
    method : {"twice-median", "e-value"}

    Examples
    --------
    >>> round(math.exp(combine_p_values(np.log([0.01, 0.02, 0.6]))), 6)
    0.04
    """
    values = np.asarray(log_p, np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.all(values <= 0):
        raise ValueError("log_p must be one or more logarithms, at most 0")
    if method == "twice-median":
        # of two middle ones the upper: the k-th of K smallest may be multiplied by K / k <= 2
        middle = np.sort(values)[len(values) // 2]
        return float(min(0.0, math.log(2) + middle)) if len(values) > 1 else float(values[0])
    if method == "e-value":
        log_e = np.logaddexp.reduce(-math.log(2) - values / 2) - math.log(len(values))
        return float(min(0.0, -log_e))
    raise ValueError(f"method must be twice-median or e-value, not {method!r}")


def _features(suspect: ArrayLike, validation: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = np.asarray(suspect, np.float64), np.asarray(validation, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] == 0:
        raise ValueError(
            f"suspect and validation must be (n, d) and (m, d), not {a.shape}, {b.shape}"
        )
    for name, x in (("suspect", a), ("validation", b)):
        if not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise ValueError(f"{name} is {x[row, column]} in row {row}, feature {column}")
    return a, b


def _halves(n: int, share: float, rng: np.random.Generator, name: str) -> tuple[IntArray, IntArray]:
    cut = round(share * n)
    if min(cut, n - cut) < 2:
        raise ValueError(f"{name} has {n} rows: each part of the split needs two or more")
    order = rng.permutation(n)
    return np.sort(order[:cut]), np.sort(order[cut:])


def _combiner(a: FloatArray, b: FloatArray) -> FloatArray:
    """Weights of least squares for the labels, both sets weighing the same."""
    x = np.concatenate([a, b])
    w = np.repeat([0.5 / len(a), 0.5 / len(b)], [len(a), len(b)])
    y = np.repeat([0.5, -0.5], [len(a), len(b)])
    centred = x - w @ x
    square = centred.T @ (centred * w[:, None]) + _RIDGE * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(square, centred.T @ (w * y)))


def _tested(a: FloatArray, b: FloatArray, test: TestName, rng: np.random.Generator) -> TestResult:
    n = len(a) + len(b)
    if test == "t":
        if np.ptp(a) == 0 and np.ptp(b) == 0:
            statistic, log_p = 0.0, 0.0  # no feature varies: nothing tells the sets apart
        else:
            welch = stats.ttest_ind(a, b, equal_var=False)
            statistic = float(welch.statistic)
            log_p = float(stats.t.logsf(statistic, float(welch.df)))
        return TestResult(
            statistic, math.exp(log_p), log_p, "greater", n, "data-set inference, t", _ASSUMPTIONS
        )
    if test != "permutation":
        raise ValueError(f"test must be t or permutation, not {test!r}")
    pooled = np.concatenate([a, b])
    observed = float(a.sum()) - 1e-9 * float(np.abs(pooled).sum())  # sums round
    reached, left = 0, _PERMUTATIONS
    while left:
        size = min(left, max(1, _DRAWS // n))
        drawn = rng.permuted(np.tile(pooled, (size, 1)), axis=1)[:, : len(a)]
        reached += int(np.sum(drawn.sum(axis=1) >= observed))
        left -= size
    p = (1 + reached) / (1 + _PERMUTATIONS)
    return TestResult(
        float(a.mean() - b.mean()),
        p,
        math.log(p),
        "greater",
        n,
        "data-set inference, permutations",
        _ASSUMPTIONS,
    )
