"""Power to show that two models are equally good, within a margin."""

from __future__ import annotations

import math

from statllm.estimators.power.means import _nct_cdf


def non_inferiority_power(
    difference: float, margin: float, sd: float, n: float, alpha: float = 0.05
) -> float:
    """Probability to show that the second model is worse by less than `margin`.

    One-sided t test of a mean difference above -margin, exact for normal differences.

    Parameters
    ----------
    difference : float
        True mean difference, 0 for equal models.
    margin : float
        Positive.
    sd : float
        Of the differences of single units.
    n : float
        Independent units.
    alpha : float

    Examples
    --------
    >>> round(non_inferiority_power(0.0, 0.02, 0.4, 2500), 3)
    0.804
    """
    _check(difference, margin, sd, n, alpha)
    from scipy import special

    shift = (difference + margin) / sd * math.sqrt(n)
    return 1 - _nct_cdf(float(special.stdtrit(n - 1, 1 - alpha)), n - 1, shift)


def equivalence_power(
    difference: float, margin: float, sd: float, n: float, alpha: float = 0.05
) -> float:
    """Probability that both one-sided tests (TOST) place the difference inside ±margin.

    With m the mean's noise in standard errors and s the observed over the true sd, both reject
    where |difference + m se| < margin - t s se: an integral over the chi law of s of the normal
    probability (Phillips 1990), by quadrature.

    Parameters
    ----------
    difference, margin, sd, n, alpha
        As for `non_inferiority_power`; the interval that is compared with the margin has level
        1 - 2 alpha.

    Examples
    --------
    >>> round(equivalence_power(0.0, 0.02, 0.4, 2500), 3)
    0.607
    """
    _check(difference, margin, sd, n, alpha)
    import numpy as np
    from scipy import special

    df = n - 1
    se = sd / math.sqrt(n)
    critical = float(special.stdtrit(df, 1 - alpha))
    # Quantiles of s at the nodes of a rule over probabilities: no bounds to choose.
    nodes, weights = np.polynomial.legendre.leggauss(400)
    probability = (nodes + 1) / 2
    spread = np.sqrt(special.chdtri(df, 1 - probability) / df)
    room = margin / se - critical * spread
    inside = special.ndtr(room - difference / se) - special.ndtr(-room - difference / se)
    return float(weights / 2 @ np.where(room > 0, inside, 0.0))


def _check(difference: float, margin: float, sd: float, n: float, alpha: float) -> None:
    if not math.isfinite(difference):
        raise ValueError(f"the difference must be finite, not {difference}")
    if not 0 < margin < math.inf:
        raise ValueError(f"the margin must be positive and finite, not {margin}")
    if not 0 < sd < math.inf:
        raise ValueError(f"the standard deviation must be positive and finite, not {sd}")
    if not 1 < n < math.inf:
        raise ValueError(f"n must be above 1 and finite, not {n}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 1/2, not {alpha}")
