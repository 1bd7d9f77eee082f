"""Win rates as they are."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import numbers
from statllm.estimators.comparison import ratio_estimate
from statllm.results import Estimate

FloatArray = NDArray[np.float64]


def win_rate(
    outcome: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    ties: Literal["half", "drop", "lose"] = "half",
    name: str = "win rate",
) -> Estimate:
    """Share of comparisons that a model wins.

    Parameters
    ----------
    outcome : array_like of float, shape (n,)
        1 (win), 0.5 (tie), 0 (loss), or a judge's probability of a win.
    clusters : array_like, shape (n,), optional
        What comparisons share: the prompt, the two orders of a pair.
    ties : {"half", "drop", "lose"}
        What outcomes of exactly 0.5 are worth: half a win, nothing at all (wins among the decided),
        or no win.
    name : str

    Returns
    -------
    Estimate
        A share, with a t interval; see `ratio_estimate`. For ties="half" without clusters its
        error is AlpacaEval's: the standard deviation over sqrt(n).

    Raises
    ------
    ValueError
        If an outcome isn't in [0, 1]; its row is named.

    Examples
    --------
    >>> rate = win_rate([1, 1, 0.5, 0])
    >>> rate.value, round(rate.se, 4)
    (0.625, 0.2394)
    >>> round(win_rate([1, 1, 0.5, 0], ties="drop").value, 4)
    0.6667
    """
    y = outcomes(outcome)
    if ties not in ("half", "drop", "lose"):
        raise ValueError(f"ties must be half, drop or lose, not {ties!r}")
    weight = np.where(y == 0.5, 0.0, 1.0) if ties == "drop" else np.ones(len(y))
    wins = y * weight if ties == "drop" else np.where((y == 0.5) & (ties == "lose"), 0.0, y)
    return ratio_estimate(wins, weight, name, "share", clusters, method=f"win rate, ties {ties}")


def outcomes(outcome: ArrayLike) -> FloatArray:
    """Outcomes as floats; ValueError unless all are in [0, 1]."""
    y = numbers(outcome, "outcome")
    if y.ndim != 1 or not len(y):
        raise ValueError(f"outcome must be one-dimensional and not empty, not of shape {y.shape}")
    wrong = np.flatnonzero(~((y >= 0) & (y <= 1)))
    if len(wrong):
        raise ValueError(f"outcome must lie in [0, 1], not {y[wrong[0]]:g} (row {wrong[0]})")
    return y
