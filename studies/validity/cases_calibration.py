"""Intervals of calibration errors, proper scores, recalibration coefficients and bands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats
from simulate import IntervalCase, of_estimate

from statllm.estimators import calibration
from statllm.estimators.calibrators import calibration_report

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
Levels = tuple[float, ...]
PER_CLUSTER = 5
BINS = 10
EDGES = np.linspace(0, 1, BINS + 1)


@dataclass(frozen=True)
class Stated:
    """Confidences Beta(4, 1.5), and P(right) = expit(intercept + slope logit(confidence)).

    With `shared`, n counts clusters of 5 answers whose outcomes correlate on the normal scale.
    """

    words: str
    intercept: float
    slope: float
    shared: float = 0.0

    def draw(self, rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.bool_], dict[str, Any]]:
        """Confidences, outcomes, and the clusters as an argument."""
        group = np.repeat(np.arange(n), PER_CLUSTER if self.shared else 1)
        p = np.clip(rng.beta(4, 1.5, len(group)), 1e-6, 1 - 1e-6)
        true = self.probability(p)
        if not self.shared:
            return p, rng.random(n) < true, {}
        noise = np.sqrt(self.shared) * rng.standard_normal(n)[group]
        noise += np.sqrt(1 - self.shared) * rng.standard_normal(len(group))
        return p, special.ndtr(noise) < true, {"clusters": group}

    def probability(self, p: FloatArray) -> FloatArray:
        """P(right) at a confidence."""
        return np.asarray(special.expit(self.intercept + self.slope * special.logit(p)))

    @cached_property
    def population(self) -> tuple[FloatArray, FloatArray]:
        """Confidences spread as in the population, and P(right) at each."""
        p = stats.beta.ppf((np.arange(50_000) + 0.5) / 50_000, 4, 1.5)
        return p, self.probability(p)


CALIBRATED = Stated("calibrated", 0.0, 1.0)
BOLD = Stated("overconfident (intercept -.3, slope .6)", -0.3, 0.6)
CLUSTERED = Stated("overconfident, n clusters of 5", -0.3, 0.6, 0.4)
SCENES = {"calibrated": CALIBRATED, "bold": BOLD, "clustered": CLUSTERED}

GROUP = "Calibration"
SKEWED = (
    "The loss of a confident wrong answer is large and rare: at n = 20 and 50 the t interval "
    "misses on the upper side."
)
WALD = (
    "Wald interval of a logistic regression with 20 answers: long rather than short. Samples whose "
    "outcomes the confidence separates have none (undefined)."
)
ONE_SIDE = (
    "The truth is 0, where the interval is cut off: it can miss on one side only, so that it "
    "covers (1 + level) / 2. The price of an interval that needn't be told whether it is there."
)
TAIL_OF_FEW = (
    "The law of the estimate is guessed from the bins themselves, a few answers each; the interval "
    "errs on the long side."
)
FOLDED = (
    "c (1 - c) of the share c, a discrete count, by the exact limits of c; near c = 1/2 the two "
    "sides of c fold into one, and few answers leave few values."
)
SUN = (
    "The published interval under calibration: it tests for 0 first, and rejects less often than "
    "its level with 200 answers in 10 bins and more."
)
TOP_TWO = TAIL_OF_FEW


def scene_case(
    name: str, key: str, function: Callable[..., Any], truth: Callable[[Stated], float],
    note: str = "", slow: int = 1, conservative: bool = False,
) -> IntervalCase:  # fmt: skip
    """A figure with a population value."""
    scene = SCENES[key]
    found = cache(lambda: truth(scene))
    return IntervalCase(
        f"{name}-{key}", GROUP, f"n answers, {scene.words}", scene.draw,
        of_estimate(lambda d: function(d[0], d[1], **d[2])), lambda n: found(), note, slow,
        conservative=conservative,
    )  # fmt: skip


# --- binned errors, whose truth is that of the confidences drawn --------------------------------


def norm_of(p: FloatArray, true: FloatArray, norm: Any, bins: Any) -> float:
    """Binned error of the probabilities themselves."""
    return calibration.calibration_error(p, true, BINS, bins, norm).value


def binned_case(norm: Any, bins: str, key: str, slow: int = 1) -> IntervalCase:
    """`calibration_error`, less the truth given the confidences."""
    scene = SCENES[key]

    def intervals(data: Any, levels: Levels) -> Limits:
        p, right, more = data
        truth = norm_of(p, scene.probability(p), norm, bins)
        found = calibration.calibration_error(p, right, BINS, bins, norm, **more)  # type: ignore[arg-type]
        made = [found.interval(level) for level in levels]
        return [(each.low - truth, each.high - truth) for each in made]

    name = {1: "ece", 2: "l2", "max": "mce"}[norm]
    return IntervalCase(
        f"{name}-{bins}-{key}", GROUP, f"n answers, {scene.words}, 10 {bins} bins", scene.draw,
        intervals, lambda n: 0.0, slow=slow, conservative=True,
    )  # fmt: skip


def classwise(rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Four classes: stated probabilities are the true ones sharpened."""
    true = rng.dirichlet(np.full(4, 0.7), n).clip(1e-9)
    true /= true.sum(axis=1, keepdims=True)
    stated = true**1.5
    stated /= stated.sum(axis=1, keepdims=True)
    label = (rng.random(n)[:, None] > np.cumsum(true, axis=1)).sum(axis=1).clip(max=3)
    return stated, label, true


