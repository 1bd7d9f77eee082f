"""A confidence sequence for any mean with a finite variance, in large samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import LARGEST, finite, whole
from statllm.estimators.sequential.paths import (
    ConfidenceSequence,
    check_level,
    running_mean,
)


def asymptotic_mean(
    x: ArrayLike, level: float = 0.95, tightest_at: int | None = None, start: int = 100
) -> ConfidenceSequence:
    """Confidence sequence of a mean by a normal mixture with the estimated variance.

    mean_t ± s_t sqrt(2 (t r^2 + 1) / (t^2 r^2) ln(sqrt(t r^2 + 1) / alpha)) (Waudby-Smith, Arbour,
    Sinha, Kennedy and Ramdas 2024, theorem 2.2). For scores without bounds; it holds in the limit
    of a late first look, which is why there's none before `start` units.

    Parameters
    ----------
    x : array_like of float, shape (n,)
        In the order in which they came; one per independent unit (of clusters, their means).
    level : float
    tightest_at : int, optional
        Number of units at which it's to be narrowest; default the last.
    start : int
        The first look; before it the interval is the whole line.

    Returns
    -------
    ConfidenceSequence
        Not intersected: each interval is the best at its time.

    Raises
    ------
    ValueError
        If `start` is below 2, `tightest_at` below 1, or a score isn't finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = asymptotic_mean(rng.exponential(size=2000))
    >>> f"{found.interval():.2f}"
    '[0.94, 1.08]'
    """
    check_level(level)
    values = finite(x, "x", empty=True, largest=LARGEST)
    start = whole(start, "start", 2)
    best = max(len(values), start) if tightest_at is None else whole(tightest_at, "tightest_at", 1)
    alpha = 1 - level
    spread = -2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1
    r2 = max(spread, 1e-12) / best
    t = np.arange(1, len(values) + 1)
    mean = running_mean(values)
    shift = values[0] if len(values) else 0.0
    centred = values - shift
    square = np.maximum(np.cumsum(centred**2) / t - (mean - shift) ** 2, 0.0)
    half = np.sqrt(square * 2 * (t * r2 + 1) / (t**2 * r2) * np.log(np.sqrt(t * r2 + 1) / alpha))
    half[: start - 1] = np.inf
    return ConfidenceSequence(mean, mean - half, mean + half, level, "normal mixture, asymptotic")
