"""Calibration watched as outcomes come in: a test that may be looked at after every row."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.calibration._outcomes import (
    FloatArray,
    IntArray,
    Outcomes,
    bin_index,
    checked,
)
from statllm.results import TestResult

_LEVELS = (1, 2, 4, 8, 16)
_CAUTION = 20.0  # rows with no miscalibration that a bin is taken to have seen before the first


@dataclass(frozen=True, eq=False)
class CalibrationMonitor:
    """A safe Hosmer-Lemeshow test, row by row (after Henzi, Puke, Dimitriadis and Ziegel 2024).

    Bet against the confidences: before outcome t, propose q_t from what came before, and multiply
    the capital by q_t / p_t if the answer is right, by (1 - q_t) / (1 - p_t) if it's wrong. If
    the confidences are calibrated the bet is fair whatever q_t is, so the capital E_t exceeds
    1/alpha at any time with probability at most alpha (Ville): test after every row, stop when
    you like, go on when you like.

    Where the paper fits q by isotonic regression on a part of the rows, here
    q = p + (sum of earlier residuals of the bin) / (their number + 20), kept in [p/2, (1 + p)/2],
    so that no row is set aside and the state is a few sums. The capital is spread evenly over
    1, 2, 4, 8 and 16 bins of equal width.

    Outcomes of one cluster depend on each other in an unknown way, and the product of their bets
    is no longer fair. Their mean is, if all are made before the cluster is seen: the capital
    grows by the mean over the cluster's rows, once for each cluster.

    Attributes
    ----------
    count, residual : tuple of ndarray
        Rows and summed residuals of each bin, for each number of bins.
    log_capital : ndarray, shape (5,)
        Log of the capital grown in each number of bins.
    highest : float
        Largest log E seen so far, at least 0.
    n : int
        Rows, or clusters, seen.
    path : ndarray
        Log E after each row, or cluster, of the last update.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> monitor = CalibrationMonitor()
    >>> for _ in range(20):
    ...     p = rng.random(50)
    ...     monitor = monitor.update(p, rng.random(50) < 0.7 * p)  # overconfident
    ...     if monitor.test().p_value < 0.01:
    ...         break
    >>> monitor.n < 500
    True
    """

    count: tuple[FloatArray, ...] = field(
        default_factory=lambda: tuple(np.zeros(m) for m in _LEVELS)
    )
    residual: tuple[FloatArray, ...] = field(
        default_factory=lambda: tuple(np.zeros(m) for m in _LEVELS)
    )
    log_capital: FloatArray = field(default_factory=lambda: np.zeros(len(_LEVELS)))
    highest: float = 0.0
    n: int = 0
    path: FloatArray = field(default_factory=lambda: np.empty(0), repr=False)

    @property
    def log_e_value(self) -> float:
        """Log of the capital E now; exp of it is an e-value at any stopping time."""
        return _log_mean(self.log_capital)

    def update(
        self,
        confidence: ArrayLike,
        correct: ArrayLike,
        clusters: ArrayLike | None = None,
        missing: Literal["raise", "drop"] = "raise",
    ) -> CalibrationMonitor:
        """Return the monitor after more rows, in the order in which they came.

        One update with all the rows equals many updates with a few.

        Parameters
        ----------
        confidence : array_like of float in [0, 1], shape (n,)
        correct : array_like of bool, shape (n,)
        clusters : array_like, shape (n,), optional
            Labels; rows of one cluster may depend on each other. They must follow each other,
            and come in one update.
        missing : {"raise", "drop"}

        Raises
        ------
        ValueError
            If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``, or
            if a cluster's rows don't follow each other.
        """
        rows = checked(confidence, correct, None, clusters, missing, binary=True)
        p, right, d = rows.confidence, rows.correct.astype(bool), rows.residual
        unit = _in_turn(rows)
        ends = np.flatnonzero(np.diff(unit, append=-1))
        counts, residuals, paths = [], [], []
        for level, m in enumerate(_LEVELS):
            cell, _ = bin_index(p, "equal-width", m)
            # Sorted by bin, order kept inside: what a row may know is a running sum.
            order = np.argsort(cell, kind="stable")
            start = np.searchsorted(cell[order], np.arange(m))[cell[order]]
            # ... up to the rows of the bin that came with earlier clusters.
            new = np.diff(unit[order], prepend=-1) != 0
            before = np.maximum.accumulate(np.where(new, np.arange(len(p)), start))
            seen = before - start + self.count[level][cell[order]]
            running = np.concatenate([[0.0], np.cumsum(d[order])])
            past = running[before] - running[start] + self.residual[level][cell[order]]
            shift = np.empty(len(p))
            shift[order] = past / (seen + _CAUTION)
            gain = _log_gain(p, right, p + shift)
            if clusters is not None:
                gain = _log_means(gain, ends)
            paths.append(self.log_capital[level] + np.cumsum(gain))
            counts.append(self.count[level] + np.bincount(cell, minlength=m))
            residuals.append(self.residual[level] + np.bincount(cell, d, m))
        capital = np.array(paths)
        path = _log_mean_columns(capital)
        return CalibrationMonitor(
            tuple(counts),
            tuple(residuals),
            capital[:, -1] if len(p) else self.log_capital,
            max(self.highest, float(path.max(initial=0.0))),
            self.n + rows.n_units,
            path,
        )

    def test(self) -> TestResult:
        """Return the anytime-valid test: p = 1 / (largest E so far); the statistic is log E."""
        return TestResult(
            self.log_e_value,
            math.exp(-self.highest),
            -self.highest,
            "two-sided",
            self.n,
            "safe Hosmer-Lemeshow",
            "given all rows (clusters) before, each outcome is right with the probability claimed",
        )


def safe_hosmer_lemeshow(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> TestResult:
    """Test calibration with an e-value; valid whenever one stops. See `CalibrationMonitor`.

    The order of the rows matters: it's the order in which the bets are made, so it must be that
    of arrival, or one chosen without looking at the outcomes.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, shape (n,)
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster, which must follow each other, may depend on each other.
    missing : {"raise", "drop"}

    Returns
    -------
    TestResult
        The statistic is log E after the last row.

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> test = safe_hosmer_lemeshow([0.9] * 40, [True, False] * 20)
    >>> test.p_value < 0.001
    True
    """
    return CalibrationMonitor().update(confidence, correct, clusters, missing).test()


def _in_turn(rows: Outcomes) -> IntArray:
    """Number of each row's cluster (row) in the order of arrival."""
    if rows.clusters is None:
        return np.arange(len(rows))
    unit = np.cumsum(np.diff(rows.clusters, prepend=-1) != 0) - 1
    if len(unit) and unit[-1] + 1 != rows.n_units:
        raise ValueError("clusters must be in order: the rows of one must follow each other")
    return unit


