"""How many members an attack finds while it accuses few others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import between, numbers
from statllm.estimators.proportions import proportion
from statllm.results import Estimate

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MembershipRate:
    """An attack at one threshold.

    Attributes
    ----------
    threshold : float
        Scores at or above it are called members.
    tpr, fpr : Estimate
        Shares of members and of non-members that are called, with Clopper-Pearson intervals. The
        threshold is made from non-members alone, so the interval of `tpr` is exact for it; that of
        `fpr` says how far the true rate may be from what was asked for.
    """

    threshold: float
    tpr: Estimate
    fpr: Estimate


def tpr_at_fpr(members: ArrayLike, non_members: ArrayLike, fpr: float = 0.01) -> MembershipRate:
    """True-positive rate of a membership score at a false-positive rate (Carlini et al. 2022).

    The threshold is the lowest at which the share of non-members called is at most `fpr`, tied
    scores going together.

    Parameters
    ----------
    members, non_members : array_like of float
        Scores, larger for what is more likely to have been trained on.
    fpr : float

    Returns
    -------
    MembershipRate

    Raises
    ------
    ValueError
        If a score is NaN, or fpr needs more non-members than there are: below 1 / n nothing but a
        threshold above all of them is left.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = tpr_at_fpr(rng.normal(1, 1, 500), rng.normal(0, 1, 1000), 0.01)
    >>> f"{found.tpr.value:.3f} {found.tpr.interval():.3f} at {found.fpr.value:.3f}"
    '0.106 [0.080, 0.136] at 0.010'
    """
    between(fpr, "fpr")
    inside, outside = _scores(members, "members"), _scores(non_members, "non_members")
    allowed = int(np.floor(fpr * len(outside) + 1e-9))
    if allowed < 1:
        raise ValueError(
            f"a false-positive rate of {fpr:g} needs {1 / fpr:.0f} non-members or more"
        )
    falling = np.sort(outside)[::-1]
    # The next score must stay out, and with it all that are tied with it.
    barrier = falling[allowed] if allowed < len(falling) else -np.inf
    above = falling[falling > barrier]
    threshold = float(above[-1]) if len(above) else float(np.nextafter(barrier, np.inf))
    called, accused = int(np.sum(inside >= threshold)), int(np.sum(outside >= threshold))
    return MembershipRate(
        threshold,
        proportion(called, len(inside), "clopper-pearson", f"TPR at FPR {fpr:g}"),
        proportion(accused, len(outside), "clopper-pearson", "FPR"),
    )


def _scores(x: ArrayLike, name: str) -> FloatArray:
    values = numbers(x, name)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"{name} must be one-dimensional and not empty")
    if np.isnan(values).any():
        raise ValueError(f"{name} is NaN at place {int(np.flatnonzero(np.isnan(values))[0])}")
    return values
