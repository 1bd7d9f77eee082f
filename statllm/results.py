"""What estimators return: a number with its name, unit and uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes
    ----------
    low, high : float
        The end points, in the unit of the estimate.
    level : float
        Nominal coverage, in (0, 1).
    method : str
        How it was made, for example ``"Wilson"``.
    """

    low: float
    high: float
    level: float
    method: str

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __format__(self, spec: str) -> str:
        spec = spec or ".4g"
        return f"[{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True)
class Estimate:
    """An estimated number.

    Attributes
    ----------
    value : float
        The point estimate; NaN when nothing could be estimated.
    se : float
        Its standard error, in the same unit.
    n : int
        Number of independent sampling units (prompts or clusters) behind it.
    method : str
        The estimator.
    name, unit : str
        What is estimated, and in what unit.
    interval_of : callable, optional
        ``level -> Interval``. Default: the normal interval ``value ± z se``.

    Examples
    --------
    >>> accuracy = Estimate(0.75, 0.05, 75, "mean", name="accuracy", unit="share")
    >>> f"{accuracy.interval(0.95):.3f}"
    '[0.652, 0.848]'
    """

    value: float
    se: float
    n: int
    method: str
    name: str = ""
    unit: str = ""
    interval_of: Callable[[float], Interval] | None = field(default=None, repr=False, compare=False)

    def interval(self, level: float = 0.95) -> Interval:
        """Return the confidence interval at `level`.

        Raises
        ------
        ValueError
            If `level` is not in (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        if self.interval_of is not None:
            return self.interval_of(level)
        from statistics import NormalDist

        z = NormalDist().inv_cdf(0.5 + level / 2)
        return Interval(self.value - z * self.se, self.value + z * self.se, level, "normal")

    def named(self, name: str, unit: str = "") -> Estimate:
        """Return a copy with a name and a unit.

        Examples
        --------
        >>> Estimate(0.5, 0.1, 25, "mean").named("accuracy", "share").unit
        'share'
        """
        return replace(self, name=name, unit=unit or self.unit)

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return the fields and the interval as plain values."""
        interval = self.interval(level)
        return {
            "name": self.name,
            "value": self.value,
            "se": self.se,
            "low": interval.low,
            "high": interval.high,
            "level": level,
            "unit": self.unit,
            "n": self.n,
            "method": f"{self.method}; interval: {interval.method}",
        }

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return a one-row frame; rows of several estimates can be concatenated."""
        import pandas as pd

        return pd.DataFrame([self.to_dict(level)])

    def summary(self, level: float = 0.95) -> str:
        """Return one line of text."""
        interval = self.interval(level)
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{self.name or 'estimate'} = {self.value:.4g}{unit} "
            f"(se {self.se:.2g}, {level:.0%} {interval.method} {interval}, n = {self.n})"
        )


@dataclass(frozen=True)
class TestResult:
    """A hypothesis test.

    Attributes
    ----------
    statistic : float
    p_value : float
    log_p_value : float
        Natural logarithm; stays finite where `p_value` underflows to 0.
    alternative : str
        ``"two-sided"``, ``"greater"`` or ``"less"``.
    n_effective : int
        The units that carry information (discordant pairs in McNemar's test, say).
    method : str
    assumptions : str
        What has to hold for the p-value to be valid.

    Examples
    --------
    >>> test = TestResult(5.0, 0.0625, math.log(0.0625), "two-sided", 5, "sign test", "iid")
    >>> test.summary()
    'sign test: statistic 5, p = 0.0625 (two-sided, n = 5)'
    """

    __test__ = False  # pytest must not collect it

    statistic: float
    p_value: float
    log_p_value: float
    alternative: str
    n_effective: int
    method: str
    assumptions: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    def to_frame(self) -> pd.DataFrame:
        """Return a one-row frame."""
        import pandas as pd

        return pd.DataFrame([self.to_dict()])

    def summary(self) -> str:
        """Return one line of text."""
        return (
            f"{self.method}: statistic {self.statistic:.4g}, p {format_p(self.log_p_value)} "
            f"({self.alternative}, n = {self.n_effective})"
        )


def format_p(log_p: float) -> str:
    """Write a p-value from its logarithm, also where it underflows.

    Examples
    --------
    >>> format_p(math.log(0.0321)), format_p(-2000.0)
    ('= 0.0321', '= 2.6e-869')
    """
    if math.isnan(log_p):
        return "undefined"
    if log_p == -math.inf:
        return "= 0"
    log10 = log_p / math.log(10)
    if log10 > -4:
        return f"= {math.exp(log_p):.3g}"
    exponent = math.floor(log10)
    return f"= {10 ** (log10 - exponent):.1f}e{exponent}"
