"""A curve over k with a band that holds for all k together, over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import label_codes, numbers
from statllm.estimators.comparison import mean_estimate
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
_DRAWS = 100_000  # of the maximum of correlated t's: its 95 % point has an error below .5 %


@dataclass(frozen=True, eq=False)
class Curve:
    """Means over tasks, and a band.

    Attributes
    ----------
    x : ndarray, shape (n_x,)
        k, or a budget in tokens.
    estimates : sequence of Estimate
        The point, with its own interval, at each x.
    low, high : ndarray of float64, shape (n_x,)
        The simultaneous band.
    level : float
    critical : float
        Standard errors between the curve and the band; a single interval's is smaller.
    n_dropped : int
        Tasks that were left out because they have fewer samples than the largest k.
    name : str
    """

    x: NDArray[np.generic]
    estimates: Sequence[Estimate]
    low: FloatArray
    high: FloatArray
    level: float
    critical: float
    n_dropped: int
    name: str

    @property
    def value(self) -> FloatArray:
        """The means, shape (n_x,)."""
        return np.array([estimate.value for estimate in self.estimates])

    def to_frame(self) -> pd.DataFrame:
        """Return one row per x: value, se, its own interval, and the band."""
        import pandas as pd

        own = [estimate.interval(self.level) for estimate in self.estimates]
        return pd.DataFrame(
            {
                "x": self.x,
                "value": self.value,
                "se": [estimate.se for estimate in self.estimates],
                "low": [interval.low for interval in own],
                "high": [interval.high for interval in own],
                "band_low": self.low,
                "band_high": self.high,
                "n": [estimate.n for estimate in self.estimates],
            }
        )


def curve(
    values: ArrayLike,
    x: ArrayLike | Sequence[float],
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    name: str = "pass@k",
    rng: np.random.Generator | int | None = 0,
) -> Curve:
    """Average a figure per task and x over tasks, with a simultaneous band.

    The band is value ± c se, c being the `level` quantile of the largest |t| of a multivariate t
    with the correlations of the values over tasks (Montiel Olea and Plagborg-Møller 2019, sup-t)
    and the degrees of freedom of the single intervals. It holds for the whole curve at once, and is
    narrower than Bonferroni's since neighbouring k are strongly correlated.

    Parameters
    ----------
    values : array_like of float, shape (n_tasks, n_x)
        For example what `pass_at_k` returns. A task with a NaN is left out at every x, so that all
        points are over the same tasks; it is counted.
    x : array_like, shape (n_x,)
    clusters : array_like, shape (n_tasks,), optional
        Tasks that belong together (one repository, one author).
    level : float
    name : str
    rng : Generator or int

    Returns
    -------
    Curve

    Raises
    ------
    ValueError
        If shapes don't fit, or fewer than two tasks (clusters) are complete.

    Examples
    --------
    >>> from statllm.estimators.passk import pass_at_k
    >>> ks = [1, 2, 4]
    >>> found = curve(pass_at_k([1, 0, 4, 2, 3, 0], 4, ks), ks)
    >>> found.value.round(4), bool(found.critical > 2.57)  # 2.57: one t with 5 degrees of freedom
    (array([0.4167, 0.5556, 0.6667]), True)
    """
    table = numbers(values, "values")
    places = np.asarray(x)
    if table.ndim != 2 or not places.size or places.shape != table.shape[1:]:
        raise ValueError(
            f"values must have one column for each of the {places.size} points of x, "
            f"not the shape {table.shape}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    complete = ~np.isnan(table).any(axis=1)
    groups = None
    if clusters is not None:
        groups = label_codes(clusters, "clusters", len(table))[complete]
    kept = table[complete]
    independent = len(kept) if groups is None else len(np.unique(groups))
    if independent < 2:
        where = "" if groups is None else f", in {independent} clusters"
        raise ValueError(
            f"{len(kept)} of {len(table)} tasks are complete{where}; the error needs two "
            "independent ones"
        )
    estimates = [
        mean_estimate(column, groups, f"{name}, {place}", "share of tasks")
        for column, place in zip(kept.T, places.tolist(), strict=True)
    ]
    se = np.array([estimate.se for estimate in estimates])
    value = np.array([estimate.value for estimate in estimates])
    critical = _largest_t(kept, groups, estimates[0].df, level, np.random.default_rng(rng))
    low, high = value - critical * se, value + critical * se
    if np.all((kept >= 0) & (kept <= 1)):  # shares: nothing outside is possible
        low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    return Curve(places, estimates, low, high, level, critical, int(np.sum(~complete)), name)


def _largest_t(
    table: FloatArray,
    groups: NDArray[np.generic] | None,
    df: float,
    level: float,
    rng: np.random.Generator,
) -> float:
    """Quantile of max |t_j| with the correlations of the columns' means."""
    residuals = table - table.mean(axis=0)
    if groups is not None:
        _, number = np.unique(groups, return_inverse=True)
        sums = np.zeros((int(number.max()) + 1, table.shape[1]))
        np.add.at(sums, number, residuals)
        residuals = sums
    spread = np.sqrt(np.sum(residuals**2, axis=0))
    varying = spread > 0
    if not varying.any():
        return 0.0
    scaled = residuals[:, varying] / spread[varying]
    _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
    used = singular > 1e-10 * singular[0]
    half = singular[used, None] * directions[used]
    largest = np.empty(_DRAWS)
    step = 10_000
    for first in range(0, _DRAWS, step):
        normal = rng.standard_normal((step, half.shape[0])) @ half
        largest[first : first + step] = np.abs(normal).max(axis=1)
    largest /= np.sqrt(rng.chisquare(df, _DRAWS) / df)
    return float(np.quantile(largest, level))
