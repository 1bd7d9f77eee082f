"""Calibrators with one to three parameters: temperature, Platt and beta.

All minimise the log loss of the labels. Fit on one part of the data and judge on another, or see
`cross_fit`. Nonparametric ones are in `nonparametric` and `venn_abers`; `multiclass` has those with
many parameters.
"""

from __future__ import annotations

import numpy as np

from statllm.estimators.calibrators._base import (
    Calibrator,
    FloatArray,
    IntArray,
    Scale,
    clipped,
    logit_scores,
    smoothed_targets,
)
from statllm.estimators.calibrators._classes import ClassCalibrator, highest_zero
from statllm.estimators.calibrators._logistic import fit_logistic, separated


class Temperature(ClassCalibrator):
    """Divide logits by one temperature: softmax(z / T), or sigmoid(z / T) (Guo et al. 2017).

    The most probable class stays the most probable.

    Parameters
    ----------
    scale : {"probability", "logit"}
        What scores are. A matrix has one column for each class, of probabilities that sum to 1
        or of logits (log-probabilities are logits too); a vector holds P(right) or its log-odds.
    clip : float
        Probabilities are moved into [clip, 1 - clip] before the logarithm. Where many are
        exactly 0 or 1, as those that models put into words are, the fit depends on it, and a
        calibrator that only ranks the scores (`Isotonic`, `VennAbers`) is the better choice.

    Attributes
    ----------
    temperature_ : float
        Above 1 where the scores were overconfident. Infinite, which makes all classes equal,
        where the scores are no better than that.
    separated_ : bool
        Every label had the highest score, so that the loss falls forever as T goes to 0. Platt's
        smoothed targets, (N_y + 1) / (N_y + C) for the class y seen and 1 / (N_y + C) for
        others, took the place of the labels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(size=4000)
    >>> y = rng.uniform(size=4000) < truth
    >>> overconfident = 1 / (1 + ((1 - truth) / truth) ** 2)  # log-odds doubled
    >>> model = Temperature().fit(overconfident, y)
    >>> round(model.temperature_, 2)
    2.08
    """

    temperature_: float
    separated_: bool

    def __init__(self, scale: Scale = "probability", clip: float = 1e-12) -> None:
        self.scale = scale
        self.clip = clip

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        from scipy import optimize, special

        logits = highest_zero(self._logits(scores))
        rows = np.arange(len(labels))
        self.separated_ = bool((logits[rows, labels] >= 0).all())  # 0 is the row's highest
        if self.separated_ and np.ptp(logits) > 0:
            targets = smoothed_targets(labels, logits.shape[1], weights)
            seen = float(weights @ (targets * logits).sum(axis=1))
        else:
            seen = float(weights @ logits[rows, labels])

        def slope(inverse: float) -> float:
            """Derivative of the loss in 1 / T, which rises with it."""
            p = special.softmax(inverse * logits, axis=1)
            return float(np.einsum("i,ij,ij->", weights, p, logits)) - seen

        high = 1.0
        if slope(0.0) >= 0:
            self.temperature_ = float("inf")
            return
        while slope(high) < 0:
            high *= 2
        inverse = optimize.brentq(slope, 0.0, high, xtol=1e-14, rtol=1e-12)
        self.temperature_ = 1 / inverse if inverse > 0 else float("inf")

    def _mapped(self, logits: FloatArray) -> FloatArray:
        return highest_zero(logits) / self.temperature_


