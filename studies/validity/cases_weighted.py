"""Intervals with sampling weights: drawn at random, and those of a sample of another density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import cases_calibration as unweighted
import numpy as np
from cases_calibration import BINS, BOLD, CALIBRATED, FloatArray, Levels, Limits, Rng, Stated
from numpy.typing import NDArray
from simulate import IntervalCase, of_estimate

from statllm.estimators import calibration
from statllm.estimators.calibrators import calibration_report

GROUP = "Calibration with weights"
SIZES = (50, 200, 1000)
SLOW = 2  # half as many repetitions as elsewhere


FEW_LARGE = (
    "As without weights: the loss of a confident wrong answer is large and rare, and 50 rows of "
    "unequal weight are worth some 32."
)
LEVERAGE = (
    "A heavy row far from the others draws the fit to itself, so that the sandwich with its factor "
    "n / (n - 1) is too small with 50 rows of unequal weight (dividing each residual by "
    "1 - leverage, HC3, gave 89 / 95 %)."
)
FOLDED = (
    "c (1 - c) of the share c, by the limits of c: near c = 1/2 the two sides of c fold into one, "
    "and the interval is long rather than short."
)


@dataclass(frozen=True)
class Weighted:
    """A `Stated` population, sampled with weights.

    Weights between 1/4 and 4 that say nothing leave 64 % of the rows' information in a mean. Or
    the sample's confidences are Beta(2, 1.5), uncertain answers having been sampled more often,
    and weights p² restore the population's Beta(4, 1.5).
    """

    of: Stated
    tilted: bool

    @property
    def words(self) -> str:
        """The scene."""
        how = "from Beta(2, 1.5), weights p²" if self.tilted else "weights 1/4 to 4 at random"
        return f"n answers, {self.of.words}, {how}"

    def draw(self, rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.bool_], dict[str, Any]]:
        """Confidences, outcomes, and the weights as an argument."""
        p = np.clip(rng.beta(2 if self.tilted else 4, 1.5, n), 1e-6, 1 - 1e-6)
        right = rng.random(n) < self.of.probability(p)
        return p, right, {"weights": p**2 if self.tilted else np.exp2(rng.uniform(-2, 2, n))}

    @property
    def probability(self) -> Callable[[FloatArray], FloatArray]:
        """P(right) at a confidence."""
        return self.of.probability


SCENES = {
    "weights-calibrated": Weighted(CALIBRATED, False),
    "weights-bold": Weighted(BOLD, False),
    "tilted-bold": Weighted(BOLD, True),
}


def scene_case(
    name: str, key: str, function: Callable[..., Any], truth: Callable[[Stated], float],
    note: str = "", slow: int = SLOW, conservative: bool = False,
) -> IntervalCase:  # fmt: skip
    """A figure with a population value."""
    scene = SCENES[key]
    found = cache(lambda: truth(scene.of))
    return IntervalCase(
        f"{name}-{key}", GROUP, scene.words, scene.draw,
        of_estimate(lambda d: function(d[0], d[1], **d[2])), lambda n: found(), note, slow, SIZES,
        conservative,
    )  # fmt: skip


def binned_case(norm: Any, bins: str, key: str) -> IntervalCase:
    """`calibration_error`, less the truth given the confidences and weights."""
    scene = SCENES[key]

    def intervals(data: Any, levels: Levels) -> Limits:
        p, right, more = data
        error = partial(calibration.calibration_error, n_bins=BINS, bins=bins, norm=norm, **more)
        truth, found = error(p, scene.probability(p)).value, error(p, right)
        made = [found.interval(level) for level in levels]
        return [(each.low - truth, each.high - truth) for each in made]

    name = {1: "ece", 2: "l2", "max": "mce"}[norm]
    return IntervalCase(
        f"{name}-{bins}-{key}", GROUP, f"{scene.words}, 10 {bins} bins", scene.draw, intervals,
        lambda n: 0.0, slow=2 * SLOW, sizes=SIZES, conservative=True,
    )  # fmt: skip


def band(scene: Weighted, every: bool) -> Callable[[Any, Levels], Limits]:
    """`reliability_curve`: the bin of .8 to .9, or all bins, less the truth."""

    def intervals(data: Any, levels: Levels) -> Limits:
        p, right, more = data
        w = more["weights"]
        cell = np.minimum(np.ceil(p * BINS).astype(int), BINS) - 1
        mass = np.bincount(cell, w, BINS)
        filled = np.flatnonzero(mass)
        truth = np.bincount(cell, w * scene.probability(p), BINS)[filled] / mass[filled]
        out = []
        for level in levels:
            curve = calibration.reliability_curve(p, right, BINS, level=level, **more)
            if every:
                ends = (curve.low_all - truth).max(), (curve.high_all - truth).min()
            elif not mass[8]:
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
        f"reliability-{kind}-{key}", GROUP, f"{scene.words}; {where}", scene.draw,
        band(scene, every), lambda n: 0.0, slow=SLOW, sizes=SIZES, conservative=True,
    )  # fmt: skip


def consistency(data: Any, levels: Levels) -> Limits:
    """Isotonic consistency band at the median confidence, less the curve."""
    p, right, more = data
    out = []
    for level in levels:
        curve = calibration.isotonic_reliability(p, right, level, n_resamples=400, **more)
        at = len(curve.confidence) // 2
        value = curve.frequency[at]
        out.append((float(curve.low[at] - value), float(curve.high[at] - value)))
    return out


def classes(rng: Rng, n: int) -> Any:
    """Four classes as in the cases without weights, and weights that say nothing."""
    stated, label, true = unweighted.classwise(rng, n)
    return stated, label, true, np.exp2(rng.uniform(-2, 2, n))


def class_limits(function: Callable[..., Any], bins: str) -> Callable[[Any, Levels], Limits]:
    """A mean of four classes' errors, less the truth given the probabilities and weights."""

    def intervals(data: Any, levels: Levels) -> Limits:
        stated, label, true, w = data
        errors = [
            calibration.calibration_error(
                stated[:, k].clip(0, 1), true[:, k], BINS, bins, weights=w  # type: ignore[arg-type]
            ).value
            for k in range(4)
        ]  # fmt: skip
        found = function(stated, label, BINS, weights=w)
        made = [found.interval(level) for level in levels]
        truth = float(np.mean(errors))
        return [(each.low - truth, each.high - truth) for each in made]

    return intervals


