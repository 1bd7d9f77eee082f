"""PPI and PPI++ as published: normal intervals, for comparison with papers and their package.

Angelopoulos, Bates, Fannjiang, Jordan and Zrnic (2023, Science 382) and Angelopoulos, Duchi and
Zrnic (2023, arXiv 2311.01453), with the standard deviations that their package takes. Few labels
make these intervals too short: at 20 the one of the mean has held 81 to 90 % instead of 95 %. Use
`ppi_mean`, `ppi_quantile`, `ppi_ols` and `ppi_logistic` for results.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.ppi._fits import Link, design, fit, mean_and_weight, outcome
from statllm.estimators.ppi.mean import column
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]


def published_mean(
    labels: ArrayLike,
    predictions: ArrayLike,
    unlabelled_predictions: ArrayLike,
    tuning: float | None = None,
) -> Estimate:
    """Mean by PPI++ with its normal interval.

    se^2 = lambda^2 var(f_U) / N + var(Y - lambda f) / n with variances over n and N; lambda =
    Cov(Y, f) / ((1 + n/N) Var f), with Var f over all rows, clipped to [0, 1].

    Parameters
    ----------
    labels, predictions : array_like of float, shape (n,)
    unlabelled_predictions : array_like of float, shape (N,)
    tuning : float, optional
        lambda; 1 is PPI.

    Examples
    --------
    >>> found = published_mean([1, 0, 1, 1], [1, 0, 1, 0], [1, 0] * 50, tuning=1.0)
    >>> round(found.value, 4), round(found.se, 4)
    (0.75, 0.2222)
    """
    y, f, u = _samples(labels, predictions, unlabelled_predictions)
    n, big = len(y), len(u)
    if tuning is None:
        covariance = float(np.mean((y - y.mean()) * (f - f.mean())))
        variance = float(np.concatenate([f, u]).var(ddof=1))
        tuning = float(np.clip(covariance / ((1 + n / big) * variance), 0, 1)) if variance else 0.0
    value = tuning * u.mean() + float(np.mean(y - tuning * f))
    se = math.sqrt(tuning**2 * u.var() / big + float((y - tuning * f).var()) / n)
    return Estimate(float(value), se, n, f"PPI++ as published, lambda {tuning:.3g}", "mean")


def published_quantile(
    labels: ArrayLike,
    predictions: ArrayLike,
    unlabelled_predictions: ArrayLike,
    q: float = 0.5,
) -> Estimate:
    """Quantile by PPI (lambda 1), its interval by normal tests at each value of the data.

    Parameters
    ----------
    labels, predictions : array_like of float, shape (n,)
    unlabelled_predictions : array_like of float, shape (N,)
    q : float

    Returns
    -------
    Estimate
        The value where the rectified distribution function is nearest to `q`; se is NaN.

    Examples
    --------
    >>> found = published_quantile([1, 2, 3, 4], [1, 2, 3, 4], np.arange(1, 7))
    >>> found.value, f"{found.interval():.0f}"
    (3.0, '[2, 4]')
    """
    y, f, u = _samples(labels, predictions, unlabelled_predictions)
    points = np.sort(np.concatenate([y, f, u]))
    differ = (y[:, None] <= points).astype(float) - (f[:, None] <= points)
    ordered = np.sort(u)
    below = np.searchsorted(ordered, points, side="right") / len(u)
    rectified = below + differ.mean(0)
    se = np.sqrt(below * (1 - below) / len(u) + differ.var(0) / len(y))

    def interval_of(level: float) -> Interval:
        from scipy import special

        z = np.abs(rectified - q) / np.maximum(se, 1e-16)
        kept = points[2 * special.ndtr(-z) > 1 - level]
        low, high = (float(kept[0]), float(kept[-1])) if len(kept) else (math.nan, math.nan)
        return Interval(low, high, level, "normal tests at each value")

    value = float(points[np.argmin(np.abs(rectified - q))])
    return Estimate(value, math.nan, len(y), "PPI as published", f"quantile {q:g}", "", interval_of)


def published_ols(
    x: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    x_unlabelled: ArrayLike,
    unlabelled_predictions: ArrayLike,
    tuning: float | None = None,
) -> tuple[Estimate, ...]:
    """Least squares by PPI++ with normal intervals: lambda b_fU + b_(Y - lambda f).

    The sandwich is that of the rectified loss, with the Hessian of all rows: larger than the error
    of this estimate where x explains Y - f. One lambda minimises the trace.

    Parameters
    ----------
    x, labels, predictions, x_unlabelled, unlabelled_predictions
        As for `ppi_ols`.
    tuning : float, optional

    Examples
    --------
    >>> x = np.stack([np.ones(4), np.arange(4.0)], axis=1)
    >>> found = published_ols(x, [0, 1, 2, 4], [0, 1, 2, 3], x, [0, 1, 2, 3], tuning=1.0)
    >>> [round(each.value, 4) for each in found]
    [-0.2, 1.3]
    """
    given, more = design(x, "x"), design(x_unlabelled, "x_unlabelled")
    y, f = (outcome(v, given, "identity", w) for v, w in ((labels, "labels"), (predictions, "f")))
    u = outcome(unlabelled_predictions, more, "identity", "unlabelled_predictions")

    def at(lam: float) -> FloatArray:
        rectifier = fit(given, y - lam * f, "identity", "labels")
        return lam * fit(more, u, "identity", "predictions") + rectifier

    if tuning is None:
        tuning = _tuning(at(1.0), given, y, f, more, u, "identity")
    return _sandwich(at(tuning), tuning, given, y, f, more, u, "identity")


def published_logistic(
    x: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    x_unlabelled: ArrayLike,
    unlabelled_predictions: ArrayLike,
    tuning: float | None = None,
) -> tuple[Estimate, ...]:
    """Logistic regression by PPI++: the minimiser of the rectified loss, with normal intervals.

    Parameters
    ----------
    x, labels, predictions, x_unlabelled, unlabelled_predictions
        As for `ppi_logistic`.
    tuning : float, optional
        One lambda in [0, 1], else that which minimises the trace of the covariance.

    Raises
    ------
    ValueError
        If the rectified loss has no minimum that Newton's steps reach.

    Examples
    --------
    >>> x = np.ones((8, 1))
    >>> found = published_logistic(
    ...     x, [1, 1, 1, 0] * 2, [1, 1, 0, 0] * 2, np.ones((100, 1)), [1, 0] * 50, tuning=1.0
    ... )
    >>> round(found[0].value, 4)  # logit(0.5 + 0.75 - 0.5)
    1.0986
    """
    given, more = design(x, "x"), design(x_unlabelled, "x_unlabelled")
    y, f = (outcome(v, given, "logit", w) for v, w in ((labels, "labels"), (predictions, "f")))
    u = outcome(unlabelled_predictions, more, "logit", "unlabelled_predictions")

    def at(lam: float) -> FloatArray:
        b = np.zeros(given.shape[1])
        for _ in range(200):
            mean, weight = mean_and_weight(given @ b, "logit")
            mean_u, weight_u = mean_and_weight(more @ b, "logit")
            slope = given.T @ ((1 - lam) * mean - y + lam * f) / len(y)
            slope += lam * more.T @ (mean_u - u) / len(u)
            hessian = (1 - lam) * (given * weight[:, None]).T @ given / len(y)
            hessian += lam * (more * weight_u[:, None]).T @ more / len(u)
            if not np.isfinite(hessian).all() or np.linalg.cond(hessian) > 1e14:
                break
            step = np.linalg.solve(hessian, slope)
            b = b - step * min(1.0, 1 / max(float(np.abs(step).max()), 1e-300))
            if np.abs(step).max() < 1e-11:
                return b
        raise ValueError("the rectified logistic loss has no minimum that was found")

    if tuning is None:
        tuning = _tuning(at(1.0), given, y, f, more, u, "logit")
    return _sandwich(at(tuning), tuning, given, y, f, more, u, "logit")


def _tuning(
    b: FloatArray,
    x: FloatArray,
    y: FloatArray,
    f: FloatArray,
    x_u: FloatArray,
    u: FloatArray,
    link: Link,
) -> float:
    """PPI++'s lambda: tr(H^-1 Cov H^-1) / ((1 + n/N) tr(H^-1 Var H^-1)), clipped."""
    inverse, of_y, of_f, of_u = _scores(b, x, y, f, x_u, u, link, both=True)
    covariance = (of_y - of_y.mean(0)).T @ (of_f - of_f.mean(0)) / len(y)
    p = x.shape[1]
    variance = np.cov(np.concatenate([of_f, of_u]).T).reshape(p, p)
    top = np.trace(inverse @ (covariance + covariance.T) @ inverse)
    bottom = 2 * (1 + len(y) / len(u)) * np.trace(inverse @ variance @ inverse)
    return float(np.clip(top / bottom, 0, 1)) if bottom else 0.0


