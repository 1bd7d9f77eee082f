"""The mean of a table whose rows and columns are both drawn: training seeds and problems, say."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.comparison.t_tests import TEstimate, t_estimate


def crossed_mean(scores: ArrayLike, name: str = "mean", unit: str = "") -> TEstimate:
    """Mean over rows and columns, each a random sample, with one score in every cell.

    In ``x_rc = mu + a_r + b_c + e_rc`` with independent random effects, the variance of the grand
    mean is ``(MS_rows + MS_columns - MS_rest) / (R C)``, where the mean squares are those of the
    two-way table without repeats (Searle, Casella and McCulloch 1992, *Variance Components*, 4.4).
    It is never taken below ``MS_rows / (R C)`` or ``MS_columns / (R C)``, beneath which it falls
    only by chance. Degrees of freedom are Satterthwaite's (1946), and at least those of the smaller
    of R and C: few rows cost much where rows differ, and little where they don't, unlike in
    `two_way_mean`, which needs no model and no full table but takes the smaller number of clusters
    for its degrees of freedom.

    Parameters
    ----------
    scores : array_like of float, shape (R, C)
        For example each training seed's score on each problem, or the difference of two arms.
    name, unit : str

    Returns
    -------
    TEstimate
        n is the smaller of R and C.

    Raises
    ------
    ValueError
        If it isn't a table of at least 2 x 2 finite numbers.

    Examples
    --------
    Three seeds on four problems.

    >>> found = crossed_mean([[1, 0, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0]])
    >>> round(found.value, 4), round(found.se, 4), round(found.df, 2)
    (0.5833, 0.2097, 2.71)
    """
    x = np.asarray(scores, np.float64)
    if x.ndim != 2 or min(x.shape) < 2:
        raise ValueError(f"scores have shape {x.shape}: at least 2 rows and 2 columns are needed")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"score {x[row, column]} in row {row}, column {column} isn't finite")
    n_rows, n_columns = x.shape
    mean = float(x.mean())
    by_row, by_column = x.mean(axis=1), x.mean(axis=0)
    rest = x - by_row[:, None] - by_column + mean
    cells = n_rows * n_columns
    # Each mean square over the number of cells: the variance of the mean that it speaks for.
    rows = float(by_row.var(ddof=1)) / n_rows
    columns = float(by_column.var(ddof=1)) / n_columns
    noise = float((rest**2).sum()) / ((n_rows - 1) * (n_columns - 1)) / cells
    variance = max(rows + columns - noise, rows, columns)
    spread = (
        rows**2 / (n_rows - 1)
        + columns**2 / (n_columns - 1)
        + noise**2 / ((n_rows - 1) * (n_columns - 1))
    )
    df = variance**2 / spread if spread > 0 else math.inf
    df = max(df, min(x.shape) - 1.0)  # the difference of mean squares can lead below
    how = "mean of a crossed table (rows and columns random, Satterthwaite)"
    return t_estimate(mean, math.sqrt(variance), df, min(x.shape), how, name, unit)