def classwise_limits(data: Any, levels: Levels) -> Limits:
    """`classwise_calibration_error`, less the truth given the probabilities."""
    stated, label, true = data
    errors = [norm_of(stated[:, k].clip(0, 1), true[:, k], 1, "equal-width") for k in range(4)]
    found = calibration.classwise_calibration_error(stated, label, BINS)
    made = [found.interval(level) for level in levels]
    return [
        (each.low - float(np.mean(errors)), each.high - float(np.mean(errors))) for each in made
    ]


def squared_error(scene: Stated) -> float:
    """Population squared L2 error in equal-width bins."""
    return norm_of(*scene.population, 2, "equal-width") ** 2


def smooth_error(scene: Stated) -> float:
    """Population smooth calibration error."""
    return calibration.smooth_calibration_error(*scene.population).value


def top_two(data: Any) -> Any:
    """Squared error of the two most probable classes."""
    return calibration.top_k_calibration_error(data[0], data[1], 2, n_bins=5)


@cache
def top_two_error() -> float:
    """Its population value in a grid of 5 by 5 cells, by half a million rows."""
    stated, _, true = classwise(np.random.default_rng(2), 500_000)
    order = np.argsort(-stated, axis=1)[:, :2]
    top, gap = (np.take_along_axis(x, order, 1) for x in (stated, true - stated))
    part = np.minimum(np.ceil(top * 5).astype(int), 5) - 1
    cell = part[:, 0] * 5 + part[:, 1]
    count = np.maximum(np.bincount(cell, minlength=25), 1)
    sums = [np.bincount(cell, gap[:, j], 25) for j in (0, 1)]
    return float(sum((each**2 / count).sum() for each in sums)) / len(cell)


def ranges(data: Any, levels: Levels) -> Limits:
    """`adaptive_calibration_error`, less the truth given the probabilities."""
    stated, label, true = data
    errors = [
        calibration.calibration_error(stated[:, k].clip(0, 1), true[:, k], BINS, "equal-mass")
        for k in range(4)
    ]
    truth = float(np.mean([each.value for each in errors]))
    found = calibration.adaptive_calibration_error(stated, label, BINS)
    made = [found.interval(level) for level in levels]
    return [(each.low - truth, each.high - truth) for each in made]


# --- scores and coefficients --------------------------------------------------------------------


def brier(scene: Stated) -> float:
    """Expected Brier score."""
    p, true = scene.population
    return float(((p - true) ** 2 + true * (1 - true)).mean())


def log_loss(scene: Stated) -> float:
    """Expected log loss."""
    p, true = scene.population
    return float((-true * np.log(p) - (1 - true) * np.log1p(-p)).mean())


