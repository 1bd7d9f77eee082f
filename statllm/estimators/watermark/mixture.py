"""How much of a text is watermarked? The share of tokens, with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.proportions import clopper_pearson
from statllm.estimators.watermark.deduplicate import first_occurrences
from statllm.estimators.watermark.marks import FloatArray, Marks
from statllm.estimators.watermark.ratios import log_ratios
from statllm.results import Estimate, Interval

#: Strengths among which the likelihood chooses where none is given.
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

_TOP = 1 - 1e-12


def watermarked_share(
    marks: Marks,
    strength: ArrayLike | None = None,
    *,
    deduplicate: Literal["document", "corpus", "done"] = "corpus",
) -> Estimate:
    """Estimate the share of tokens that are watermarked, others being chance (edits, quotations).

    `mixture_share` of `log_ratios`. Pivots tell the share, green tokens only its product with the
    strength (Li, Wen, He, Wu, Long and Su 2025). A token at which the model had no choice leaves
    the same mark as chance: without `strength` per mark it counts as not watermarked.

    Parameters
    ----------
    marks : Marks
        Of one document or several, which are pooled.
    strength : array_like, optional
        Delta of watermarked tokens, one or one per mark of `marks`, from the model's largest
        probability. Default: the likelihood chooses one of `STRENGTHS`; not of green tokens.
    deduplicate : {"document", "corpus", "done"}
        Where a (seed, target) pair counts once; ``"done"``: it was done before.

    Returns
    -------
    Estimate
        A share of the marks that count, with a profile-likelihood interval.

    Raises
    ------
    ValueError
        If a strength is out of range, or none is given for green tokens.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> n, rng = np.arange(2000), np.random.default_rng(0)
    >>> y = rng.uniform(size=2000) ** np.where(n < 600, 0.5, 1.0)    # the first 30 %
    >>> marks = Marks(y, n.astype(np.uint64), n, n, np.array([0, 2000]), Null("uniform"))
    >>> found = watermarked_share(marks, 0.5)
    >>> f"{found.value:.3f} {found.interval(0.95):.3f}"
    '0.275 [0.202, 0.347]'
    """
    kept, known = marks, None if strength is None else np.asarray(strength, np.float64)
    if deduplicate != "done":
        mask = first_occurrences(marks, deduplicate)
        kept = marks.kept(mask)
        if known is not None and known.ndim:
            if known.shape != mask.shape:
                raise ValueError(f"strength must have shape {mask.shape}, not {known.shape}")
            known = known[mask]
    if known is not None:
        return mixture_share(log_ratios(kept, known))
    if marks.null.kind == "green":
        raise ValueError("green tokens don't tell the share from the strength; strength is needed")
    return mixture_share(np.array([log_ratios(kept, delta) for delta in STRENGTHS]))


def mixture_share(log_ratio: ArrayLike) -> Estimate:
    """Estimate e of the mixture (1 - e) chance + e watermarked by maximum likelihood.

    l(e) = sum_i log(1 - e + e r_i), concave in e; with several candidate laws, the largest over
    them. The interval holds the e with 2 (l(best) - l(e)) up to the chi-squared quantile, one
    degree of freedom; at e = 0 or 1 it covers more often than it says.

    Parameters
    ----------
    log_ratio : array_like, shape (n,) or (k, n)
        log r_i, log-density ratio of each independent mark, watermarked against chance (such as
        `ChosenLaw.log_density` of the pivots); k candidates for the watermarked law.

    Raises
    ------
    ValueError
        If a ratio isn't a number, or the shape is another.

    Examples
    --------
    >>> found = mixture_share(np.log([1.6, 1.6, 0.8, 0.8]))
    >>> round(found.value, 4), found.n
    (1.0, 4)
    """
    ratios = np.atleast_2d(np.asarray(log_ratio, np.float64))
    if ratios.ndim != 2 or np.any(np.isnan(ratios)):
        raise ValueError("log_ratio must have shape (n,) or (k, n) and hold numbers")
    n = ratios.shape[1]
    if n == 0:
        return _named(math.nan, math.nan, 0, _everything)
    gains = np.expm1(np.minimum(ratios, 600.0))  # r - 1
    best = [_best(row) for row in gains]
    heights = [_height(row, share) for row, share in zip(gains, best, strict=True)]
    top = int(np.argmax(heights))

    def interval(level: float) -> Interval:
        from scipy import stats

        floor = heights[top] - float(stats.chi2.ppf(level, 1)) / 2
        ends = [
            _where_above(row, share, floor)
            for row, share, height in zip(gains, best, heights, strict=True)
            if height >= floor
        ]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        return Interval(low, high, level, "profile likelihood")

    slopes = gains[top] / (1 + min(best[top], _TOP) * gains[top])
    information = float(slopes @ slopes)
    se = 1 / math.sqrt(information) if information > 0 else math.inf
    return _named(best[top], se, n, interval)


def share_from_count(hits: int, n: int, chance: float, watermarked: float) -> Estimate:
    """Estimate the share of watermarked tokens from a count, with an exact interval.

    (hits / n - chance) / (watermarked - chance), cut to [0, 1], and Clopper and Pearson's limits of
    hits / n taken the same way. Of pivots, count those above a threshold d fixed before:
    `chance` is 1 - d and `watermarked` 1 - F(d), `ChosenLaw.cdf`; of green tokens, `watermarked` is
    `green_share`.

    Parameters
    ----------
    hits, n : int
    chance, watermarked : float
        Probability of a hit by chance, and under the watermark; the latter is the larger one.

    Raises
    ------
    ValueError
        Unless 0 <= hits <= n and 0 < chance < watermarked <= 1.

    Examples
    --------
    >>> f"{share_from_count(320, 1000, 0.25, 0.5).interval(0.95):.3f}"
    '[0.165, 0.400]'
    """
    if not 0 < chance < watermarked <= 1:
        raise ValueError(
            f"0 < chance < watermarked <= 1 must hold, not {chance:g}, {watermarked:g}"
        )
    if not 0 <= hits <= n:
        raise ValueError(f"0 <= hits <= n must hold, not {hits}, {n}")
    if n == 0:
        return _named(math.nan, math.nan, 0, _everything)

    def share(rate: float) -> float:
        return min(max((rate - chance) / (watermarked - chance), 0.0), 1.0)

    def interval(level: float) -> Interval:
        low, high = clopper_pearson([hits], [n], level)
        return Interval(share(float(low[0])), share(float(high[0])), level, "Clopper-Pearson")

    rate = hits / n
    se = math.sqrt(rate * (1 - rate) / n) / (watermarked - chance)
    return _named(share(rate), se, n, interval)


def _height(gain: FloatArray, share: float) -> float:
    """The log-likelihood."""
    return float(np.log1p(min(share, _TOP) * gain).sum())


def _best(gain: FloatArray) -> float:
    from scipy import optimize

    def slope(share: float) -> float:
        return float(np.sum(gain / (1 + share * gain)))

    if slope(0.0) <= 0:
        return 0.0
    if slope(_TOP) >= 0:
        return 1.0
    return float(optimize.brentq(slope, 0.0, _TOP, xtol=1e-10))


def _where_above(gain: FloatArray, best: float, floor: float) -> tuple[float, float]:
    """Where a concave log-likelihood that is above `floor` at `best` stays above it."""
    from scipy import optimize

    def lack(share: float) -> float:
        return _height(gain, share) - floor

    low = 0.0 if lack(0.0) >= 0 else float(optimize.brentq(lack, 0.0, best, xtol=1e-8))
    high = 1.0 if lack(1.0) >= 0 else float(optimize.brentq(lack, best, 1.0, xtol=1e-8))
    return low, high


def _everything(level: float) -> Interval:
    return Interval(0.0, 1.0, level, "nothing to score")


def _named(value: float, se: float, n: int, interval: Callable[[float], Interval]) -> Estimate:
    return Estimate(value, se, n, "mixture", "watermarked tokens", "share", interval)
