"""Does a higher score mean a better answer? Rank correlations and reversed pairs."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.selective._jackknife import Jackknife, logit_limits
from statllm.results import Estimate, Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Missing = Literal["raise", "drop"]


def kendall(
    score: ArrayLike,
    quality: ArrayLike,
    missing: Missing = "raise",
    clusters: ArrayLike | None = None,
) -> Estimate:
    """Kendall's tau-b of score and quality, with an interval.

    (C - D) / √((N - T_x)(N - T_y)): C concordant and D discordant of the N pairs, T tied ones
    (Kendall 1945). C and D are counted answer by answer in O(n log² n); the error is the
    jackknife's, and the interval is t on Fisher's scale, artanh τ.

    Parameters
    ----------
    score, quality : array_like of float, shape (n,)
        Larger is more confident, and better. Quality may be graded, or right and wrong.
    missing : {"raise", "drop"}
        What to do about rows in which one is NaN.
    clusters : array_like, shape (n,), optional
        Rows of one cluster may depend on each other.

    Returns
    -------
    Estimate
        NaN where one of them never varies.

    Raises
    ------
    ValueError
        If lengths differ, or a value is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> tau = kendall([0.9, 0.7, 0.8, 0.2, 0.1, 0.4], [1.0, 0.9, 0.4, 0.3, 0.2, 0.0])
    >>> round(tau.value, 4), f"{tau.interval():.2f}"
    (0.6, '[-0.33, 0.94]')
    """
    x, y, groups = checked_pairs(score, quality, missing, clusters)
    n = len(x)
    concordant, discordant = pair_counts(x, y)
    ties = [_tied(each) for each in (x, y)]
    total = n * (n - 1) / 2

    def tau(excess: FloatArray, pairs: float, tied: list[FloatArray]) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(excess / np.sqrt((pairs - tied[0]) * (pairs - tied[1])))

    own = (concordant - discordant).astype(np.float64)
    sums = [np.asarray(each.sum() / 2) for each in ties]
    value = tau(np.asarray(own.sum() / 2), total, sums)
    without = tau(
        own.sum() / 2 - own,
        (n - 1) * (n - 2) / 2,
        [s - t for s, t in zip(sums, ties, strict=True)],
    )
    return _correlation(float(value), without, groups, "Kendall's tau-b")


def spearman(
    score: ArrayLike,
    quality: ArrayLike,
    missing: Missing = "raise",
    clusters: ArrayLike | None = None,
) -> Estimate:
    """Spearman's rank correlation of score and quality, with an interval.

    Pearson's correlation of midranks (Spearman 1904). The error is the jackknife's: ranks are
    formed anew without each answer, in O(n log² n) for all of them; the interval is t on
    Fisher's scale.

    Parameters
    ----------
    score, quality, missing, clusters : as for `kendall`

    Returns
    -------
    Estimate
        NaN where one of them never varies.

    Examples
    --------
    >>> rho = spearman([0.9, 0.7, 0.8, 0.2, 0.1, 0.4], [1.0, 0.9, 0.4, 0.3, 0.2, 0.0])
    >>> round(rho.value, 4), f"{rho.interval():.2f}"
    (0.7714, '[-0.32, 0.98]')
    """
    x, y, groups = checked_pairs(score, quality, missing, clusters)
    n = len(x)
    if n < 2:
        return _correlation(math.nan, np.full(n, math.nan), groups, "Spearman's rho")
    r, s = _midranks(x), _midranks(y)
    # Centred ranks without answer i: those of better answers fall by one, of tied ones by half.
    above = [np.asarray(each) for each in (n - r, n - s)]  # Σ_j of the falls, ties one half
    # Σ_j fall_x(j) s_j over the others, and the like
    falls_x, falls_y = _sum_above(x, s), _sum_above(y, r)
    square_x, square_y = _sum_above(x, r), _sum_above(y, s)
    both = _joint_falls(x, y)
    quarter = [_tied(each) / 4 for each in (x, y)]
    m = n - 1
    centre = m * ((m + 1) / 2) ** 2
    sums = {
        "xy": (r @ s) - r * s - falls_x - falls_y + both,
        "xx": (r @ r) - r * r - 2 * square_x + above[0] - quarter[0],
        "yy": (s @ s) - s * s - 2 * square_y + above[1] - quarter[1],
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (sums["xx"] - centre) * (sums["yy"] - centre)
        without = (sums["xy"] - centre) / np.sqrt(np.where(spread > 1e-9, spread, np.nan))
    whole = n * ((n + 1) / 2) ** 2
    scale = math.sqrt(max(float((r @ r - whole) * (s @ s - whole)), 0.0))
    value = float((r @ s - whole) / scale) if scale > 0 else math.nan
    return _correlation(value, without, groups, "Spearman's rho")


def reversed_pairs_proportion(
    score: ArrayLike,
    quality: ArrayLike,
    kind: Literal["comparable", "lm_polygraph"] = "comparable",
    missing: Missing = "raise",
    clusters: ArrayLike | None = None,
) -> Estimate:
    """How often a worse answer scores above a better one (RPP), with its error.

    Parameters
    ----------
    score, quality, missing, clusters : as for `kendall`
    kind : {"comparable", "lm_polygraph"}
        ``"comparable"`` (the default): among pairs that differ in quality, the share with the
        order reversed, tied scores one half. 1/2 for a score that knows nothing; with right and
        wrong answers it's 1 - `auroc`. ``"lm_polygraph"``: reversed or tied pairs over all n²
        ordered pairs, so that it depends on how often qualities are tied, and a constant score
        gets twice what a random one gets.

    Returns
    -------
    Estimate
        The error is the jackknife's, the interval t on the logit scale. NaN where all answers
        are equally good.

    Examples
    --------
    >>> share = reversed_pairs_proportion([0.9, 0.7, 0.8, 0.2], [1.0, 0.9, 0.4, 0.3])
    >>> round(share.value, 4)
    0.1667
    """
    if kind not in ("comparable", "lm_polygraph"):
        raise ValueError(f"kind must be comparable or lm_polygraph, not {kind!r}")
    x, y, groups = checked_pairs(score, quality, missing, clusters)
    n = len(x)
    concordant, discordant = pair_counts(x, y)
    comparable = (n - 1) - _tied(y)
    tied = comparable - concordant - discordant
    bad = discordant + tied / (2 if kind == "comparable" else 1)
    total, pairs = bad.sum() / 2, comparable.sum() / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "comparable":
            value, without = total / pairs, (total - bad) / (pairs - comparable)
        else:
            value, without = total / np.float64(n) ** 2, (total - bad) / np.float64(n - 1) ** 2
    jackknife = _jackknifed(float(value), without, groups)

    def interval_of(level: float) -> Interval:
        half = jackknife.half_width(level)
        low, high = float(value) - half, float(value) + half
        how = f"t({jackknife.units - 1})"
        if 0 < value < 1:
            low, high = logit_limits(float(value), half, 1.0)
            how += " on the logit scale"
        return Interval(low, high, level, how)

    name = "reversed pairs"
    method = "reversed pairs, jackknife" + (", n² pairs" if kind == "lm_polygraph" else "")
    return Estimate(float(value), jackknife.se, jackknife.units, method, name, "share", interval_of)


def pair_counts(x: FloatArray, y: FloatArray) -> tuple[IntArray, IntArray]:
    """For each i, how many j are concordant with it, and how many discordant."""
    up, down = _below(x, y), _below(-x, -y)
    return up + down, _below(x, -y) + _below(-x, y)


def _below(x: FloatArray, y: FloatArray) -> IntArray:
    """For each i, #{j: x_j < x_i and y_j < y_i}.

    In the order of x, the rank of y is read bit by bit: among answers whose ranks agree in the
    higher bits, one with the bit set exceeds those before it that haven't. One stable sort per
    bit.
    """
    n = len(x)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    rank = np.unique(y, return_inverse=True)[1].astype(np.int64)
    order = np.lexsort((-rank, x))  # tied in x: the larger y first, so that ties don't count
    code = rank[order]
    out = np.zeros(n, dtype=np.int64)
    for bit in range(int(code.max()).bit_length()):
        place = np.argsort(code >> (bit + 1), kind="stable")
        group = (code >> (bit + 1))[place]
        high = (code[place] >> bit) & 1
        zeros = np.cumsum(1 - high)
        start = np.searchsorted(group, group, side="left")
        before = zeros - np.where(start > 0, zeros[start - 1], 0)
        out[place] += np.where(high == 1, before, 0)
    result = np.empty(n, dtype=np.int64)
    result[order] = out
    return result


def _tied(x: FloatArray) -> FloatArray:
    """For each answer, how many others have the same value."""
    _, inverse, count = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray(count[inverse] - 1, dtype=np.float64)


def _midranks(x: FloatArray) -> FloatArray:
    """Ranks from 1, ties at their mean."""
    _, inverse, count = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[inverse])


def _sum_above(x: FloatArray, weight: FloatArray) -> FloatArray:
    """Σ_j weight_j over other j with x_j > x_i, those tied one half."""
    distinct, inverse = np.unique(x, return_inverse=True)
    total = np.bincount(inverse, weight, len(distinct))
    higher = total.sum() - np.cumsum(total)
    return np.asarray((higher + total / 2)[inverse] - weight / 2)


def _joint_falls(x: FloatArray, y: FloatArray) -> FloatArray:
    """Σ_j of the falls of both ranks: 1 if j is above in both, 1/2 for a tie in one, 1/4 both."""
    n = len(x)
    over = _below(-x, -y)
    higher = [n - _midranks(each) - _tied(each) / 2 for each in (x, y)]  # strictly above
    # Above in x and tied in y: what is above in x less what is there above or below in y.
    tied_y = higher[0] - over - _below(-x, y)
    tied_x = higher[1] - over - _below(x, -y)
    pairs = np.unique(np.stack([x, y]), axis=1, return_inverse=True, return_counts=True)
    same = pairs[2][pairs[1].ravel()] - 1
    return np.asarray(over + (tied_x + tied_y) / 2 + same / 4)


def _jackknifed(value: float, without: FloatArray, groups: ArrayLike | None) -> Jackknife:
    """Jackknife error; undefined where an answer left out leaves nothing to estimate."""
    if len(without) < 3 or not np.isfinite(value) or not np.isfinite(without).all():
        units = len(without) if groups is None else len(np.unique(np.asarray(groups)))
        return Jackknife(math.nan, math.nan, units)
    return Jackknife.of(value, without, groups)


def _correlation(
    value: float, without: FloatArray, groups: ArrayLike | None, name: str
) -> Estimate:
    """A correlation with the interval on Fisher's scale."""
    jackknife = _jackknifed(value, without, groups)

    def interval_of(level: float) -> Interval:
        half = jackknife.half_width(level)
        how = f"t({jackknife.units - 1})"
        if abs(value) >= 1 or not np.isfinite(value):
            return Interval(value - half, value + half, level, how)
        centre, width = math.atanh(value), half / (1 - value**2)
        return Interval(
            math.tanh(centre - width), math.tanh(centre + width), level, f"{how} on Fisher's scale"
        )

    return Estimate(
        value, jackknife.se, jackknife.units, f"{name}, jackknife", name, "", interval_of
    )


def checked_pairs(
    score: ArrayLike, quality: ArrayLike, missing: str, clusters: ArrayLike | None
) -> tuple[FloatArray, FloatArray, NDArray[np.generic] | None]:
    """Scores and qualities without the rows in which one is missing."""
    x, y = np.asarray(score, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"score and quality must be two arrays of one length, not {x.shape} and {y.shape}"
        )
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be raise or drop, not {missing!r}")
    lost = np.isnan(x) | np.isnan(y)
    if lost.any() and missing == "raise":
        raise ValueError(f"{lost.sum()} of {len(x)} rows hold NaN; missing='drop' drops them")
    groups = None if clusters is None else np.asarray(clusters)
    if groups is not None:
        if groups.shape != x.shape:
            raise ValueError(f"{len(groups)} cluster labels for {len(x)} rows")
        groups = groups[~lost]
    return x[~lost], y[~lost], groups
