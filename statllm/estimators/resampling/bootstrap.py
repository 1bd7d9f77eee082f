"""Bootstrap of means, ratios, differences, quantiles and any other function of a sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import finite, numbers, whole
from statllm.estimators.resampling._counts import FloatArray
from statllm.estimators.resampling._statistics import Anything, Quantile, Ratio, Statistic, codes
from statllm.estimators.resampling.result import METHODS, Bootstrap, Method

Weights = Literal["multinomial", "bayesian"]
Rng = np.random.Generator | int | None


def bootstrap_mean(
    x: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 9999,
    method: Method = "bca",
    weights: Weights = "multinomial",
    rng: Rng = 0,
    batch: int | None = None,
) -> Bootstrap:
    """Bootstrap the mean: of scores, or of paired differences b - a.

    Rows with the same score are interchangeable, so a resample is a multinomial draw of how often
    each distinct score occurs: O(distinct scores) instead of O(n). Continuous scores are drawn one
    by one in batches of bounded memory. Jackknife and standard errors in closed form.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    clusters : array_like, shape (n,), optional
        Labels; whole clusters are resampled, and the mean is that of the rows drawn.
    resamples : int
    method : {"bca", "percentile", "basic", "studentised"}
        Of `Bootstrap.interval`, if none is named there.
    weights : {"multinomial", "bayesian"}
        ``"bayesian"``: Dirichlet weights instead of counts (Rubin 1981); percentile limits are
        then posterior ones.
    rng : Generator or int
        The same one gives the same resamples, whatever `batch` is.
    batch : int, optional
        Resamples at a time. Default: as many as take 16 MB.

    Returns
    -------
    Bootstrap

    Raises
    ------
    ValueError
        If a score isn't finite, there is none, or lengths differ.

    Examples
    --------
    >>> accuracy = bootstrap_mean([1] * 18 + [0] * 2)
    >>> f"{accuracy.value} {accuracy.interval(method='percentile'):.3f} {accuracy.interval():.3f}"
    '0.9 [0.750, 1.000] [0.700, 1.000]'
    """
    values = finite(x, "x")
    sample = Ratio(values, np.ones(len(values)), codes(clusters, len(values)))
    return _one(sample, "mean", clusters, resamples, method, weights, rng, batch)


def bootstrap_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 9999,
    method: Method = "bca",
    weights: Weights = "multinomial",
    rng: Rng = 0,
    batch: int | None = None,
) -> Bootstrap:
    """Bootstrap sum y / sum w over rows (y, w) drawn together: tokens per answer, say.

    Parameters
    ----------
    numerator, denominator : array_like of float, shape (n,)
    clusters, resamples, method, weights, rng, batch
        As for `bootstrap_mean`.

    Examples
    --------
    >>> rate = bootstrap_ratio([2.0, 1.0, 3.0, 2.0], [4.0, 4.0, 5.0, 3.0])
    >>> round(rate.value, 2)
    0.5
    """
    y, w = finite(numerator, "numerator"), finite(denominator, "denominator")
    if len(y) != len(w):
        raise ValueError(f"{len(y)} numerators and {len(w)} denominators")
    sample = Ratio(y, w, codes(clusters, len(y)))
    return _one(sample, "ratio of sums", clusters, resamples, method, weights, rng, batch)


def bootstrap_quantile(
    x: ArrayLike,
    q: float = 0.5,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 9999,
    method: Method = "percentile",
    weights: Weights = "multinomial",
    rng: Rng = 0,
    batch: int | None = None,
) -> Bootstrap:
    """Bootstrap a quantile, interpolated linearly, from the counts of distinct values.

    Percentile limits by default: a quantile isn't smooth, and the jackknife of BCa says nothing
    about it. Without clusters `comparison.quantile_estimate` covers exactly.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    q : float
        Between 0 and 1.
    clusters, resamples, method, weights, rng, batch
        As for `bootstrap_mean`; there is no studentised interval.

    Examples
    --------
    >>> median = bootstrap_quantile([1, 2, 2, 3, 5, 8, 9])
    >>> median.value
    3.0
    """
    values = finite(x, "x")
    sample = Quantile(values, q, codes(clusters, len(values)))
    return _one(sample, f"quantile {q:g}", clusters, resamples, method, weights, rng, batch)


def bootstrap_statistic(
    rows: ArrayLike,
    statistic: Callable[[FloatArray], float],
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 9999,
    method: Method = "bca",
    rng: Rng = 0,
    batch: int | None = None,
) -> Bootstrap:
    """Bootstrap any function of the rows of a sample.

    It's called once for each resample, and once more for each distinct row (or cluster): the
    jackknife of BCa. For a mean, ratio or quantile the functions above are far quicker.

    Parameters
    ----------
    rows : array_like of float, shape (n,) or (n, k)
        Rows stay together: columns may be paired scores.
    statistic : callable
        Rows, (m,) or (m, k), in an order that means nothing, to a number.
    clusters, resamples, method, rng, batch
        As for `bootstrap_mean`; there is no studentised interval.

    Examples
    --------
    >>> spread = bootstrap_statistic([1, 2, 2, 3, 5, 8, 9], np.std, resamples=999)
    >>> round(spread.value, 3)
    2.914
    """
    values = numbers(rows, "rows")
    if values.ndim not in (1, 2) or not len(values):
        raise ValueError(f"rows must be of shape (n,) or (n, k), not {values.shape}")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).argmax())
        raise ValueError(f"rows must be finite, but row {bad} isn't")
    sample = Anything(values, statistic, codes(clusters, len(values)))
    name = getattr(statistic, "__name__", "statistic")
    return _one(sample, name, clusters, resamples, method, "multinomial", rng, batch)


def bootstrap_difference(
    a: ArrayLike,
    b: ArrayLike,
    q: float | None = None,
    clusters_a: ArrayLike | None = None,
    clusters_b: ArrayLike | None = None,
    *,
    resamples: int = 9999,
    method: Method | None = None,
    weights: Weights = "multinomial",
    rng: Rng = 0,
    batch: int | None = None,
) -> Bootstrap:
    """Bootstrap a difference between independent samples: of the means, or of quantiles.

    For two models on the same prompts use `bootstrap_mean` of the differences.

    Parameters
    ----------
    a : array_like of float, shape (n_a,)
    b : array_like of float, shape (n_b,)
    q : float, optional
        Compare this quantile (0.5 the medians); default the means.
    clusters_a, clusters_b : array_like, optional
    resamples, method, weights, rng, batch
        As for `bootstrap_mean`; the interval defaults to BCa for means, percentile for quantiles.

    Returns
    -------
    Bootstrap
        Of b less a; n counts the units of both.

    Examples
    --------
    >>> gain = bootstrap_difference([0] * 8 + [1] * 12, [0] * 5 + [1] * 25)
    >>> round(gain.value, 3)
    0.233
    """
    samples: list[Statistic] = []
    for x, clusters, what in ((a, clusters_a, "a"), (b, clusters_b, "b")):
        values = finite(x, what)
        labels = codes(clusters, len(values))
        if q is None:
            samples.append(Ratio(values, np.ones(len(values)), labels))
        else:
            samples.append(Quantile(values, q, labels))
    name = "difference of " + ("means" if q is None else f"quantiles {q:g}")
    if clusters_a is not None or clusters_b is not None:
        name += ", clustered"
    return _bootstrap(
        samples, [-1, 1], name, resamples,
        method or ("bca" if q is None else "percentile"), weights, rng, batch,
    )  # fmt: skip


def _one(
    sample: Statistic,
    name: str,
    clusters: object,
    resamples: int,
    method: Method,
    weights: str,
    rng: Rng,
    batch: int | None,
) -> Bootstrap:
    name += ", clustered" if clusters is not None else ""
    return _bootstrap([sample], [1], name, resamples, method, weights, rng, batch)


def _bootstrap(
    samples: list[Statistic],
    signs: list[int],
    name: str,
    resamples: int,
    method: Method,
    weights: str,
    rng: Rng,
    batch: int | None,
) -> Bootstrap:
    """Resample each sample on its own and add up, with signs."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if weights not in ("multinomial", "bayesian"):
        raise ValueError(f"weights must be multinomial or bayesian, not {weights!r}")
    resamples = whole(resamples, "resamples", 1)
    batch = None if batch is None else whole(batch, "batch", 1)
    bayesian = weights == "bayesian"
    # A stream for each sample, so that batches don't change what is drawn.
    streams = [np.random.default_rng(rng)] if len(samples) == 1 else _streams(rng, len(samples))
    value, replicates, squares, error = 0.0, np.zeros(resamples), np.zeros(resamples), 0.0
    for sample, sign, stream in zip(samples, signs, streams, strict=True):
        start = 0
        for found, errors in sample.resampled(resamples, stream, bayesian, batch):
            part = slice(start, start + len(found))
            replicates[part] += sign * found
            squares[part] += errors**2
            start = part.stop
        value += sign * sample.value
        error += sample.error**2
    ratios = np.zeros(0)
    if not math.isnan(error) and not bayesian:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = (replicates - value) / np.sqrt(squares)
        ratios = np.sort(np.where(replicates == value, 0.0, ratios))
    known = method == "bca" or all(sample.quick for sample in samples)
    acceleration = _acceleration(samples, signs) if known else None
    n = sum(int(sample.counts.sum()) for sample in samples)
    if bayesian:
        name = f"{name}, Bayesian bootstrap"
    return Bootstrap(
        value, np.sort(replicates), math.sqrt(error), ratios, acceleration, n, name, method
    )


def _acceleration(samples: list[Statistic], signs: list[int]) -> float:
    """Skewness of the influence of units, a sixth of it (Efron and Tibshirani 1993, 14.15)."""
    cubes, squares = 0.0, 0.0
    for sample, sign in zip(samples, signs, strict=True):
        left, n = sample.jackknife(), int(sample.counts.sum())
        influence = sign * (n - 1) / n * (float(sample.counts @ left) / n - left)
        cubes += float(sample.counts @ influence**3)
        squares += float(sample.counts @ influence**2)
    # Without spread there is nothing to accelerate.
    return cubes / (6 * squares**1.5) if squares != 0 else 0.0


def _streams(rng: Rng, n: int) -> list[np.random.Generator]:
    """Independent generators; a generator that was given is moved on."""
    seeds = np.random.default_rng(rng).integers(2**63, size=n)
    return [np.random.default_rng(int(seed)) for seed in seeds]
