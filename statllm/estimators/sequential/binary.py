"""Right or wrong: exact mixtures of the binomial likelihood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import finite
from statllm.estimators.sequential.paths import (
    ConfidenceSequence,
    Evidence,
    FloatArray,
    check_level,
    running_mean,
)

_STEPS = 60  # of bisection: 2^-60
_PRIOR = 1e6  # above, the difference of two log beta functions rounds


def bernoulli_mean(x: ArrayLike, level: float = 0.95, prior: float = 0.5) -> ConfidenceSequence:
    """Confidence sequence of a success probability, by a beta mixture.

    All p for which B(a + s, a + n - s) / B(a, a) < p^s (1 - p)^(n - s) / alpha (Robbins 1970): the
    likelihood ratio of the mixture is a martingale under p, whatever p is.

    Parameters
    ----------
    x : array_like of 0/1, shape (n,)
        In the order in which they came, independent of each other.
    level : float
    prior : float
        a of the symmetric beta mixture; 1/2 is within a constant of the best at every n.

    Returns
    -------
    ConfidenceSequence
        Intersected with all earlier intervals.

    Raises
    ------
    ValueError
        If an outcome is neither 0 nor 1.

    Examples
    --------
    >>> found = bernoulli_mean([1, 1, 0, 1] * 50)
    >>> f"{found.interval():.3f}"
    '[0.639, 0.843]'
    """
    check_level(level)
    values = _outcomes(x, "x")
    if not 0 < prior <= _PRIOR:
        raise ValueError(f"prior must be positive and at most {_PRIOR:g}, not {prior}")
    n = np.arange(1, len(values) + 1)
    s = np.cumsum(values)
    bound = _log_mixture(s, n, prior) + math.log(1 - level)
    mean = s / n

    def outside(p: FloatArray) -> NDArray[np.bool_]:
        from scipy import special

        return np.asarray(special.xlogy(s, p) + special.xlog1py(n - s, -p) < bound)

    low, high = np.zeros(len(n)), mean.copy()
    out_low, in_low = low.copy(), mean.copy()
    in_high, out_high = mean.copy(), np.ones(len(n))
    for _ in range(_STEPS):
        middle = (out_low + in_low) / 2
        out = outside(middle)
        out_low, in_low = np.where(out, middle, out_low), np.where(out, in_low, middle)
        middle = (out_high + in_high) / 2
        out = outside(middle)
        out_high, in_high = np.where(out, middle, out_high), np.where(out, in_high, middle)
    low = np.maximum.accumulate(np.where(s == 0, 0.0, out_low))
    high = np.minimum.accumulate(np.where(s == n, 1.0, out_high))
    return ConfidenceSequence(running_mean(values), low, high, level, "beta mixture")


def sequential_mcnemar(a: ArrayLike, b: ArrayLike, prior: float = 0.5) -> Evidence:
    """McNemar's test that may be looked at after every prompt.

    Of d prompts on which exactly one model is right, w are the second's; the fortune is
    B(prior + w, prior + d - w) / B(prior, prior) 2^d. Prompts on which both are right or wrong
    change nothing.

    Parameters
    ----------
    a, b : array_like of 0/1, shape (n,)
        Right or wrong, prompt by prompt, in the order in which they came.
    prior : float

    Returns
    -------
    Evidence
        Two-sided; one entry per prompt.

    Raises
    ------
    ValueError
        If lengths differ or an outcome is neither 0 nor 1.

    Examples
    --------
    >>> before, after = [0] * 30, [1, 1, 0] * 10
    >>> sequential_mcnemar(before, after).first_crossing(0.01)
    14
    """
    first, second = _outcomes(a, "a"), _outcomes(b, "b")
    if len(first) != len(second):
        raise ValueError(f"a and b must be paired, but have {len(first)} and {len(second)} rows")
    if not 0 < prior <= _PRIOR:
        raise ValueError(f"prior must be positive and at most {_PRIOR:g}, not {prior}")
    wins = np.cumsum(second > first)
    apart = np.cumsum(second != first)
    return Evidence(
        _log_mixture(wins, apart, prior) + apart * math.log(2),
        "two-sided",
        "McNemar, beta mixture",
        "given the past, either model is as likely as the other to be the right one of a pair",
    )


def _log_mixture(s: NDArray[Any], n: NDArray[Any], a: float) -> FloatArray:
    """Log of the beta mixture's likelihood."""
    from scipy import special

    return np.asarray(special.betaln(a + s, a + n - s) - special.betaln(a, a))


def _outcomes(x: ArrayLike, name: str) -> FloatArray:
    values = finite(x, name, empty=True)
    wrong = np.flatnonzero(~np.isin(values, [0.0, 1.0]))
    if len(wrong):
        raise ValueError(f"{name} is {values[wrong[0]]:g} at place {wrong[0]}, not 0 or 1")
    return values