class Platt(Calibrator):
    """Logistic regression of the label on the logit of the score, without penalty.

    P(right) = sigmoid(slope * logit(score) + intercept). Platt (1999) used the score itself,
    which is ``scale="logit"`` here; for a probability the logit is right, because a calibrated
    score then has slope 1 and intercept 0, and a penalty would pull it away from there.

    Parameters
    ----------
    scale : {"probability", "logit"}
        ``"probability"``: scores in [0, 1], whose logit is taken. ``"logit"``: any real number,
        used as it is (a log-probability or a reward, say).
    clip : float
        As in `Temperature`.

    Attributes
    ----------
    slope_, intercept_ : float
        The slope is 0 where all scores are equal, and negative where lower scores are better.
    separated_ : bool
        A threshold separates right from wrong (or there is one kind only), so that the
        likelihood has no maximum. Platt's smoothed targets, (N_1 + 1) / (N_1 + 2) for right and
        1 / (N_0 + 2) for wrong answers, took the place of the labels; they have one.

    Examples
    --------
    >>> model = Platt().fit([0.2, 0.4, 0.6, 0.8, 0.9], [0, 1, 0, 1, 1])
    >>> round(model.slope_, 3), round(model.intercept_, 3)
    (1.293, 0.072)
    >>> model.predict_proba([0.5]).round(3)
    array([[0.482, 0.518]])
    """

    slope_: float
    intercept_: float
    separated_: bool

    def __init__(self, scale: Scale = "probability", clip: float = 1e-12) -> None:
        self.scale = scale
        self.clip = clip

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        z, right = logit_scores(scores, self.scale, self.clip), labels == 1
        constant = np.ptp(z) == 0
        one_kind = right.all() or not right.any()
        self.separated_ = bool(
            one_kind or (not constant and (separated(z, right) or separated(-z, right)))
        )
        target = right.astype(float)
        if self.separated_:
            target = smoothed_targets(labels, 2, weights)[:, 1]
        slope = np.zeros_like(z) if constant else z
        design = np.column_stack([slope, np.ones_like(z)])
        free = np.full(2, -np.inf)
        self.slope_, self.intercept_ = map(float, fit_logistic(design, target, weights, free))

    def _probability(self, scores: FloatArray) -> FloatArray:
        from scipy import special

        z = logit_scores(scores, self.scale, self.clip)
        out: FloatArray = special.expit(self.slope_ * z + self.intercept_)
        return out


class Beta(Calibrator):
    """Beta calibration (Kull, Silva Filho and Flach 2017) of a probability s.

    logit P(right) = a ln s - b ln(1 - s) + c with a, b >= 0, so that the map rises. It's Platt's
    with a = b, and can be S-shaped either way or bent at one end.

    Parameters
    ----------
    clip : float
        As in `Temperature`.

    Attributes
    ----------
    a_, b_, c_ : float
        1, 1, 0 leave the scores as they are.
    separated_ : bool
        As in `Platt`, for a threshold with all right answers above it.

    Examples
    --------
    >>> model = Beta().fit([0.1, 0.2, 0.4, 0.6, 0.8, 0.9], [0, 1, 0, 1, 0, 1])
    >>> round(model.a_, 3), round(model.b_, 3), round(model.c_, 3)
    (0.367, 0.367, 0.0)
    """

    a_: float
    b_: float
    c_: float
    separated_: bool

    def __init__(self, clip: float = 1e-12) -> None:
        self.clip = clip

    def _fit(self, scores: FloatArray, labels: IntArray, weights: FloatArray) -> None:
        right = labels == 1
        inside = clipped(scores, self.clip)
        constant = np.ptp(inside) == 0
        one_kind = right.all() or not right.any()
        self.separated_ = bool(one_kind or (not constant and separated(inside, right)))
        target = right.astype(float)
        if self.separated_:
            target = smoothed_targets(labels, 2, weights)[:, 1]
        design = self._design(inside)
        if constant:
            design[:, :2] = 0.0
        lower = np.array([0.0, 0.0, -np.inf])
        self.a_, self.b_, self.c_ = map(float, fit_logistic(design, target, weights, lower))

    def _probability(self, scores: FloatArray) -> FloatArray:
        from scipy import special

        design = self._design(clipped(scores, self.clip))
        out: FloatArray = special.expit(design @ np.array([self.a_, self.b_, self.c_]))
        return out

    @staticmethod
    def _design(inside: FloatArray) -> FloatArray:
        return np.column_stack([np.log(inside), -np.log1p(-inside), np.ones_like(inside)])
