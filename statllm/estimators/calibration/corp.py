"""What a score is made of: miscalibration, discrimination and uncertainty (CORP)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.calibration._outcomes import FloatArray, IntArray, Outcomes, checked
from statllm.estimators.calibration.proper_scores import Score, binary_loss
from statllm.estimators.comparison import ratio_estimate
from statllm.results import Estimate, Interval

if TYPE_CHECKING:
    import pandas as pd

_FOLDS = 10


@dataclass(frozen=True)
class ScoreDecomposition:
    """What `corp_decomposition` returns: score = miscalibration - discrimination + uncertainty.

    Attributes
    ----------
    score : Estimate
        Mean score of the confidences.
    miscalibration : Estimate
        MCB: how much the score falls when the confidences are recalibrated; 0 is best.
    discrimination : Estimate
        DSC: how much better recalibrated confidences are than the overall share; more is better.
    uncertainty : Estimate
        UNC: the score of the overall share.
    """

    score: Estimate
    miscalibration: Estimate
    discrimination: Estimate
    uncertainty: Estimate

    @property
    def n(self) -> int:
        """Rows, or clusters."""
        return self.score.n

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row for each part."""
        import pandas as pd

        return pd.DataFrame([part.to_dict(level) for part in vars(self).values()])

    def summary(self, level: float = 0.95) -> str:
        """Return one line for each part."""
        return "\n".join(part.summary(level) for part in vars(self).values())


def corp_decomposition(
    confidence: ArrayLike,
    correct: ArrayLike,
    score: Score = "brier",
    rng: np.random.Generator | int = 0,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    missing: Literal["raise", "drop"] = "raise",
) -> ScoreDecomposition:
    """Split a score by isotonic recalibration (Dimitriadis, Gneiting and Jordan 2021).

    With r the isotonic regression of correct on confidence (pool adjacent violators) and c the
    mean of correct: MCB = S(p) - S(r), DSC = S(c) - S(r), UNC = S(c). No bins to choose, and
    MCB >= 0, DSC >= 0 in every sample, which binned decompositions don't give. Both are biased
    upwards in small samples, since r is fitted to the outcomes that it's scored on.

    A bootstrap copies that bias, and its interval of MCB never reaches 0. The intervals here take
    the upper limit from r and the lower one from r fitted without the row's tenth of the rows
    (clusters): the former is no worse on the sample than the best rising map, the latter no
    better in expectation, so that the truth lies between the two means, at MCB = 0 too. Each
    limit has its own t interval of the mean difference of losses; that r is estimated doesn't
    add to it in first order, r being the minimum. They are conservative: with 50 to 1,000 rows,
    or 40 and 200 clusters of five, intervals of level 90 % held MCB and DSC in 96 to 100 % of
    samples, calibrated or not. UNC is a function of c, and its interval the image of that of c.

    Parameters
    ----------
    confidence : array_like of float in [0, 1], shape (n,)
    correct : array_like of bool, or of float in [0, 1], shape (n,)
    score : {"brier", "log"}
    rng : numpy.random.Generator or int
        Deals rows (clusters) out to the tenths; values don't depend on it, limits hardly.
    weights : array_like of float, shape (n,), optional
        Sampling weights; a weight of two counts as two rows in the values, not in the errors.
    clusters : array_like, shape (n,), optional
        Labels; rows of one cluster may depend on each other.
    missing : {"raise", "drop"}

    Returns
    -------
    ScoreDecomposition
        NaN without rows. The standard errors of MCB and DSC are those of the upper limit: too
        small near 0, where their law isn't normal.

    Raises
    ------
    ValueError
        If shapes differ, a value is out of range, or is NaN and `missing` is ``"raise"``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=1000)
    >>> parts = corp_decomposition(p, rng.uniform(size=1000) < p**2)  # the truth is 1/30
    >>> round(parts.miscalibration.value, 4), f"{parts.miscalibration.interval():.3f}"
    (0.0325, '[0.015, 0.042]')
    """
    if score not in get_args(Score):
        raise ValueError(f"score must be brier or log, not {score!r}")
    rows = checked(confidence, correct, weights, clusters, missing)
    unit = "squared probability" if score == "brier" else "nats"
    label = "Brier" if score == "brier" else "log"
    names = [f"{label} {part}" for part in ("score", "miscalibration", "discrimination")]
    names.append(f"{label} uncertainty")
    if not len(rows):
        return ScoreDecomposition(
            *(Estimate(math.nan, math.nan, 0, "CORP", x, unit) for x in names)
        )
    p, y, w = rows.confidence, rows.outcome, rows.weight
    values, group = np.unique(p, return_inverse=True)
    overall = float(np.average(y, weights=w))
    loss = {
        name: np.where(w > 0, binary_loss(forecast, y, score), 0.0)
        for name, forecast in (
            ("given", p),
            ("constant", np.full(len(p), overall)),
            ("recalibrated", isotonic(values, group, y, w)[group]),
            ("held out", _held_out(rows, values, group, score, np.random.default_rng(rng))),
        )
    }
    return ScoreDecomposition(
        _mean(rows, loss["given"], names[0], unit),
        _bracket(rows, loss, "given", names[1], unit),
        _bracket(rows, loss, "constant", names[2], unit),
        _of_share(rows, loss["constant"], score, names[3], unit),
    )


