"""Can a classifier tell the samples apart?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.shift._distances import FloatArray, rows
from statllm.results import TestResult

_RIDGE = 1e-3  # of the mean variance, added to the covariance


def classifier_test(
    x: ArrayLike,
    y: ArrayLike,
    rng: np.random.Generator | int | None = 0,
) -> TestResult:
    """Classifier two-sample test: trained on one half, tested on the other.

    A linear discriminant (ridge) is fitted on a random half of both samples; on the other half its
    scores are compared by Mann and Whitney's test, whose statistic is the AUROC (after Lopez-Paz
    and Oquab 2017, who use accuracy). Rows that were fitted on never enter the test, so that its
    size is right whatever the classifier does. Held-out scores of a classifier of your own go into
    `scipy.stats.mannwhitneyu` or `statllm.estimators.selective.auroc`.

    Parameters
    ----------
    x, y : array_like, shape (n, d) and (m, d)
    rng : Generator or int
        Of the split.

    Returns
    -------
    TestResult
        One-sided: AUROC above 1/2. The statistic is the AUROC.

    Raises
    ------
    ValueError
        If a sample has fewer than four rows, or as `mmd_test`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = classifier_test(rng.normal(size=(200, 5)), rng.normal(0.5, 1, (200, 5)))
    >>> round(found.statistic, 2), found.p_value < 1e-6
    (0.8, True)
    """
    from scipy import stats

    first, second = rows(x, "x"), rows(y, "y")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"x has {first.shape[1]} features, y {second.shape[1]}")
    if min(len(first), len(second)) < 4:
        raise ValueError("both samples need at least four rows")
    generator = np.random.default_rng(rng)
    first, second = generator.permutation(first), generator.permutation(second)
    a, b = len(first) // 2, len(second) // 2
    direction = _discriminant(first[:a], second[:b])
    found = stats.mannwhitneyu(second[b:] @ direction, first[a:] @ direction, alternative="greater")
    n, m = len(first) - a, len(second) - b
    p = float(found.pvalue)
    return TestResult(
        float(found.statistic) / (n * m),
        p,
        math.log(p) if p > 0 else -math.inf,
        "greater",
        min(n, m),
        "classifier two-sample test, linear discriminant, half held out",
        "rows are independent of each other",
    )


def _discriminant(x: FloatArray, y: FloatArray) -> FloatArray:
    """Pooled covariance^-1 (mean y - mean x), with a ridge for many features and few rows."""
    centred = np.concatenate([x - x.mean(axis=0), y - y.mean(axis=0)])
    covariance = centred.T @ centred / len(centred)
    scale = float(np.trace(covariance)) / len(covariance)
    if scale == 0:
        return np.asarray(y.mean(axis=0) - x.mean(axis=0))
    ridge = _RIDGE * scale * np.eye(len(covariance))
    return np.asarray(np.linalg.solve(covariance + ridge, y.mean(axis=0) - x.mean(axis=0)))
