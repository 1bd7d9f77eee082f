"""How different texts are by their embeddings, and a selection that covers them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.results import Estimate, Interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Diversity:
    """Diversity of embedded texts.

    Attributes
    ----------
    distance : Estimate
        Mean cosine distance of two different texts, in [0, 2].
    effective_number : float
        Vendi score: exp of the entropy (nats) of the eigenvalues of the cosine kernel over n.
        From 1 (all alike) to min(n, dimension); a sample has a lower one than its population.
    n : int
        Texts with a vector.
    n_missing : int
        Texts without one (a row of NaN), left out.
    """

    distance: Estimate
    effective_number: float
    n: int
    n_missing: int

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return two rows: the mean distance with its interval, the effective number without."""
        import pandas as pd

        number = {
            "name": "effective number",
            "value": self.effective_number,
            "unit": "texts",
            "n": self.n,
            "method": "Vendi score",
        }
        return pd.DataFrame([self.distance.to_dict(level), number])

    def summary(self, level: float = 0.95) -> str:
        """Return one line of text."""
        return (
            f"{self.distance.summary(level)}; effective number {self.effective_number:.4g} "
            f"of {self.n} texts, {self.n_missing} without a vector"
        )


@dataclass(frozen=True, eq=False)
class Centers:
    """Rows picked by k-center, in the order of the picks.

    Attributes
    ----------
    rows : ndarray of int64, shape (k,)
    radius : ndarray of float64, shape (k,)
        Largest cosine distance of a text from its nearest center after each pick.
    nearest : ndarray of int64, shape (n,)
        The row that is each text's nearest center; -1 for a text without a vector.
    distance : ndarray of float64, shape (n,)
        Its cosine distance; NaN for a text without a vector.
    """

    rows: IntArray
    radius: FloatArray
    nearest: IntArray
    distance: FloatArray

    def to_frame(self) -> pd.DataFrame:
        """Return one row per text."""
        import pandas as pd

        picked = np.full(len(self.nearest), -1)
        picked[self.rows] = np.arange(len(self.rows))
        return pd.DataFrame(
            {
                "kept": picked >= 0,
                "pick": picked,
                "nearest": self.nearest,
                "distance": self.distance,
            }
        )


def diversity(vectors: ArrayLike) -> Diversity:
    """Measure how different texts are, given their embeddings.

    The mean distance is the U-statistic over pairs; its standard error is the jackknife's, which
    counts texts, not pairs, as sampling units (Arvesen 1969), and its interval that of t with
    n - 1 degrees of freedom. The effective number is the Vendi score of the cosine kernel
    (Friedman and Dieng 2023, arXiv 2210.02410). Cost: n d and min(n, d)^2 max(n, d).

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        Any length but zero. A row of NaN stands for a text without a vector and is left out.

    Raises
    ------
    InputError
        If fewer than 2 vectors are left, or one is zero or not finite; the row is named.

    Examples
    --------
    >>> found = diversity([[1, 0], [1, 0], [0, 2], [0, 1]])
    >>> round(found.distance.value, 4), round(found.effective_number, 4)  # 4 of 6 pairs differ
    (0.6667, 2.0)
    """
    units, present = _units(vectors)
    n = len(units)
    if n < 2:
        raise InputError(f"diversity needs at least 2 vectors, there are {n}")
    total = units.sum(axis=0)
    pairs = n * (n - 1) / 2
    similarity = (total @ total - n) / 2  # sum over pairs
    without = similarity - (units @ total - 1)  # the same without each text
    value = 1 - similarity / pairs
    se = math.nan
    if n > 2:
        leave_one_out = 1 - without / ((n - 1) * (n - 2) / 2)
        se = math.sqrt((n - 1) / n * np.sum((leave_one_out - leave_one_out.mean()) ** 2))

    def interval(level: float) -> Interval:
        from scipy import special

        half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * se
        return Interval(max(0.0, value - half), min(2.0, value + half), level, "jackknife t")

    distance = Estimate(
        float(value), se, n, "U-statistic", "mean cosine distance", "", interval_of=interval
    )
    return Diversity(distance, _vendi(units), n, int(np.sum(~present)))


def k_center(vectors: ArrayLike, k: int, *, seed: int = 0) -> Centers:
    """Pick `k` texts so that every text is near a picked one.

    Greedy: the first is drawn, each next is the one farthest from those picked (Gonzalez 1985).
    In angle, the farthest text is then at most twice as far from its center as with the best
    `k` centers. Ties are broken by the seed. Cost: n d k.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        As in `diversity`.
    k : int
    seed : int

    Raises
    ------
    InputError
        If `k` is not in 1, ..., the number of vectors, or a vector is zero or not finite.

    Examples
    --------
    >>> picked = k_center([[1, 0], [2, 0], [3, 0], [0, 1], [0, 2], [-1, 0]], 3)
    >>> sorted({(0, 0, 0, 3, 3, 5)[row] for row in picked.rows})  # one of each direction
    [0, 3, 5]
    >>> float(picked.radius[-1])
    0.0
    """
    units, present = _units(vectors)
    n = len(units)
    if not 1 <= k <= n:
        raise InputError(f"k must lie between 1 and {n}, the number of vectors, not {k}")
    order = np.random.default_rng(seed).permutation(n)
    units = units[order]  # so that the first of equals is a random one
    picks = np.zeros(k, dtype=np.int64)
    radius = np.empty(k)
    distance = np.full(n, np.inf)
    nearest = np.zeros(n, dtype=np.int64)
    for i in range(k):
        if i:
            picks[i] = np.argmax(distance)
        new = np.maximum(1 - units @ units[picks[i]], 0)
        closer = new < distance
        distance[closer] = new[closer]
        nearest[closer] = picks[i]
        distance[picks[i]] = -1.0  # never picked again, though a copy of it may be
        nearest[picks[i]] = picks[i]
        radius[i] = max(distance.max(), 0.0)
    rows = np.flatnonzero(present)[order]  # row of each place
    all_nearest = np.full(len(present), -1)
    all_nearest[rows] = rows[nearest]
    all_distance = np.full(len(present), np.nan)
    all_distance[rows] = np.maximum(distance, 0)
    return Centers(rows[picks], radius, all_nearest, all_distance)


def _vendi(units: FloatArray) -> float:
    """exp of the entropy of the kernel's eigenvalues, by the smaller of its two Gram matrices."""
    n, d = units.shape
    gram = units.T @ units if d < n else units @ units.T
    share = np.linalg.eigvalsh(gram) / n
    share = share[share > np.finfo(float).eps]
    return float(np.exp(-np.sum(share * np.log(share))))


def _units(vectors: ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Vectors of length 1, and which rows have one."""
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"vectors must have shape (n, d), not {values.shape}")
    present: BoolArray = ~np.all(np.isnan(values), axis=1, keepdims=True)[:, 0]
    largest = np.abs(values).max(axis=1)
    wrong = present & ~(np.isfinite(largest) & (largest > 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        what = "zero: it has no direction" if largest[row] == 0 else "not finite"
        raise InputError(f"vectors: row {row} is {what}")
    units: FloatArray = values[present] / largest[present, None]  # no overflow in the squares
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return units, present