def in_the_large(scene: Stated) -> float:
    """The intercept that the likelihood tends to when the slope is held at 1."""
    p, true = scene.population
    logit = special.logit(p)
    return float(optimize.brentq(lambda a: (special.expit(a + logit) - true).mean(), -3, 3))


def coefficient(name: str) -> Callable[..., Any]:
    """One of the estimates of `cox`."""
    return lambda p, right, **more: getattr(calibration.cox(p, right, **more), name)


def class_scores(data: Any) -> Any:
    """Brier score of several classes."""
    return calibration.brier_score(data[0], data[1])


@cache
def class_brier() -> float:
    """Its expectation, by half a million rows; their own error is below .001."""
    stated, _, true = classwise(np.random.default_rng(1), 500_000)
    return float(((stated**2).sum(axis=1) - 2 * (stated * true).sum(axis=1) + 1).mean())


def part_of(name: str) -> Callable[..., Any]:
    """One of the parts of the Brier score."""
    return lambda p, right, **more: getattr(calibration.corp_decomposition(p, right, **more), name)


def miscalibration(scene: Stated) -> float:
    """Expected squared gap: P(right) rises with the confidence, so it's the best rising map."""
    p, true = scene.population
    return float(((p - true) ** 2).mean())


def discrimination(scene: Stated) -> float:
    """Variance of P(right)."""
    return float(scene.population[1].var())


def uncertainty(scene: Stated) -> float:
    """Brier score of the overall share."""
    share = float(scene.population[1].mean())
    return share * (1 - share)


def softened(p: FloatArray) -> FloatArray:
    """A fixed calibrator's probabilities."""
    return np.asarray(special.expit(0.7 * special.logit(p) - 0.2))


def change(figure: str) -> Callable[[Any], Any]:
    """A figure of `calibration_report` for the fixed calibrator."""
    return lambda d: getattr(calibration_report(d[0], softened(d[0]), d[1]), figure)


def expected_change(figure: str) -> float:
    """Its expectation."""
    p, true = BOLD.population
    q = softened(p)
    if figure == "brier_change":
        return float(((q - true) ** 2 - (p - true) ** 2).mean())
    gain = true * (np.log(p) - np.log(q)) + (1 - true) * (np.log1p(-p) - np.log1p(-q))
    return float(gain.mean())


# --- bands --------------------------------------------------------------------------------------


def band(scene: Stated, every: bool, more: dict[str, Any]) -> Callable[[Any, Levels], Limits]:
    """`reliability_curve`: the bin of .8 to .9, or all bins, less the truth."""

    def intervals(data: Any, levels: Levels) -> Limits:
        p, right, clusters = data
        cell = np.minimum(np.ceil(p * BINS).astype(int), BINS) - 1
        count = np.bincount(cell, minlength=BINS)
        filled = np.flatnonzero(count)
        truth = (np.bincount(cell, scene.probability(p), BINS) / np.maximum(count, 1))[filled]
        out = []
        for level in levels:
            curve = calibration.reliability_curve(p, right, BINS, level=level, **clusters, **more)
            if every:
                ends = (curve.low_all - truth).max(), (curve.high_all - truth).min()
            elif not count[8]:
                raise ValueError("the bin is empty")
            else:
                at = int(np.searchsorted(filled, 8))
                ends = curve.low[at] - truth[at], curve.high[at] - truth[at]
            out.append((float(ends[0]), float(ends[1])))
        return out

    return intervals


def band_case(key: str, every: bool) -> IntervalCase:
    """A band of the reliability curve."""
    scene = SCENES[key]
    kind, where = ("all", "all 10 bins") if every else ("pointwise", "the bin of .8 to .9")
    return IntervalCase(
        f"reliability-{kind}-{key}", GROUP, f"n answers, {scene.words}; {where}", scene.draw,
        band(scene, every, {}), lambda n: 0.0, conservative=True,
    )  # fmt: skip


