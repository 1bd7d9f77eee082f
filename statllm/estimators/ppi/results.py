"""What prediction-powered inference returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

from statllm.results import Estimate, Interval


@dataclass(frozen=True)
class PredictionPowered:
    """An estimate from few labels and many predictions, beside that from the labels alone.

    Attributes
    ----------
    estimate : Estimate
        With predictions.
    classical : Estimate
        From the labels only, with an interval of the same kind.
    tuning : float
        lambda, the trust in predictions: 0 is the classical estimate, 1 plain PPI.

    Examples
    --------
    >>> both = PredictionPowered(
    ...     Estimate(0.6, 0.05, 100, "PPI++"), Estimate(0.58, 0.1, 100, "mean"), 0.9
    ... )
    >>> round(both.effective_labels)
    400
    """

    estimate: Estimate
    classical: Estimate
    tuning: float

    @property
    def effective_labels(self) -> float:
        """Labels (clusters of them) that would give the classical estimate this error."""
        if self.estimate.se == 0:
            return math.inf if self.classical.se > 0 else math.nan
        return self.estimate.n * (self.classical.se / self.estimate.se) ** 2

    def summary(self, level: float = 0.95) -> str:
        """Return the estimate, lambda and what the predictions were worth, as one line."""
        return (
            f"{self.estimate.summary(level)}; lambda {self.tuning:.3g}, worth "
            f"{self.effective_labels:.0f} labels"
        )


def t_estimate(
    value: float,
    se: float,
    df: float,
    n: int,
    method: str,
    name: str,
    unit: str = "",
    centre: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Estimate:
    """Return an estimate with a t interval about `centre` (default: the value), cut to `limits`."""
    middle = value if centre is None else centre
    how = f"t({df:.1f})".replace(".0)", ")")
    if centre is not None:
        how = f"{how}, two corner labels added"

    def interval_of(level: float) -> Interval:
        from scipy import special

        half = float(special.stdtrit(df, 0.5 + level / 2)) * se
        low, high = middle - half, middle + half
        if limits is not None:
            low, high = max(low, limits[0]), min(high, limits[1])
        return Interval(low, high, level, how)

    return Estimate(value, se, n, method, name, unit, interval_of)
