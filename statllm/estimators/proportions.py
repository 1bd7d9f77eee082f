"""Confidence limits for proportions, on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]
Limits = tuple[FloatArray, FloatArray]
Method = Literal["wilson", "clopper-pearson", "jeffreys"]


def wilson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> Limits:
    """Return Wilson's score interval (Wilson 1927).

    The values of p that a two-sided z test doesn't reject:
    (x + z^2/2 ± z sqrt(x (n - x) / n + z^2/4)) / (n + z^2).

    Parameters
    ----------
    successes, n : array_like
        Broadcast against each other. Successes may be fractional (ties that count 1/m).
    level : float
        Nominal coverage; the true coverage lies about it, on average close to it.

    Returns
    -------
    low, high : ndarray of float64
        0 and 1 where n = 0.

    Raises
    ------
    ValueError
        Unless 0 <= successes <= n and 0 < level < 1.

    Examples
    --------
    >>> low, high = wilson([8, 0], 10)
    >>> low.round(4), high.round(4)
    (array([0.4902, 0.    ]), array([0.9433, 0.2775]))
    """
    x, total = _checked(successes, n, level)
    return _score_interval(x, total, np.asarray(_chi2_quantile(1 - level)))


def goodman(
    counts: ArrayLike, n: ArrayLike, n_categories: ArrayLike, level: float = 0.95
) -> Limits:
    """Return Goodman's simultaneous intervals for multinomial shares (Goodman 1965).

    Wilson's interval at level 1 - (1 - `level`) / n_categories. All the intervals of a
    multinomial hold together with probability about `level`, so the one of a category that was
    picked after the fact (the most frequent one, say) holds too.

    Parameters
    ----------
    counts, n : array_like
        Counts of some or all categories, and the total number of trials.
    n_categories : array_like
        Number of categories of the multinomial.
    level : float

    Returns
    -------
    low, high : ndarray of float64
        0 and 1 where n = 0.

    Examples
    --------
    >>> low, high = goodman([6, 2, 1], 9, 3)
    >>> low.round(4), high.round(4)
    (array([0.3007, 0.0494, 0.0148]), array([0.9029, 0.6112, 0.51  ]))
    """
    x, total = _checked(counts, n, level)
    categories = np.asarray(n_categories)
    if np.any(categories < 1):
        raise ValueError("n_categories must be at least 1")
    return _score_interval(x, total, _chi2_quantile((1 - level) / categories))


def clopper_pearson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> Limits:
    """Return the exact interval (Clopper and Pearson 1934); it covers at least `level`.

    Quantiles of Beta(x, n - x + 1) and Beta(x + 1, n - x). Parameters and returned values as
    for `wilson`.

    Examples
    --------
    >>> low, high = clopper_pearson([8, 0], 10)
    >>> low.round(4), high.round(4)
    (array([0.4439, 0.    ]), array([0.9748, 0.3085]))
    """
    from scipy import special

    x, total = _checked(successes, n, level)
    tail = (1 - level) / 2
    low = special.betaincinv(np.maximum(x, 1e-300), total - x + 1, tail)
    high = special.betainccinv(x + 1, np.maximum(total - x, 1e-300), tail)
    return np.where(x == 0, 0.0, low), np.where(x == total, 1.0, high)


def jeffreys(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> Limits:
    """Return the equal-tailed posterior interval under Jeffreys' prior Beta(1/2, 1/2).

    The lower limit is 0 at x = 0 and the upper one 1 at x = n (Brown, Cai and DasGupta 2001).
    Parameters and returned values as for `wilson`.

    Examples
    --------
    >>> low, high = jeffreys([8, 0], 10)
    >>> low.round(4), high.round(4)
    (array([0.4972, 0.    ]), array([0.9559, 0.2172]))
    """
    from scipy import special

    x, total = _checked(successes, n, level)
    tail = (1 - level) / 2
    low = special.betaincinv(x + 0.5, total - x + 0.5, tail)
    high = special.betainccinv(x + 0.5, total - x + 0.5, tail)
    return np.where(x == 0, 0.0, low), np.where(x == total, 1.0, high)


def proportion(successes: float, n: int, method: Method = "wilson", name: str = "") -> Estimate:
    """Estimate a proportion.

    Parameters
    ----------
    successes : float
    n : int
        Independent trials.
    method : {"wilson", "clopper-pearson", "jeffreys"}
        The interval.
    name : str

    Returns
    -------
    Estimate
        successes / n with se sqrt(p (1 - p) / n); NaN when n = 0.

    Examples
    --------
    >>> accuracy = proportion(75, 100)
    >>> f"{accuracy.value} {accuracy.interval()}"
    '0.75 [0.657, 0.8245]'
    """
    limits = interval_function(method)
    _checked(successes, n, 0.95)
    p = successes / n if n else float("nan")

    def interval_of(level: float) -> Interval:
        low, high = limits(successes, n, level)
        return Interval(float(low), float(high), level, method)

    se = float(np.sqrt(p * (1 - p) / n)) if n else float("nan")
    return Estimate(p, se, n, "proportion", name, "share", interval_of)


def interval_function(method: str) -> Callable[[ArrayLike, ArrayLike, float], Limits]:
    """Return the function of a named interval.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    functions = {"wilson": wilson, "clopper-pearson": clopper_pearson, "jeffreys": jeffreys}
    if method not in functions:
        raise ValueError(f"method must be one of {', '.join(functions)}, not {method!r}")
    return functions[method]


def _score_interval(x: FloatArray, n: FloatArray, z2: FloatArray) -> Limits:
    """Wilson's interval with z^2 = `z2`, its ends exact at x = 0 and x = n."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.sqrt(z2 * (x * (n - x) / n + z2 / 4))
        low, high = (x + z2 / 2 - half) / (n + z2), (x + z2 / 2 + half) / (n + z2)
    return np.where(x == 0, 0.0, low), np.where(x == n, 1.0, high)


def _chi2_quantile(tail: float | FloatArray) -> FloatArray:
    """Upper quantile of chi-squared with one degree of freedom."""
    from scipy import special

    return np.asarray(special.chdtri(1, tail), dtype=np.float64)


def _checked(x: ArrayLike, n: ArrayLike, level: float) -> tuple[FloatArray, FloatArray]:
    """Both arrays as floats of one shape."""
    successes, total = np.broadcast_arrays(
        np.asarray(x, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    if not np.all((successes >= 0) & (successes <= total)):
        raise ValueError("successes must lie between 0 and n")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return successes, total
