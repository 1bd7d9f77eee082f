"""What sequential methods return: one entry per look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from statllm.estimators._arrays import between
from statllm.results import Interval, TestResult

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ConfidenceSequence:
    """Intervals after 1, 2, ..., n units that hold all together with probability `level`.

    Attributes
    ----------
    value, low, high : ndarray of float64, shape (n,)
        The running mean and the interval after each unit. Intervals are intersected with all
        earlier ones where the method allows it.
    level : float
    method : str
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray
    level: float
    method: str

    def interval(self) -> Interval:
        """Return the interval after the last unit.

        Raises
        ------
        ValueError
            If there is no unit.
        """
        if len(self.low) == 0:
            raise ValueError("there is no unit")
        return Interval(float(self.low[-1]), float(self.high[-1]), self.level, self.method)

    def first_excluding(self, value: float) -> int:
        """Return after how many units `value` is first outside, 0 if it never is.

        Raises
        ------
        ValueError
            If `value` is NaN.
        """
        if math.isnan(value):
            raise ValueError("value must be a number, not nan")
        outside = np.flatnonzero((value < self.low) | (value > self.high))
        return int(outside[0]) + 1 if len(outside) else 0

    def to_frame(self) -> pd.DataFrame:
        """Return one row per look: n, value, low, high."""
        import pandas as pd

        n = np.arange(1, len(self.value) + 1)
        return pd.DataFrame({"n": n, "value": self.value, "low": self.low, "high": self.high})


@dataclass(frozen=True, eq=False)
class Evidence:
    """An e-process: a fortune won by betting against the null hypothesis.

    Attributes
    ----------
    log_e : ndarray of float64, shape (n,)
        Natural logarithm of the fortune after each unit; it starts at 1.
    alternative : str
    method, assumptions : str
    """

    log_e: FloatArray
    alternative: str
    method: str
    assumptions: str

    @property
    def log_p(self) -> FloatArray:
        """Log p-value after each unit, 1 / (largest fortune so far), valid at any time (Ville)."""
        if len(self.log_e) == 0:
            return self.log_e
        return np.asarray(np.minimum(-np.maximum.accumulate(self.log_e), 0.0))

    def first_crossing(self, alpha: float) -> int:
        """Return after how many units p is first at most `alpha`, 0 if it never is.

        Raises
        ------
        ValueError
            If `alpha` isn't in (0, 1).
        """
        between(alpha, "alpha")
        reached = np.flatnonzero(self.log_e >= -math.log(alpha))
        return int(reached[0]) + 1 if len(reached) else 0

    def test(self) -> TestResult:
        """Return the test after the last unit; the statistic is the log of the fortune now."""
        last = float(self.log_e[-1]) if len(self.log_e) else 0.0
        log_p = float(self.log_p[-1]) if len(self.log_e) else 0.0
        return TestResult(
            last,
            math.exp(log_p),
            log_p,
            self.alternative,
            len(self.log_e),
            self.method,
            self.assumptions,
        )


def check_level(level: float) -> None:
    """Raise unless 0 < level < 1."""
    between(level, "level")


def running_mean(values: FloatArray) -> FloatArray:
    """Means of the first 1, 2, ... values."""
    return np.cumsum(values) / np.arange(1, len(values) + 1)
