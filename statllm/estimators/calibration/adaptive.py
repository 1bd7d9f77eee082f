"""T-Cal: a test of calibration that looks through bins of many widths."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration._outcomes import (
    FloatArray,
    IntArray,
    bin_index,
    checked,
    distinct_cells,
)
from statllm.results import TestResult

_CELLS = 4096


def t_cal(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_bins: int | None = None,
    combine: Literal["min-p", "bonferroni"] = "min-p",
    n_resamples: int = 999,
    rng: np.random.Generator | int = 0,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration by the debiased squared L2 error (Lee, Huang, Hassani and Dobriban 2022).

    T_m = (1/n) sum_b sum_{i != j in b} d_i d_j / n_b over m bins of equal width, compared with
    the same for outcomes drawn from the confidences. The adaptive form takes m = 2, 4, 8, ... up
    to n / sqrt(ln n) (and 4,096), since the best m depends on how quickly the miscalibration
    changes.

    ``"bonferroni"``, the published rule: the smallest p-value times the number of m.
    ``"min-p"``: the smallest p-value, compared with the smallest p-values of the draws. As valid,
    and with the same draws its p-value is never the larger: neighbouring m say nearly the same.

    The draws are of bin counts, binomial for each distinct confidence (each of 4,096 cells where
    there are more), so a million rows cost little more than a thousand.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, shape (n,)
        Rows must be independent.
    n_bins : int, optional
        Use these bins only. Default: adaptive.
    combine : {"min-p", "bonferroni"}
    n_resamples : int
        Draws under calibration; the smallest p-value is 1 / (n_resamples + 1), times the number
        of m under Bonferroni's rule.
    rng : numpy.random.Generator or int
    missing : {"raise", "drop"}

    Returns
    -------
    TestResult
        The statistic is T_m of the m with the smallest p-value (the first of them).

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> p = np.linspace(0.05, 0.95, 400)
    >>> draws = np.random.default_rng(1).random(400)
    >>> t_cal(p, draws < p).p_value > 0.05
    True
    >>> t_cal(p, draws < p + 0.2 * np.sin(12 * p)).p_value < 0.05
    True
    """
    if combine not in ("min-p", "bonferroni"):
        raise ValueError(f"combine must be min-p or bonferroni, not {combine!r}")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, not {n_resamples}")
    if n_bins is not None and n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, not {n_bins}")
    rows = checked(confidence, correct, missing=missing, binary=True)
    n = len(rows)
    if n < 2:
        return _result(math.nan, math.nan, n, "T-Cal")
    levels = _levels(n) if n_bins is None else [n_bins]
    values, cell = distinct_cells(rows.confidence, _CELLS)
    count = np.bincount(cell, minlength=len(values))
    hits = np.bincount(cell, rows.outcome, len(values))
    generator = np.random.default_rng(rng)
    outcomes = np.vstack([hits, generator.binomial(count, values, (n_resamples, len(values)))])
    statistics = _statistics(outcomes, values, count, levels)
    # Row 0 is the observation; under calibration the rows are exchangeable.
    p_values = _upper_ranks(statistics) / (n_resamples + 1)
    best = int(np.argmin(p_values[0]))
    if combine == "bonferroni":
        p = min(float(p_values[0, best]) * len(levels), 1.0)
    else:
        smallest = p_values.min(axis=1)
        p = float((smallest <= smallest[0]).mean())
    which = f"{levels[0]} bins" if len(levels) == 1 else f"{len(levels)} bin widths, {combine}"
    return _result(float(statistics[0, best]), p, n, f"T-Cal, {which}")


def _levels(n: int) -> list[int]:
    """2, 4, 8, ... bins."""
    most = min(n / math.sqrt(math.log(n)), _CELLS)
    return [2**b for b in range(1, max(int(math.log2(most)), 1) + 1)]


def _statistics(
    outcomes: FloatArray, values: FloatArray, count: IntArray, levels: list[int]
) -> FloatArray:
    """T_m of each row of outcomes, shape (n_rows, n_levels)."""
    residual = outcomes - count * values
    # sum_i d_i^2, d = 1 - p for a right answer and -p for a wrong one.
    own = outcomes * (1 - 2 * values) + count * values**2
    out = np.empty((len(outcomes), len(levels)))
    for column, m in enumerate(levels):
        index, _ = bin_index(values, "equal-width", m)
        starts = np.flatnonzero(np.append(True, index[1:] != index[:-1]))  # values rise
        n_b = np.add.reduceat(count, starts)
        squares = np.add.reduceat(residual, starts, axis=1) ** 2
        out[:, column] = ((squares - np.add.reduceat(own, starts, axis=1)) / n_b).sum(axis=1)
    return np.asarray(out / count.sum())


def _upper_ranks(statistics: FloatArray) -> IntArray:
    """For each entry how many of its column are at least as large, itself included."""
    ranks = np.empty(statistics.shape, dtype=np.int64)
    for column, values in enumerate(statistics.T):
        # Equal counts in another order of summation may differ in the last digits.
        rounded = np.round(values, 12)
        ordered = np.sort(rounded)
        ranks[:, column] = len(values) - np.searchsorted(ordered, rounded, side="left")
    return ranks


def _result(statistic: float, p: float, n: int, method: str) -> TestResult:
    return TestResult(
        statistic,
        p,
        math.log(p),
        "greater",
        n,
        method,
        "outcomes are independent given the confidences",
    )