def isotonic(
    values: FloatArray, group: NDArray[np.intp], outcome: FloatArray, weight: FloatArray
) -> FloatArray:
    """Non-decreasing least-squares fit at each distinct confidence, clipped to [0, 1].

    `group` says which of the rising `values` each row has. Equal confidences get one value, so
    their order doesn't matter; rows without weight don't count.
    """
    from scipy import optimize

    mass = np.bincount(group, weight, len(values))
    mean = np.bincount(group, weight * outcome, len(values))
    used = mass > 0
    fit = optimize.isotonic_regression(mean[used] / mass[used], weights=mass[used]).x
    # Where nothing weighs, the value of the next lower confidence (the first: the lowest).
    place = np.maximum(np.cumsum(used) - 1, 0)
    return np.asarray(np.clip(fit, 0, 1)[place])


def _held_out(
    rows: Outcomes,
    values: FloatArray,
    group: NDArray[np.intp],
    score: Score,
    rng: np.random.Generator,
) -> FloatArray:
    """Recalibrated confidence of each row, fitted without its fold."""
    y, w, fold = rows.outcome, rows.weight, _folds(rows, rng)
    out = np.full(len(y), np.nan)
    for k in range(int(fold.max(initial=0)) + 1):
        inside = fold == k
        kept = np.where(inside, 0.0, w)
        if not kept.sum() > 0:
            continue
        fit = isotonic(values, group, y, kept)[group[inside]]
        if score == "log":
            # A fitted 0 or 1 may cost infinitely much; one row's share of the mean stands by.
            rest = 1 / (1 + np.count_nonzero(kept))
            fit = (1 - rest) * fit + rest * float(np.average(y, weights=kept))
        out[inside] = fit
    return out


def _folds(rows: Outcomes, rng: np.random.Generator) -> IntArray:
    """Fold of each row; at random, but the same for the same rows in another order."""
    if rows.clusters is None:
        number = np.empty(len(rows), dtype=np.int64)
        number[np.lexsort((rows.weight, rows.outcome, rows.confidence))] = np.arange(len(rows))
    else:
        number = rows.clusters
    n = rows.n_units
    fold: IntArray = (rng.permutation(n) % max(min(_FOLDS, n), 1))[number]
    return fold


def _mean(rows: Outcomes, loss: FloatArray, name: str, unit: str) -> Estimate:
    if not np.isfinite(loss).all():
        return _infinite(float(np.average(loss, weights=rows.weight)), rows, name, unit)
    return ratio_estimate(rows.weight * loss, rows.weight, name, unit, rows.clusters, "mean")


def _infinite(value: float, rows: Outcomes, name: str, unit: str) -> Estimate:
    def interval_of(level: float) -> Interval:
        return Interval(math.nan, math.inf, level, "infinite loss")

    return Estimate(value, math.nan, rows.n_units, "mean", name, unit, interval_of)


def _bracket(
    rows: Outcomes, loss: dict[str, FloatArray], before: str, name: str, unit: str
) -> Estimate:
    """What recalibration gains over the loss `before`, between held-out and fitted rows."""
    fitted = _mean(rows, loss[before] - loss["recalibrated"], name, unit)
    if not math.isfinite(fitted.value):
        return fitted
    held_out = _mean(rows, loss[before] - loss["held out"], name, unit)

    def interval_of(level: float) -> Interval:
        low, high = held_out.interval(level).low, fitted.interval(level).high
        low = low if math.isnan(low) else max(min(low, fitted.value), 0.0)
        return Interval(low, high, level, "held-out to fitted t")

    return Estimate(
        max(fitted.value, 0.0),
        fitted.se,
        fitted.n,
        "isotonic recalibration",
        name,
        unit,
        interval_of,
    )


def _of_share(rows: Outcomes, loss: FloatArray, score: Score, name: str, unit: str) -> Estimate:
    """Uncertainty: a function of the mean outcome that rises up to 1/2 and falls after it."""
    share = ratio_estimate(rows.weight * rows.outcome, rows.weight, clusters=rows.clusters)
    value = _mean(rows, loss, name, unit)

    def uncertainty(c: float) -> float:
        """Mean loss of forecasting c where that is the share."""
        c = min(max(c, 0.0), 1.0)
        return float(binary_loss(np.full(2, c), np.array([0.0, 1.0]), score) @ [1 - c, c])

    def interval_of(level: float) -> Interval:
        of = share.interval(level)
        ends = [uncertainty(of.low), uncertainty(of.high)]
        top = uncertainty(0.5) if of.low < 0.5 < of.high else max(ends)
        return Interval(min(ends), top, level, "image of t")

    return Estimate(value.value, value.se, value.n, "mean outcome", name, unit, interval_of)
