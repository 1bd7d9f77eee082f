"""Estimates whose error is that of a t distribution, and the tests that such an error gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from statllm.estimators.comparison._tails import log_t_tail, result, two_sided
from statllm.estimators.proportions import clopper_pearson
from statllm.results import Estimate, Interval, TestResult

Alternative = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class TEstimate(Estimate):
    """An estimate of which (value - truth) / se is nearly t-distributed.

    Attributes
    ----------
    df : float
        Degrees of freedom; infinite for the normal approximation.

    Examples
    --------
    >>> gain = t_estimate(0.02, 0.01, 24, 25, "mean")
    >>> f"{gain.interval():.4f} {gain.with_normal_error().interval():.4f}"
    '[-0.0006, 0.0406] [0.0004, 0.0396]'
    """

    df: float = math.nan

    def with_normal_error(self) -> TEstimate:
        """Return the same with the interval of the central limit theorem, value ± z se."""
        return replace(
            self,
            df=math.inf,
            interval_of=lambda level: _interval(self.value, self.se, math.inf, level),
        )

    def as_share(self, trials: int) -> TEstimate:
        """Return the same mean of values in [0, 1] with an interval that stays there.

        The t interval is cut at 0 and 1, beyond which no truth lies: it covers as often as before.
        Where nothing varies, all of `trials` values being 0, say, there is no error to multiply
        by, and the interval is Clopper and Pearson's (1934) of `trials` independent values.

        Parameters
        ----------
        trials : int
            Independent values, such as the problems.

        Raises
        ------
        ValueError
            If the mean lies outside [0, 1].

        Examples
        --------
        >>> f"{t_estimate(0.96, 0.02, 4, 5, 'mean').as_share(100).interval():.3f}"
        '[0.904, 1.000]'
        >>> f"{t_estimate(1.0, 0.0, 4, 5, 'mean').as_share(100).interval():.3f}"
        '[0.964, 1.000]'
        """
        if not (math.isnan(self.value) or 0 <= self.value <= 1):
            raise ValueError(f"a share lies between 0 and 1, not at {self.value:g}")
        return replace(self, interval_of=lambda level: self._share_interval(trials, level))

    def _share_interval(self, trials: int, level: float) -> Interval:
        if self.se == 0:
            low, high = clopper_pearson(self.value * trials, trials, level)
            return Interval(float(low), float(high), level, "clopper-pearson")
        inner = self.interval(level)
        low, high = np.clip([inner.low, inner.high], 0, 1)
        return replace(inner, low=float(low), high=float(high))


def t_estimate(
    value: float, se: float, df: float, n: int, method: str, name: str = "", unit: str = ""
) -> TEstimate:
    """Return an estimate with the interval value ± t se."""
    return TEstimate(
        value, se, n, method, name, unit, lambda level: _interval(value, se, df, level), df
    )


def t_test(
    estimate: TEstimate, null: float = 0.0, alternative: Alternative = "two-sided"
) -> TestResult:
    """Test whether the true value is `null`: t = (value - null) / se.

    Whatever the estimate accounts for (pairs, clusters, groups, judges), the test does too.

    Parameters
    ----------
    estimate : TEstimate
        From `mean_estimate`, `paired_difference`, `unpaired_difference`, `macro_mean`, ...
    null : float
    alternative : {"two-sided", "greater", "less"}
        ``"greater"``: the true value is above `null`.

    Returns
    -------
    TestResult
        NaN where there is no error; p = 1 where it is 0 and the value is `null`.

    Examples
    --------
    >>> test = t_test(t_estimate(0.02, 0.01, 24, 25, "mean"))
    >>> test.statistic, round(test.p_value, 4)
    (2.0, 0.0569)
    """
    gap = estimate.value - null
    # Without spread a value that is `null` says nothing, and any other one is certain.
    t = gap / estimate.se if estimate.se else (math.copysign(math.inf, gap) if gap else 0.0)
    log_p = two_sided(log_t_tail(t, estimate.df), log_t_tail(-t, estimate.df), alternative)
    return result(
        t, log_p, alternative, estimate.n, f"t test, {estimate.method}",
        "units are independent; their mean is nearly normal",
    )  # fmt: skip


def non_inferiority(estimate: TEstimate, margin: float) -> TestResult:
    """Test that the true value is above -`margin`: B isn't worse than A by as much as that.

    One-sided t test of value <= -margin; with alpha it agrees with the 1 - 2 alpha interval.

    Parameters
    ----------
    estimate : TEstimate
        A difference, better being larger.
    margin : float
        Above 0, in the unit of the estimate.

    Examples
    --------
    >>> round(non_inferiority(t_estimate(0.0, 0.01, 24, 25, "mean"), 0.02).p_value, 4)
    0.0285
    """
    test = t_test(estimate, -_positive(margin), "greater")
    return replace(test, method=f"non-inferiority by {margin:g}, {estimate.method}")


def equivalence(estimate: TEstimate, margin: float) -> TestResult:
    """Test that the true value lies within ±`margin`: two one-sided tests (Schuirmann 1987).

    The larger of the two p-values; it's below alpha exactly where the 1 - 2 alpha interval lies
    within the margin.

    Parameters
    ----------
    estimate : TEstimate
    margin : float
        Above 0, in the unit of the estimate.

    Returns
    -------
    TestResult
        The statistic is the t of the side that is closer.

    Examples
    --------
    >>> round(equivalence(t_estimate(0.005, 0.01, 24, 25, "mean"), 0.02).p_value, 4)
    0.0733
    """
    low = t_test(estimate, -_positive(margin), "greater")
    high = t_test(estimate, margin, "less")
    worse = low if not low.log_p_value < high.log_p_value else high
    return replace(
        worse, alternative="two-sided", method=f"equivalence within {margin:g}, {estimate.method}"
    )


def satterthwaite(variances: Sequence[float], dfs: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variances (Satterthwaite 1946).

    Examples
    --------
    >>> satterthwaite([1.0, 1.0], [10, 10])
    20.0
    """
    # A part without variance has no degrees of freedom to lose; its own may be undefined.
    spread = sum(v**2 / df for v, df in zip(variances, dfs, strict=True) if v > 0 or v != v)
    if spread == 0:  # all are 0, or all known
        return min(dfs)
    return sum(variances) ** 2 / spread


def _interval(value: float, se: float, df: float, level: float) -> Interval:
    from scipy import special

    half = float(special.stdtrit(df, 0.5 + level / 2)) * se
    how = "normal" if math.isinf(df) else f"t({df:.1f})".replace(".0)", ")")
    return Interval(value - half, value + half, level, how)


def _positive(margin: float) -> float:
    if not margin > 0:
        raise ValueError(f"margin must be above 0, not {margin}")
    return margin