def consistency(data: Any, levels: Levels) -> Limits:
    """Isotonic consistency band at the median confidence, less the curve."""
    p, right, _ = data
    out = []
    for level in levels:
        curve = calibration.isotonic_reliability(p, right, level, n_resamples=400)
        at = len(curve.confidence) // 2
        value = curve.frequency[at]
        out.append((float(curve.low[at] - value), float(curve.high[at] - value)))
    return out


CASES: list[IntervalCase] = [
    *(binned_case(1, "equal-width", key) for key in SCENES),
    binned_case(1, "equal-mass", "bold"),
    binned_case(2, "equal-width", "calibrated"),
    binned_case(2, "equal-width", "bold"),
    binned_case("max", "equal-width", "bold"),
    IntervalCase(
        "classwise-ece", GROUP, "n labels of 4 classes, probabilities too sharp, 10 bins",
        classwise, classwise_limits, lambda n: 0.0, slow=2, conservative=True,
    ),
    *(
        scene_case(
            "debiased-squared", key,
            partial(calibration.debiased_squared_calibration_error, n_bins=BINS), squared_error,
            ONE_SIDE if key == "calibrated" else TAIL_OF_FEW,
        )
        for key in SCENES
    ),
    *(
        scene_case(
            "squared-sun", key,
            partial(
                calibration.debiased_squared_calibration_error, n_bins=BINS, interval="sun"
            ),
            squared_error, SUN,
        )
        for key in ("calibrated", "bold")
    ),
    IntervalCase(
        "squared-top-2", GROUP, "n labels of 4 classes, probabilities too sharp, 5 by 5 bins",
        classwise, of_estimate(top_two), lambda n: top_two_error(), TOP_TWO,
    ),
    IntervalCase(
        "ace", GROUP, "n labels of 4 classes, probabilities too sharp, 10 ranges", classwise,
        ranges, lambda n: 0.0, slow=2, conservative=True,
    ),
    *(
        scene_case(
            f"corp-{name}", key, part_of(name), truth, notes.get(key, ""), 1,
            name != "uncertainty",
        )
        for name, truth, notes in (
            ("miscalibration", miscalibration, {}),
            ("discrimination", discrimination, {}),
            ("uncertainty", uncertainty, dict.fromkeys(SCENES, FOLDED)),
        )
        for key in SCENES
    ),
    *(
        scene_case(
            "smooth-ece", key, calibration.smooth_calibration_error, smooth_error, slow=4,
            conservative=True,
        )
        for key in SCENES
    ),
    *(scene_case("brier", key, calibration.brier_score, brier, SKEWED) for key in SCENES),
    *(scene_case("log-score", key, calibration.log_score, log_loss, SKEWED) for key in SCENES),
    IntervalCase(
        "brier-classes", GROUP, "n labels of 4 classes, probabilities too sharp", classwise,
        of_estimate(class_scores), lambda n: class_brier(), SKEWED,
    ),
    *(
        IntervalCase(
            f"report-{figure.replace('_', '-')}", GROUP,
            f"n answers, {BOLD.words}, before and after a fixed calibrator", BOLD.draw,
            of_estimate(change(figure)), lambda n, figure=figure: expected_change(figure), SKEWED,
        )
        for figure in ("brier_change", "log_loss_change")
    ),
    *(
        scene_case(
            f"cox-{name}", key, coefficient(part), truth,
            notes.get(key, ""),
        )
        for name, part, truth, notes in (
            ("intercept", "intercept", lambda s: s.intercept, {"calibrated": WALD, "bold": WALD}),
            ("slope", "slope", lambda s: s.slope, {"calibrated": WALD, "bold": WALD}),
            ("in-the-large", "in_the_large", in_the_large, {}),
        )
        for key in SCENES
    ),
    *(band_case(key, every) for every in (False, True) for key in ("bold", "clustered")),
    IntervalCase(
        "isotonic-band", GROUP,
        "n answers, calibrated; the curve in its consistency band, at the median",
        CALIBRATED.draw, consistency, lambda n: 0.0, slow=10, sizes=(20, 50, 200),
    ),
]  # fmt: skip