def _sandwich(
    b: FloatArray,
    lam: float,
    x: FloatArray,
    y: FloatArray,
    f: FloatArray,
    x_u: FloatArray,
    u: FloatArray,
    link: Link,
) -> tuple[Estimate, ...]:
    inverse, of_y, of_f, of_u = _scores(b, x, y, f, x_u, u, link, both=lam != 0)
    n, p = len(y), x.shape[1]
    middle = np.cov((of_y - lam * of_f).T).reshape(p, p)
    middle = middle + n / len(u) * lam**2 * np.cov(of_u.T).reshape(p, p)
    se = np.sqrt(np.diag(inverse @ middle @ inverse) / n)
    method = f"PPI++ as published, lambda {lam:.3g}"
    return tuple(
        Estimate(float(b[j]), float(se[j]), n, method, f"coefficient {j}") for j in range(p)
    )


def _scores(
    b: FloatArray,
    x: FloatArray,
    y: FloatArray,
    f: FloatArray,
    x_u: FloatArray,
    u: FloatArray,
    link: Link,
    *,
    both: bool,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Inverse Hessian (of both samples, or the labelled one) and gradients of each row."""
    mean, weight = mean_and_weight(x @ b, link)
    mean_u, weight_u = mean_and_weight(x_u @ b, link)
    hessian, total = (x * weight[:, None]).T @ x, len(y)
    if both:
        hessian, total = hessian + (x_u * weight_u[:, None]).T @ x_u, total + len(u)
    inverse = np.asarray(np.linalg.inv(hessian / total), np.float64)
    gradients = [x * (mean - values)[:, None] for values in (y, f)]
    return inverse, gradients[0], gradients[1], x_u * (mean_u - u)[:, None]


def _samples(
    labels: ArrayLike, predictions: ArrayLike, unlabelled: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    y, f = column(labels, "labels")[:, 0], column(predictions, "predictions")[:, 0]
    if len(y) != len(f):
        raise ValueError(f"{len(y)} labels and {len(f)} predictions of labelled rows")
    return y, f, column(unlabelled, "unlabelled_predictions")[:, 0]