def class_case(name: str, bins: str, function: Callable[..., Any]) -> IntervalCase:
    """A mean over four classes."""
    return IntervalCase(
        f"{name}-weights", GROUP,
        "n labels of 4 classes, probabilities too sharp, weights 1/4 to 4 at random", classes,
        class_limits(function, bins), lambda n: 0.0, slow=4 * SLOW, sizes=SIZES, conservative=True,
    )  # fmt: skip


CASES: list[IntervalCase] = [
    *(binned_case(1, "equal-width", key) for key in SCENES),
    binned_case(1, "equal-mass", "weights-bold"),
    binned_case(2, "equal-width", "weights-bold"),
    binned_case("max", "equal-width", "weights-bold"),
    class_case("classwise-ece", "equal-width", calibration.classwise_calibration_error),
    class_case("ace", "equal-mass", calibration.adaptive_calibration_error),
    *(
        scene_case(
            "debiased-squared", key,
            partial(calibration.debiased_squared_calibration_error, n_bins=BINS),
            unweighted.squared_error,
            unweighted.ONE_SIDE if key == "weights-calibrated" else unweighted.TAIL_OF_FEW,
        )
        for key in SCENES
    ),
    *(
        scene_case(
            f"corp-{name}", key, unweighted.part_of(name), truth,
            FOLDED if name == "uncertainty" else "", conservative=name != "uncertainty",
        )
        for name, truth in (
            ("miscalibration", unweighted.miscalibration),
            ("discrimination", unweighted.discrimination),
            ("uncertainty", unweighted.uncertainty),
        )
        for key in ("weights-bold", "tilted-bold")
    ),
    *(
        scene_case(
            "smooth-ece", key, calibration.smooth_calibration_error, unweighted.smooth_error,
            slow=10, conservative=True,
        )
        for key in ("weights-bold", "tilted-bold")
    ),
    *(
        scene_case("brier", key, calibration.brier_score, unweighted.brier, FEW_LARGE)
        for key in SCENES
    ),
    *(
        scene_case("log-score", key, calibration.log_score, unweighted.log_loss, FEW_LARGE)
        for key in SCENES
    ),
    *(
        IntervalCase(
            f"report-{figure.replace('_', '-')}-weights-bold", GROUP,
            f"{SCENES['weights-bold'].words}, before and after a fixed calibrator",
            SCENES["weights-bold"].draw,
            of_estimate(
                lambda d, figure=figure: getattr(
                    calibration_report(d[0], unweighted.softened(d[0]), d[1], **d[2]), figure
                )
            ),
            lambda n, figure=figure: unweighted.expected_change(figure), FEW_LARGE,
            slow=SLOW, sizes=SIZES,
        )
        for figure in ("brier_change", "log_loss_change")
    ),
    *(
        scene_case(f"cox-{name}", key, unweighted.coefficient(part), truth, LEVERAGE, 2 * SLOW)
        for name, part, truth in (
            ("intercept", "intercept", lambda s: s.intercept),
            ("slope", "slope", lambda s: s.slope),
            ("in-the-large", "in_the_large", unweighted.in_the_large),
        )
        for key in SCENES
    ),
    *(
        band_case(key, every)
        for every in (False, True)
        for key in ("weights-bold", "tilted-bold")
    ),
    IntervalCase(
        "isotonic-band-weights", GROUP,
        f"{SCENES['weights-calibrated'].words}; the curve in its consistency band, at the median",
        SCENES["weights-calibrated"].draw, consistency, lambda n: 0.0, slow=10, sizes=(50, 200),
    ),
]  # fmt: skip
