"""Power of the t test of a mean or a paired difference."""

from __future__ import annotations

import math
from typing import Literal

from statllm.estimators._search import fewest

Alternative = Literal["two-sided", "greater"]


def mean_power(
    effect: float,
    sd: float,
    n: float,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> float:
    """Probability that the t test of n independent differences finds a mean of `effect`.

    Exact for normal differences: P(|T| > t) for the noncentral t with n - 1 degrees of freedom and
    noncentrality effect / (sd / sqrt(n)).

    Parameters
    ----------
    effect : float
        True mean difference.
    sd : float
        Standard deviation of the differences of single units (prompts, or clusters).
    n : float
        Units. With clusters of unequal size, their effective number: `design_effect`.
    alpha : float
    alternative : {"two-sided", "greater"}

    Raises
    ------
    ValueError
        Unless the effect is finite, sd > 0, n > 1 and 0 < alpha < 1.

    Examples
    --------
    >>> round(mean_power(0.5, 1.0, 34), 4)
    0.8078
    """
    _check(sd, alpha, alternative)
    if not math.isfinite(effect):
        raise ValueError(f"effect must be finite, not {effect}")
    if not 1 < n < math.inf:
        raise ValueError(f"n must be above 1 and finite, not {n}")
    from scipy import special

    df, shift = n - 1, effect / sd * math.sqrt(n)
    if alternative == "greater":
        critical = float(special.stdtrit(df, 1 - alpha))
        return 1 - _nct_cdf(critical, df, shift)
    critical = float(special.stdtrit(df, 1 - alpha / 2))
    return 1 - _nct_cdf(critical, df, shift) + _nct_cdf(-critical, df, shift)


def sample_size(
    effect: float,
    sd: float,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> int:
    """Return the fewest independent units with which the t test has this power.

    Parameters
    ----------
    effect, sd, alpha, alternative
        As for `mean_power`.
    power : float

    Raises
    ------
    ValueError
        If the effect is 0 (or not above 0 for ``"greater"``), or over 10^9 units are needed.

    Examples
    --------
    >>> sample_size(0.5, 1.0)
    34
    """
    _check(sd, alpha, alternative)
    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, not {power}")
    if effect == 0 or (alternative == "greater" and effect < 0):
        raise ValueError(f"an effect of {effect} can't be found with a {alternative} test")
    return fewest(lambda n: mean_power(effect, sd, n, alpha, alternative) >= power, least=2)


def minimum_detectable_effect(
    se: float,
    n: float,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> float:
    """Return the true difference that a study with this standard error finds with this power.

    Near (z_{1 - alpha / 2} + z_power) se; here with t and n - 1 degrees of freedom.

    Parameters
    ----------
    se : float
        Standard error of the estimate, for example that of `paired_difference`.
    n : float
        Units behind it: degrees of freedom plus one.
    power, alpha, alternative
        As for `sample_size`.

    Raises
    ------
    ValueError
        Unless se > 0 and n > 1.

    Examples
    --------
    >>> round(minimum_detectable_effect(0.01, 1000), 4)
    0.028
    """
    _check(se, alpha, alternative)
    if not alpha < power < 1:
        raise ValueError(f"power must lie between alpha and 1, not {power}")
    from scipy import optimize

    def shortfall(effect: float) -> float:
        return mean_power(effect * se, se * math.sqrt(n), n, alpha, alternative) - power

    high = 1.0
    while shortfall(high) < 0:
        high *= 2
    return se * float(optimize.brentq(shortfall, 0.0, high, xtol=1e-10))


def design_effect(cluster_sizes: float, icc: float) -> float:
    """Return by how much clusters inflate the variance of a mean: 1 + (m - 1) icc (Kish 1965).

    Parameters
    ----------
    cluster_sizes : float
        Mean size m; for unequal sizes sum m_c^2 / sum m_c.
    icc : float
        Correlation of two units of one cluster.

    Examples
    --------
    >>> design_effect(10, 0.05)
    1.45
    """
    if not 1 <= cluster_sizes < math.inf:
        raise ValueError(f"clusters have at least one unit, not {cluster_sizes}")
    if not -1 <= icc <= 1:
        raise ValueError(f"icc must lie between -1 and 1, not {icc}")
    return 1 + (cluster_sizes - 1) * icc


def _nct_cdf(t: float, df: float, shift: float) -> float:
    """Noncentral t's distribution function; normal where it can't be told from it."""
    from scipy import special

    if df > 1e7:
        return float(special.ndtr(t - shift))
    value = float(special.nctdtr(df, shift, t))
    if math.isnan(value):
        return float(special.ndtr(t - shift))
    return min(max(value, 0.0), 1.0)


def _check(sd: float, alpha: float, alternative: str) -> None:
    if not (sd > 0 and math.isfinite(sd)):
        raise ValueError(f"the standard deviation must be positive, not {sd}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    if alternative not in ("two-sided", "greater"):
        raise ValueError(f"alternative must be two-sided or greater, not {alternative!r}")