def _log_means(log_values: FloatArray, ends: IntArray) -> FloatArray:
    """Log of the mean of exp over each run, given the last place of each."""
    starts = np.append(0, ends[:-1] + 1)
    if not len(ends):
        return log_values
    return np.asarray(np.logaddexp.reduceat(log_values, starts) - np.log(ends - starts + 1))


def _log_gain(p: FloatArray, right: NDArray[np.bool_], q: FloatArray) -> FloatArray:
    """Log of what the bet returns; infinite where a certain confidence came false."""
    q = np.clip(q, p / 2, (1 + p) / 2)
    sure = (p == 0) | (p == 1)
    claimed = np.where(right, p, 1 - p)
    proposed = np.where(right, q, 1 - q)
    out = np.log(np.where(sure, 1.0, proposed) / np.where(sure, 1.0, claimed))
    out[sure & (claimed == 0)] = np.inf
    return np.asarray(out)


def _log_mean(values: FloatArray) -> float:
    top = float(values.max())
    if top == math.inf:
        return top
    return top + math.log(float(np.exp(values - top).mean()))


def _log_mean_columns(values: FloatArray) -> FloatArray:
    """Log of the mean of exp over the rows of each column."""
    top = values.max(axis=0, initial=-np.inf)
    finite = np.where(np.isfinite(top), top, 0.0)
    mean = np.exp(np.minimum(values - finite, 700.0)).mean(axis=0)
    return np.where(np.isfinite(top), finite + np.log(mean), top)
