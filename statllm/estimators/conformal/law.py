"""The split conformal threshold, and how its coverage varies with the calibration set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.results import Interval

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CoverageLaw:
    """How the coverage of a split conformal set varies with the calibration set.

    Given the calibration set, the coverage of continuous scores has a Beta(n + 1 - l, l)
    distribution, l = floor((n + 1) alpha) (Vovk 2012); with tied scores it's at least as large.
    With l = 0 the set is everything and coverage is 1.

    Attributes
    ----------
    n : int
        Calibration items.
    alpha : float
        Nominal miscoverage.

    Examples
    --------
    >>> law = CoverageLaw(100, 0.1)
    >>> round(law.mean, 4), f"{law.interval(0.9):.4f}", law.trivial
    (0.901, '[0.8482, 0.9447]', False)
    >>> CoverageLaw(8, 0.1).trivial
    True
    """

    n: int
    alpha: float

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.n < 0:
            raise ValueError(f"n must not be negative, it is {self.n}")

    @property
    def n_above(self) -> int:
        """l = floor((n + 1) alpha): how many of n + 1 items may lie outside."""
        return int(np.floor((self.n + 1) * self.alpha + 1e-9))  # 100 * 0.29 is 28.999...

    @property
    def rank(self) -> int:
        """ceil((n + 1)(1 - alpha)): place of the threshold among the sorted scores."""
        return self.n + 1 - self.n_above

    @property
    def trivial(self) -> bool:
        """Whether n is too small, n + 1 < 1 / alpha, for any set but the whole one."""
        return self.n_above == 0

    @property
    def mean(self) -> float:
        """Coverage on average over calibration sets, between 1 - alpha and 1 - alpha + 1/(n+1)."""
        return self.rank / (self.n + 1)

    def interval(self, level: float = 0.9) -> Interval:
        """Return the central interval that holds the coverage of `level` of calibration sets.

        Raises
        ------
        ValueError
            If `level` is not in (0, 1).
        """
        from scipy import special

        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        if self.trivial:
            return Interval(1.0, 1.0, level, "whole set")
        tail = (1 - level) / 2
        low, high = special.betaincinv(self.rank, self.n_above, [tail, 1 - tail])
        return Interval(float(low), float(high), level, f"Beta({self.rank}, {self.n_above})")

    @property
    def note(self) -> str:
        """What to tell the reader when the set is trivial; empty otherwise."""
        if not self.trivial:
            return ""
        return (
            f"{self.n} calibration items are too few for alpha = {self.alpha:g}: at least "
            f"{int(np.ceil(1 / self.alpha - 1e-9)) - 1} are needed, so nothing is left out"
        )


def conformal_quantile(scores: ArrayLike, alpha: float) -> float:
    """Return the split conformal threshold: the ceil((n + 1)(1 - alpha))-th smallest score.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        Nonconformity of the right answers; larger is stranger. Infinite values are allowed.
    alpha : float
        Miscoverage, in (0, 1).

    Returns
    -------
    float
        Infinity when n + 1 < 1 / alpha, never an error.

    Raises
    ------
    ValueError
        If a score is NaN or `alpha` not in (0, 1).

    Examples
    --------
    >>> conformal_quantile([0.3, 0.1, 0.2, 0.4], 0.25), conformal_quantile([0.3, 0.1], 0.1)
    (0.4, inf)
    """
    values = checked_scores(scores, "scores")
    law = CoverageLaw(len(values), alpha)
    if law.trivial:
        return float("inf")
    return float(np.partition(values, law.rank - 1)[law.rank - 1])


def check_alpha(alpha: float, name: str = "alpha") -> None:
    """Raise ValueError unless 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {alpha}")


def checked_scores(scores: ArrayLike, name: str) -> FloatArray:
    """Return a flat array of floats without NaN."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {len(values)} {name} are NaN")
    return values
