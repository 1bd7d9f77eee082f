"""Prediction-powered mean of a bounded label, valid with any number of labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.ppi.mean import column
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]


def ppi_mean_by_betting(
    labels: ArrayLike,
    predictions: ArrayLike,
    unlabelled_predictions: ArrayLike,
    *,
    tuning: float = 1.0,
    bounds: tuple[float, float] = (0.0, 1.0),
    share_unlabelled: float = 0.1,
    name: str = "mean",
    unit: str = "",
) -> Estimate:
    """Mean with an interval that holds at its level for any n, not only approximately.

    The rectifier Y - lambda f lies between known bounds, and so does f: each mean gets a betting
    interval (Waudby-Smith and Ramdas 2024), the latter with the share `share_unlabelled` of the
    error, and the two are added (as in Angelopoulos et al. 2023, theorem 1). Rows are independent
    and in an order that has nothing to do with their values. Wider than `ppi_mean`, whose t holds
    approximately.

    Parameters
    ----------
    labels, predictions : array_like of float, shape (n,)
    unlabelled_predictions : array_like of float, shape (N,)
    tuning : float
        lambda, chosen without looking at these data.
    bounds : (float, float)
        Of labels and predictions.
    share_unlabelled : float
        In (0, 1).
    name, unit : str

    Returns
    -------
    Estimate
        se is the normal one.

    Raises
    ------
    ValueError
        If lengths differ, values lie outside the bounds, or an argument is out of its range.

    Examples
    --------
    >>> found = ppi_mean_by_betting([1, 0, 1, 1] * 10, [1, 0, 1, 1] * 10, [1, 0, 1, 1] * 500)
    >>> f"{found.value:.2f} {found.interval():.2f}"
    '0.75 [0.52, 0.98]'
    """
    low, high = bounds
    if not low < high or not 0 < share_unlabelled < 1 or not tuning >= 0:
        raise ValueError("bounds must rise, share_unlabelled lie in (0, 1), tuning be at least 0")
    y, f, u = (
        column(values, what)[:, 0]
        for values, what in (
            (labels, "labels"),
            (predictions, "predictions"),
            (unlabelled_predictions, "unlabelled_predictions"),
        )
    )
    if len(y) != len(f):
        raise ValueError(f"{len(y)} labels and {len(f)} predictions of labelled rows")
    for values, what in ((y, "labels"), (f, "predictions"), (u, "unlabelled_predictions")):
        if values.min() < low or values.max() > high:
            raise ValueError(f"{what} must lie within the bounds {low:g}, {high:g}")
    rectifier = y - tuning * f
    floor, width = low - tuning * high, (1 + tuning) * (high - low)
    scaled, scaled_u = (rectifier - floor) / width, (u - low) / (high - low)

    def interval_of(level: float) -> Interval:
        rest = (1 - level) * (1 - share_unlabelled)
        first = [floor + width * end for end in _limits(scaled, rest)]
        ends = _limits(scaled_u, (1 - level) * share_unlabelled)
        second = [tuning * (low + (high - low) * end) for end in ends]
        return Interval(
            max(first[0] + second[0], low), min(first[1] + second[1], high), level, "betting"
        )

    value = tuning * float(u.mean()) + float(rectifier.mean())
    se = float("nan")
    if min(len(y), len(u)) > 1:
        se = float(np.sqrt(rectifier.var(ddof=1) / len(y) + tuning**2 * u.var(ddof=1) / len(u)))
    return Estimate(value, se, len(y), f"PPI, lambda {tuning:g}", name, unit, interval_of)


def _limits(x: FloatArray, error: float) -> tuple[float, float]:
    """Two-sided betting limits for the mean of values in [0, 1]."""
    from statllm.estimators.selective.risk_bounds import betting_upper_bound

    # rounding may leave [0, 1] by a little
    upper: Callable[[FloatArray], float] = lambda z: betting_upper_bound(  # noqa: E731
        np.clip(z, 0, 1), error / 2
    )
    return 1 - upper(1 - x), upper(x)
