"""Areas under the risk-coverage curve as other programs define them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.selective._coverage import Steps

FloatArray = NDArray[np.float64]


def trapezoid_aurc(steps: Steps) -> float:
    """fd-shifts: trapezoids over the distinct scores, flat from the first one to coverage 0."""
    if not steps.n:
        return np.nan
    risk = steps.kept_total / steps.kept
    coverage = steps.kept / steps.n
    return float(np.trapezoid(np.r_[risk[0], risk], np.r_[0.0, coverage]))


def achievable_aurc(steps: Steps) -> float:
    """fd-shifts: the convex hull's vertices only, risk x coverage linear between them.

    A vertex is where the error rate among the answers between two vertices rises, so the
    vertices are the ends of the blocks of an isotonic regression of the loss. With losses other
    than 0 and 1 every distinct score stays.
    """
    if not steps.n:
        return np.nan
    last = np.arange(len(steps.size))
    if np.isin(steps.value, [0, 1]).all():
        from scipy.optimize import isotonic_regression

        fit = isotonic_regression(steps.total / steps.size, weights=steps.size)
        last = fit.blocks[1:] - 1
    kept, lost = steps.kept[last].astype(np.float64), steps.kept_total[last]
    rate = np.diff(lost, prepend=0.0) / np.diff(kept, prepend=0.0)
    # Integral of (lost_before + rate (c - kept_before)) / c over each piece.
    area = float(rate @ np.diff(kept, prepend=0.0))
    curved = (lost[:-1] - rate[1:] * kept[:-1]) @ np.log(kept[1:] / kept[:-1])
    return (area + float(curved)) / steps.n


def shortened_aurc(steps: Steps) -> float:
    """torch-uncertainty: trapezoids over the n mean risks, divided by 1 - 1/n; ties averaged."""
    if steps.n < 2:
        return np.nan
    first = steps.total[0] / steps.size[0]
    ends = first + steps.total.sum() / steps.n
    return float((steps.n * steps.mean() - ends / 2) / (steps.n - 1))


def optimal_aurc(quality: FloatArray) -> float:
    """fd-shifts: the area of the best order; its limit of many answers if right or wrong."""
    loss = 1 - quality
    if np.isin(loss, [0, 1]).all():
        from scipy import special

        error = float(loss.mean())
        return float(error + special.xlogy(1 - error, 1 - error))
    return trapezoid_aurc(Steps.of_scores(-np.arange(len(loss), dtype=np.float64), np.sort(loss)))


def binary_error(steps: Steps) -> float:
    """Error rate, where answers are right or wrong."""
    if not np.isin(steps.value, [0, 1]).all():
        raise ValueError("correct must be 0 or 1 for the closed form of the best area")
    return float(steps.value.mean())
