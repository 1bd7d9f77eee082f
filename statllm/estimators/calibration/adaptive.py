"""T-Cal: a test of calibration that looks through bins of many widths."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.calibration import _bin_sums, _null_draws
from statllm.estimators.calibration._null_draws import NullDraws
from statllm.estimators.calibration._outcomes import (
    FloatArray,
    IntArray,
    Outcomes,
    bin_index,
    check_bins,
    check_resamples,
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
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
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

    With weights, products are w_i w_j d_i d_j, n and n_b sums of weights. With clusters, pairs
    within a cluster are left out of T_m, which then has mean 0 however the answers of a cluster
    hang together; m goes up to the number of clusters over the same root, and in the place of
    drawn outcomes each cluster's residuals get a random sign. That test is valid for many
    clusters only: at 5 % it rejected 5 % of calibrated samples of 20 or 40 clusters of five
    answers that nearly agree, and 4 % of 200 (without clusters 13 to 22 %).

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, shape (n,)
    n_bins : int, optional
        Use these bins only. Default: adaptive.
    combine : {"min-p", "bonferroni"}
    n_resamples : int
        Draws under calibration; the smallest p-value is 1 / (n_resamples + 1), times the number
        of m under Bonferroni's rule.
    rng : numpy.random.Generator or int
    weights : array_like of float, shape (n,), optional
        Sampling weights.
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster may depend on each other.
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
    check_resamples(n_resamples)
    if n_bins is not None:
        check_bins(n_bins)
    rows = checked(confidence, correct, weights, clusters, missing, binary=True)
    n = rows.n_units
    if n < 2:
        return _result(math.nan, math.nan, rows, "T-Cal")
    levels = _levels(n) if n_bins is None else [n_bins]
    values, cell = distinct_cells(rows.confidence, _CELLS)
    draws = _null_draws.draw(rows, values, cell, n_resamples, np.random.default_rng(rng))
    statistics = np.column_stack([_statistic(draws, rows, values, cell, m) for m in levels])
    # Row 0 is the observation; under calibration the rows are exchangeable.
    p_values = _null_draws.upper_share(statistics)
    best = int(np.argmin(p_values[0]))
    if combine == "bonferroni":
        p = min(float(p_values[0, best]) * len(levels), 1.0)
    else:
        smallest = p_values.min(axis=1)
        p = float((smallest <= smallest[0]).mean())
    which = f"{levels[0]} bins" if len(levels) == 1 else f"{len(levels)} bin widths, {combine}"
    return _result(float(statistics[0, best]), p, rows, f"T-Cal, {which}")


def _levels(n: int) -> list[int]:
    """2, 4, 8, ... bins."""
    most = min(n / math.sqrt(math.log(n)), _CELLS)
    return [2**b for b in range(1, max(int(math.log2(most)), 1) + 1)]


def _statistic(
    draws: NullDraws, rows: Outcomes, values: FloatArray, cell: IntArray, m: int
) -> FloatArray:
    """T_m of the observation and of each draw."""
    index, _ = bin_index(values, "equal-width", m)
    first = np.append(True, index[1:] != index[:-1])  # values rise
    starts = np.flatnonzero(first)
    mass = np.add.reduceat(draws.weight, starts)
    squares = np.add.reduceat(draws.residual, starts, axis=1) ** 2
    if draws.own is None:
        place = (np.cumsum(first) - 1)[cell]
        weighted = rows.weight * rows.residual
        own = _bin_sums.squares_of_sums(weighted, rows.clusters, place, len(starts))
    else:
        own = np.add.reduceat(draws.own, starts, axis=1)
    used = mass > 0
    total = ((squares - own)[:, used] / mass[used]).sum(axis=1)
    return np.asarray(total / mass.sum())


def _result(statistic: float, p: float, rows: Outcomes, method: str) -> TestResult:
    clustered = rows.clusters is not None
    return TestResult(
        statistic,
        p,
        math.log(p),
        "greater",
        rows.n_units,
        f"{method}, clustered" if clustered else method,
        _null_draws.CLUSTERED if clustered else _null_draws.INDEPENDENT,
    )
