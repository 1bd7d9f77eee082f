"""A judge's win rate, corrected by few human labels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.ppi._combine import Tuning
from statllm.estimators.ppi.mean import ppi_mean
from statllm.estimators.ppi.results import PredictionPowered
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]


def corrected_win_rate(
    judge_unlabelled: ArrayLike,
    judge_labelled: ArrayLike,
    human_labelled: ArrayLike,
    *,
    tuning: Tuning | float = "plug-in",
    clusters: ArrayLike | None = None,
    unlabelled_clusters: ArrayLike | None = None,
    name: str = "win rate by human preference",
) -> PredictionPowered:
    """Share of pairs that humans would give to a model, from a judge and some human labels.

    `ppi_mean` of outcomes 1 (win), 0 (loss) and 1/2 (tie), with bounds 0 and 1: the judge may be
    biased in any way. With one more way than `rogan_gladen`: it may be so in different ways for
    different pairs, as long as the labelled ones are a random sample.

    Parameters
    ----------
    judge_unlabelled : array_like of float, shape (N,)
        The judge's outcomes of pairs without a human label.
    judge_labelled, human_labelled : array_like of float, shape (n,)
        Both on the labelled pairs.
    tuning, clusters, unlabelled_clusters, name
        As for `ppi_mean`.

    Returns
    -------
    PredictionPowered
        Its `classical` is the win rate of the human labels alone.

    Raises
    ------
    ValueError
        As for `ppi_mean`.

    Examples
    --------
    >>> judge = [1] * 12 + [0] * 8
    >>> human = [1] * 9 + [0] * 11
    >>> found = corrected_win_rate([1, 1, 0, 1, 0] * 200, judge, human)
    >>> f"{found.estimate.value:.3f} {found.estimate.interval():.3f}"
    '0.450 [0.283, 0.638]'
    """
    return ppi_mean(
        human_labelled,
        judge_labelled,
        judge_unlabelled,
        tuning=tuning,
        bounds=(0.0, 1.0),
        clusters=clusters,
        unlabelled_clusters=unlabelled_clusters,
        name=name,
        unit="share",
    )


def rogan_gladen(
    positive: int,
    n: int,
    true_positive: int,
    n_positive: int,
    true_negative: int,
    n_negative: int,
    name: str = "true rate",
) -> Estimate:
    """Rate behind a judge's rate, given how often it's right (Rogan and Gladen 1978).

    (p + Sp - 1) / (Se + Sp - 1) with the judge's rate p among n pairs, its sensitivity Se among
    pairs that humans call wins, and its specificity Sp among the others. The interval is Lang and
    Reiczigel's (2014, eqs. 12 to 16), which lets all three be estimated: p with z^2/2 successes
    and as many failures added, Se and Sp with one of each, and a shift for the skewness.

    It holds if Se and Sp are those of the n pairs, which a win rate that differs between the two
    samples doesn't hurt; `corrected_win_rate` needs the labelled pairs to be a random sample.

    Parameters
    ----------
    positive, n : int
        Pairs that the judge calls wins, of how many (without the labelled ones).
    true_positive, n_positive : int
        Wins by the judge among wins by humans.
    true_negative, n_negative : int
        Losses by the judge among losses by humans.
    name : str

    Returns
    -------
    Estimate
        Cut to [0, 1], as is its interval; se by the delta method. n is the number of labelled
        pairs. NaN, with the interval [0, 1], where the judge is no better than chance (Se + Sp
        <= 1).

    Raises
    ------
    ValueError
        Unless 0 <= count <= total, and totals are at least 1.

    Examples
    --------
    >>> found = rogan_gladen(600, 1000, 45, 50, 40, 50)
    >>> f"{found.value:.4f} {found.interval():.4f}"
    '0.5714 [0.4633, 0.6864]'
    """
    for count, total, what in (
        (positive, n, "positive"),
        (true_positive, n_positive, "true_positive"),
        (true_negative, n_negative, "true_negative"),
    ):
        if not 0 <= count <= total or total < 1:
            raise ValueError(f"{what} must lie between 0 and its total, not {count} of {total}")
    p, se, sp = positive / n, true_positive / n_positive, true_negative / n_negative
    youden = se + sp - 1
    value = (p + sp - 1) / youden if youden > 0 else math.nan
    error = math.nan
    if youden > 0:
        error = math.sqrt(_variance(p, n, se, n_positive, sp, n_negative, value)) / youden

    def interval_of(level: float) -> Interval:
        from scipy import special

        z2 = float(special.ndtri(0.5 + level / 2)) ** 2
        p1 = (positive + z2 / 2) / (n + z2)
        se1, sp1 = (true_positive + 1) / (n_positive + 2), (true_negative + 1) / (n_negative + 2)
        slope = se1 + sp1 - 1
        if slope <= 0:
            return Interval(0.0, 1.0, level, "none: the judge is no better than chance")
        centre = (p1 + sp1 - 1) / slope
        shift = 2 * z2 * (
            centre * se1 * (1 - se1) / (n_positive + 2)
            - (1 - centre) * sp1 * (1 - sp1) / (n_negative + 2)
        )  # fmt: skip
        spread = _variance(p1, n + z2, se1, n_positive + 2, sp1, n_negative + 2, centre)
        half = math.sqrt(z2 * spread) / slope
        low, high = centre + shift - half, centre + shift + half
        return Interval(min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0), level, "Lang-Reiczigel")

    cut = value if math.isnan(value) else min(max(value, 0.0), 1.0)
    return Estimate(cut, error, n_positive + n_negative, "Rogan-Gladen", name, "share", interval_of)


def _variance(
    p: float, n: float, se: float, n_se: float, sp: float, n_sp: float, rate: float
) -> float:
    """Variance of the numerator's part of the delta method, times (Se + Sp - 1)^2."""
    return p * (1 - p) / n + rate**2 * se * (1 - se) / n_se + (1 - rate) ** 2 * sp * (1 - sp) / n_sp
