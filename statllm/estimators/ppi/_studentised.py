"""A studentised bootstrap of what each cluster adds to the error."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.ppi._combine import Combined, FloatArray
from statllm.results import Interval

_RESAMPLES = 9999
_CELLS = 4_000_000  # resampled clusters held at a time


def studentised_interval(
    found: Combined, labelled: NDArray[np.bool_], seed: np.random.Generator | int
) -> Callable[[float], Interval]:
    """Interval of the first of the numbers, by resampling its labelled clusters.

    With psi_c what labelled cluster c adds to the estimate (the jackknife's change with its sign
    turned) and u the standard error that the unlabelled ones leave, a resample has

        t* = (sqrt((n - 1) / n) sum psi* + u Z) / sqrt(sum (psi* - mean psi*)^2 + u^2)

    with Z normal, as there are many unlabelled rows; for a mean of labels that's the usual
    bootstrap-t (Efron and Tibshirani 1993, chapter 12). lambda isn't chosen anew in the resamples.
    """
    change = found.change[:, 0]
    psi = -change[labelled]
    psi = psi - psi.mean()
    rest = float(np.sqrt(np.sum(change[~labelled] ** 2)))
    value, se = float(found.value[0]), float(found.se[0])

    @cache
    def ratios() -> FloatArray:
        rng = np.random.default_rng(seed)
        n, drawn = len(psi), np.empty(_RESAMPLES)
        width = max(1, _CELLS // n)
        for start in range(0, _RESAMPLES, width):
            part = drawn[start : start + width]
            some = psi[rng.integers(0, n, (len(part), n))]
            total = math.sqrt((n - 1) / n) * some.sum(1) + rest * rng.standard_normal(len(part))
            spread = np.sqrt(n * some.var(axis=1) + rest**2)
            # A resample of equal clusters has no spread: its ratio is as far out as can be.
            with np.errstate(divide="ignore", invalid="ignore"):
                part[:] = np.where(total == 0, 0.0, total / spread)
        return np.sort(drawn)

    def interval_of(level: float) -> Interval:
        if se == 0:  # every cluster alike
            return Interval(value, value, level, "studentised bootstrap")
        tail = (1 - level) / 2
        rank = max(math.floor((_RESAMPLES + 1) * tail + 1e-9), 1)
        low, high = ratios()[[rank - 1, _RESAMPLES - rank]]
        return Interval(
            float(value - high * se), float(value - low * se), level, "studentised bootstrap"
        )

    return interval_of
