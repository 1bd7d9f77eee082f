"""Bets on the mean of bounded scores."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import finite, whole
from statllm.estimators.sequential.paths import (
    ConfidenceSequence,
    Evidence,
    FloatArray,
    check_level,
    running_mean,
)

Alternative = Literal["greater", "less", "two-sided"]

_SHARE = 0.5  # of the largest bet that can't lose everything
_CELLS = 2_000_000  # of the table of bets that is in memory at a time


def betting_mean(
    x: ArrayLike,
    low: float = 0.0,
    high: float = 1.0,
    level: float = 0.95,
    grid: int = 1000,
) -> ConfidenceSequence:
    """Confidence sequence of the mean of bounded scores, by hedged betting.

    For each m, bets that the mean is above and below m: with x scaled to [0, 1],
    K+_t = prod (1 + min(l_i, 1 / (2 m)) (x_i - m)), K-_t alike with 1 - m, and m is excluded once
    either reaches 2 / alpha. The bets l_i = sqrt(2 ln(2 / alpha) / (var_{i-1} i ln(i + 1))) use
    only earlier scores (Waudby-Smith and Ramdas 2024, theorem 3 and equation 26). Needs no
    distribution, only that each score has the same mean given the past.

    Parameters
    ----------
    x : array_like of float, shape (n,)
        In the order in which they came; one per independent unit (of clusters, their means).
    low, high : float
        What a score can be at least and at most: known before, not read off the data.
    level : float
    grid : int
        Values of m that are tried; the interval is widened by one step, so that it stays valid.

    Returns
    -------
    ConfidenceSequence
        Intersected with all earlier intervals.

    Raises
    ------
    ValueError
        If a score is outside [low, high] (its place is named) or isn't finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = betting_mean(rng.random(500) < 0.8)
    >>> f"{found.interval():.2f}", found.first_excluding(0.5) < 100
    ('[0.69, 0.82]', True)
    """
    check_level(level)
    values = _scaled(x, low, high)
    grid = whole(grid, "grid", 10)
    m = np.linspace(0.0, 1.0, grid + 1)
    bets = _bets(values, 1 - level)
    threshold = math.log(2 / (1 - level))
    n = len(values)
    first, last = np.empty(n), np.empty(n)
    alive = np.ones(len(m), np.bool_)
    up, down = np.zeros(len(m)), np.zeros(len(m))
    with np.errstate(divide="ignore"):
        most_up, most_down = _SHARE / m, _SHARE / (1 - m)
    block = max(_CELLS // len(m), 1)
    for start in range(0, n, block):
        part = slice(start, min(start + block, n))
        gap = values[part, None] - m
        bet = bets[part, None]
        above = up + np.cumsum(np.log1p(np.minimum(bet, most_up) * gap), axis=0)
        below = down + np.cumsum(np.log1p(-np.minimum(bet, most_down) * gap), axis=0)
        up, down = above[-1], below[-1]
        inside = np.maximum(above, below) < threshold
        inside[0] &= alive
        inside = np.logical_and.accumulate(inside, axis=0)
        alive = inside[-1]
        any_left = inside.any(axis=1)
        first[part] = np.where(any_left, inside.argmax(axis=1), np.nan)
        last[part] = np.where(any_left, len(m) - 1 - inside[:, ::-1].argmax(axis=1), np.nan)
    # All of the grid excluded is possible where the mean isn't constant: the interval is a point.
    step = 1.0 / grid
    bottom = np.clip(_carried(first) * step - step, 0.0, 1.0)
    top = np.clip(_carried(last) * step + step, 0.0, 1.0)
    width = high - low
    return ConfidenceSequence(
        low + width * running_mean(values),
        low + width * bottom,
        low + width * top,
        level,
        "hedged betting",
    )


def betting_test(
    x: ArrayLike,
    mean: float,
    low: float = 0.0,
    high: float = 1.0,
    alternative: Alternative = "greater",
) -> Evidence:
    """Test, at any time, that the mean of bounded scores is at most `mean`.

    The fortune K+ of `betting_mean` (for alpha = .05) at this mean alone; of ``"two-sided"``, half
    of it is bet each way. Of two models: x = score of b - score of a, low = -1, high = 1, mean = 0.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    mean : float
        Strictly inside (low, high).
    low, high : float
    alternative : {"greater", "less", "two-sided"}

    Returns
    -------
    Evidence

    Raises
    ------
    ValueError
        As `betting_mean`, or if the mean isn't inside.

    Examples
    --------
    >>> gain = [1, 0, 1, 1, 0, 1] * 10
    >>> betting_test(gain, 0.0, low=-1.0).first_crossing(0.05)
    12
    """
    values = _scaled(x, low, high)
    if not low < mean < high:
        raise ValueError(f"mean must lie between {low} and {high}, not {mean}")
    if alternative not in ("greater", "less", "two-sided"):
        raise ValueError(f"alternative must be greater, less or two-sided, not {alternative!r}")
    m = (mean - low) / (high - low)
    bets, gap = _bets(values, 0.05), values - m
    above = np.cumsum(np.log1p(np.minimum(bets, _SHARE / m) * gap))
    below = np.cumsum(np.log1p(-np.minimum(bets, _SHARE / (1 - m)) * gap))
    if alternative == "greater":
        log_e = above
    elif alternative == "less":
        log_e = below
    else:
        log_e = np.logaddexp(above, below) - math.log(2)
    return Evidence(
        log_e,
        alternative,
        "betting on a bounded mean",
        f"scores lie between {low:g} and {high:g} and have, given the past, the same mean",
    )


def _bets(values: FloatArray, alpha: float) -> FloatArray:
    """Predictable bets: the variance before each score, from a prior of one score of 1/2."""
    n = len(values)
    i = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(values)) / (i + 1)
    variance = (0.25 + np.cumsum((values - mean) ** 2)) / (i + 1)
    before = np.concatenate([[0.25], variance[:-1]]) if n else variance
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (before * i * np.log(i + 1))))


def _scaled(x: ArrayLike, low: float, high: float) -> FloatArray:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low {low} must be below high {high}, both finite")
    if not math.isfinite(high - low):
        raise ValueError(f"low {low:g} and high {high:g} are too far apart")
    values = finite(x, "x", empty=True)
    outside = np.flatnonzero((values < low) | (values > high))
    if len(outside):
        place = outside[0]
        raise ValueError(f"x is {values[place]:g} at place {place}, outside [{low:g}, {high:g}]")
    return (values - low) / (high - low)


def _carried(places: FloatArray) -> FloatArray:
    """Fill NaN with the last value before."""
    known = np.maximum.accumulate(np.where(np.isnan(places), -1, np.arange(len(places))))
    return np.asarray(places[np.maximum(known, 0)])
