"""What the sums of residuals would be if the confidences were right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from statllm.estimators.calibration._outcomes import FloatArray, IntArray, Outcomes

Law = Literal["auto", "asymptotic", "resampled"]
INDEPENDENT = "outcomes are independent given the confidences"
CLUSTERED = "clusters are independent, and many"
_BLOCK = 2**22  # numbers held at once while drawing


def check_law(law: str) -> None:
    """Raise unless it's one of `Law`."""
    if law not in get_args(Law):
        raise ValueError(f"law must be auto, asymptotic or resampled, not {law!r}")


@dataclass(frozen=True)
class NullDraws:
    """Sums over the rows of each cell; row 0 is observed, the others are drawn.

    Attributes
    ----------
    residual : ndarray, shape (1 + n_resamples, n_cells)
        Of w (correct - confidence).
    own : ndarray, shape (1 + n_resamples, n_cells), or None
        Of its squares. With clusters, None: signs don't change what a cluster adds to itself.
    weight : ndarray, shape (n_cells,)
        Of w.
    """

    residual: FloatArray
    own: FloatArray | None
    weight: FloatArray


def draw(
    rows: Outcomes, values: FloatArray, cell: IntArray, n_resamples: int, rng: np.random.Generator
) -> NullDraws:
    """Draw under calibration, given the confidences.

    Independent rows: outcomes are drawn from the confidences (`values` in each cell), so the
    observation and the draws are exchangeable and a rank among them is an exact p-value.

    Clusters: how outcomes of one cluster hang together isn't known, so each cluster's residuals
    are kept together and get one random sign (wild bootstrap, Liu 1988; of clusters, Cameron,
    Gelbach and Miller 2008). The draws have the mean, 0, and the covariance of the observation.
    """
    n_cells = len(values)
    mass = np.bincount(cell, rows.weights, n_cells).astype(np.float64)
    if rows.clusters is not None:
        return NullDraws(_signed(rows, cell, n_cells, n_resamples, rng), None, mass)
    if rows.weights is None:
        count = np.bincount(cell, minlength=n_cells)
        hits = np.bincount(cell, rows.outcome, n_cells)
        drawn = _right(count, values, n_resamples, rng)
        residual, own = _sums(np.vstack([hits, drawn]), count, values)
        return NullDraws(residual, own, mass)
    return _weighted(rows, values, cell, mass, n_resamples, rng)


def _right(
    count: IntArray, probability: FloatArray, n_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Numbers of right answers, shape (n_draws, n_cells)."""
    shape = (n_draws, len(count))
    if count.max(initial=0) <= 1:  # two to three times faster
        return ((rng.random(shape) < probability) & (count > 0)).astype(np.float64)
    return rng.binomial(count, probability, shape).astype(np.float64)


def _sums(
    outcomes: FloatArray, count: IntArray, values: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Sums of d and of d^2, d = 1 - v for a right answer and -v for a wrong one."""
    own = outcomes * (1 - 2 * values) + count * values**2
    return outcomes - count * values, own


def _weighted(
    rows: Outcomes,
    values: FloatArray,
    cell: IntArray,
    mass: FloatArray,
    n_resamples: int,
    rng: np.random.Generator,
) -> NullDraws:
    """Draw the outcomes of each weight in each cell."""
    distinct, code = np.unique(rows.weight, return_inverse=True)
    key, group = np.unique(cell * len(distinct) + code, return_inverse=True)
    of_cell, weight = key // len(distinct), distinct[key % len(distinct)]
    count, hits = np.bincount(group), np.bincount(group, rows.outcome)
    starts = np.flatnonzero(np.append(True, of_cell[1:] != of_cell[:-1]))  # no cell is empty
    residual = np.empty((n_resamples + 1, len(values)))
    own = np.empty_like(residual)
    step = max(_BLOCK // len(key), 1)
    for start in range(0, n_resamples + 1, step):
        size = min(step, n_resamples + 1 - start)
        outcomes = _right(count, values[of_cell], size, rng)
        if start == 0:
            outcomes[0] = hits
        d, squares = _sums(outcomes, count, values[of_cell])
        residual[start : start + size] = np.add.reduceat(d * weight, starts, axis=1)
        own[start : start + size] = np.add.reduceat(squares * weight**2, starts, axis=1)
    return NullDraws(residual, own, mass)


def _signed(
    rows: Outcomes, cell: IntArray, n_cells: int, n_resamples: int, rng: np.random.Generator
) -> FloatArray:
    from scipy import sparse

    n_units, out = rows.n_units, np.empty((n_resamples + 1, n_cells))
    place = (cell, np.asarray(rows.clusters))
    sums = sparse.csr_array((rows.weight * rows.residual, place), shape=(n_cells, n_units))
    step = max(_BLOCK // n_units, 1)
    for start in range(0, n_resamples + 1, step):
        size = min(step, n_resamples + 1 - start)
        signs = random_signs(n_units, size, rng)
        if start == 0:
            signs[:, 0] = 1.0
        out[start : start + size] = np.asarray(sums @ signs).T
    return out


def random_signs(n_units: int, n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Plus or minus one with equal probability, shape (n_units, n_draws)."""
    return np.asarray(rng.integers(0, 2, (n_units, n_draws)) * 2.0 - 1.0, dtype=np.float64)


def upper_share(statistics: FloatArray) -> FloatArray:
    """For each entry of each column the share that is at least as large, itself included.

    That of row 0 is the p-value of a Monte Carlo test, at least 1 / (1 + n_resamples).
    """
    table = statistics.reshape(len(statistics), -1)
    share = np.empty(table.shape)
    for column, each in enumerate(table.T):
        # Equal counts in another order of summation may differ in the last digits.
        size = float(np.abs(each).max(initial=0.0)) or 1.0
        rounded = np.round(each / size, 12)
        ordered = np.sort(rounded)
        share[:, column] = len(each) - np.searchsorted(ordered, rounded, side="left")
    return np.asarray(share.reshape(statistics.shape) / len(statistics))
