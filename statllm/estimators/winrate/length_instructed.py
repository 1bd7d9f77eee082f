"""Following length limits: how often they're broken, and win rates where breaking one loses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.proportions import proportion, wilson
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def violation_rate(
    words: ArrayLike,
    limits: ArrayLike,
    *,
    scale: float = 1.0,
    clusters: ArrayLike | None = None,
    name: str = "violation rate",
) -> Estimate:
    """Share of answers with more words than their limit (Vlt of LIFT, Yuan et al. 2024).

    Parameters
    ----------
    words, limits : array_like of float, shape (n,)
    scale : float
        Limits are `limits` times it.
    clusters : array_like, shape (n,), optional
        What answers share: the prompt.
    name : str

    Returns
    -------
    Estimate
        With Wilson's interval; with clusters, at the sample size that has the clustered standard
        error: p (1 - p) / se^2, at most n; the number of clusters where p is 0 or 1.

    Raises
    ------
    ValueError
        If lengths differ, or numbers are negative or NaN; the row is named.

    Examples
    --------
    >>> rate = violation_rate([90, 120, 101, 100], [100, 100, 100, 100])
    >>> rate.value, f"{rate.interval():.3f}"
    (0.5, '[0.150, 0.850]')
    """
    broken = _violations(words, limits, scale, "words")
    if clusters is None:
        return proportion(float(broken.sum()), len(broken), name=name)
    found = mean_estimate(broken.astype(np.float64), clusters, name, "share")
    p = found.value
    size = float(min(found.n, len(broken)))
    if 0 < p < 1 and found.se > 0:
        size = min(p * (1 - p) / found.se**2, float(len(broken)))

    def interval_of(level: float) -> Interval:
        low, high = wilson(p * size, size, level)
        return Interval(float(low), float(high), level, f"wilson, effective n {size:.0f}")

    return Estimate(p, found.se, found.n, "proportion, clustered", name, "share", interval_of)


def violation_curve(
    words: ArrayLike,
    limits: ArrayLike,
    scales: Sequence[float] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
    *,
    clusters: ArrayLike | None = None,
) -> list[Estimate]:
    """Violation rates at scaled limits, one `violation_rate` per scale.

    Parameters
    ----------
    words : array_like of float, shape (S, n) or (n,)
        Words of the answers to each scale's prompts; (n,): the same answers against all limits.
    limits : array_like of float, shape (n,)
        Unscaled.
    scales : sequence of float, length S
    clusters : array_like, shape (n,), optional

    Examples
    --------
    >>> [rate.value for rate in violation_curve([90, 60], [100, 100], (1.0, 0.8, 0.5))]
    [0.0, 0.5, 1.0]
    """
    counts = np.asarray(words, np.float64)
    if counts.ndim == 1:
        counts = np.tile(counts, (len(scales), 1))
    if len(counts) != len(scales):
        raise ValueError(f"words have {len(counts)} rows, there are {len(scales)} scales")
    return [
        violation_rate(
            row, limits, scale=scale, clusters=clusters, name=f"violation rate, limits x {scale:g}"
        )
        for row, scale in zip(counts, scales, strict=True)
    ]


def length_instructed_win_rate(
    outcome: ArrayLike,
    words: ArrayLike,
    limits: ArrayLike,
    *,
    baseline_words: ArrayLike | None = None,
    both: Literal["lose", "tie"] = "lose",
    scale: float = 1.0,
    clusters: ArrayLike | None = None,
    name: str = "length-instructed win rate",
) -> Estimate:
    """Win rate in which an answer that breaks its limit loses (LIFT, Yuan et al. 2024).

    Parameters
    ----------
    outcome : array_like of float, shape (n,)
        The judge's, in [0, 1]; it sees the instruction without the limit. May be NaN where the
        limit decides, as violators needn't be judged.
    words, limits : array_like of float, shape (n,)
    baseline_words : array_like of float, shape (n,), optional
        Default: the baseline keeps every limit, as the shortest of three answers that set it does
        in the paper. Where it alone breaks one, the model wins.
    both : {"lose", "tie"}
        What an answer gets that breaks its limit as the baseline does. In the paper a violation
        loses, whatever the baseline did.
    scale : float
        Limits are `limits` times it.
    clusters : array_like, shape (n,), optional
    name : str

    Returns
    -------
    Estimate
        A share, t interval.

    Raises
    ------
    ValueError
        If lengths differ, a number is negative or NaN, or an outcome that is needed isn't in
        [0, 1]; the row is named.

    Examples
    --------
    >>> length_instructed_win_rate([1, 1, 0, float("nan")], [80, 99, 50, 150], [100] * 4).value
    0.5
    """
    if both not in ("lose", "tie"):
        raise ValueError(f"both must be lose or tie, not {both!r}")
    mine = _violations(words, limits, scale, "words")
    if baseline_words is None:
        other = np.zeros(len(mine), bool)
    else:
        other = _violations(baseline_words, limits, scale, "baseline_words")
    judged = numbers(outcome, "outcome")
    if judged.shape != mine.shape:
        raise ValueError(f"outcome has shape {judged.shape}, words {mine.shape}")
    wrong = np.flatnonzero(~mine & ~other & ~((judged >= 0) & (judged <= 1)))
    if len(wrong):
        raise ValueError(
            f"outcome must lie in [0, 1] where no limit is broken, not {judged[wrong[0]]:g} "
            f"(row {wrong[0]})"
        )
    value = np.where(other, 1.0, judged)
    value = np.where(mine, np.where(other & (both == "tie"), 0.5, 0.0), value)
    return mean_estimate(value, clusters, name, "share")


def _violations(words: ArrayLike, limits: ArrayLike, scale: float, name: str) -> BoolArray:
    """Which answers are too long."""
    counts, most = numbers(words, name), numbers(limits, "limits")
    if counts.ndim != 1 or counts.shape != most.shape or not len(counts):
        raise ValueError(
            f"{name} and limits must be of one length, not {counts.shape}, {most.shape}"
        )
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, not {scale}")
    for what, values in ((name, counts), ("limits", most)):
        wrong = np.flatnonzero(~(values >= 0))
        if len(wrong):
            raise ValueError(f"{what} must not be negative or NaN (row {wrong[0]})")
    return counts > most * scale
