"""Intervals of AUROC, average precision, areas under risk-coverage curves, bands and bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, stats
from simulate import IntervalCase, of_estimate

from statllm.estimators import selective
from statllm.estimators.selective import (
    betting_upper_bound,
    coverage_curve,
    risk_upper_bound,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
PER_CLUSTER = 5
VOTES = 8


@dataclass(frozen=True)
class Binormal:
    """Right answers score N(gap, 1), wrong ones N(0, 1).

    With clusters, n counts clusters of 5 answers, whose labels and scores share a part: both
    correlate by `shared` within a cluster.
    """

    right: float
    gap: float
    shared: float = 0.0

    @property
    def clustered(self) -> bool:
        """Whether answers come in clusters."""
        return self.shared > 0

    def words(self) -> str:
        """The scene."""
        unit = f"n clusters of 5, correlation {self.shared:g}" if self.clustered else "n answers"
        return f"{unit}, accuracy {self.right:g}, AUROC {self.auroc:.2f}"

    def draw(self, rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.bool_], dict[str, Any]]:
        """Scores, labels and the clusters as an argument."""
        group = np.repeat(np.arange(n), PER_CLUSTER if self.clustered else 1)

        def noise() -> FloatArray:
            own = rng.standard_normal(len(group))
            if not self.clustered:
                return own
            return np.sqrt(self.shared) * rng.standard_normal(n)[group] + (
                np.sqrt(1 - self.shared) * own
            )

        label = noise() < stats.norm.ppf(self.right)
        more = {"clusters": group} if self.clustered else {}
        return noise() + self.gap * label, label, more

    @cached_property
    def auroc(self) -> float:
        """Area under the ROC curve."""
        return float(stats.norm.cdf(self.gap / np.sqrt(2)))

    # Over all thresholds t, from the highest down, on a fine grid.

    @cached_property
    def _grid(self) -> FloatArray:
        return np.linspace(self.gap + 9, -9, 40_001)

    @cached_property
    def _kept(self) -> tuple[FloatArray, FloatArray]:
        """Probability of being right, and wrong, and above each threshold."""
        t = self._grid
        return self.right * stats.norm.sf(t - self.gap), (1 - self.right) * stats.norm.sf(t)

    @cached_property
    def average_precision(self) -> float:
        """Mean precision over right answers."""
        hit, miss = self._kept
        return float(integrate.trapezoid(hit / (hit + miss), hit)) / self.right

    def risk_area(self, least: float = 0.0) -> float:
        """Mean risk over coverages from `least` to 1."""
        hit, miss = self._kept
        coverage = hit + miss
        inside = coverage >= least
        area = integrate.trapezoid((miss / coverage)[inside], coverage[inside])
        return float(area) / (1 - least)

    @property
    def best_area(self) -> float:
        """Mean risk over coverages of a perfect order."""
        wrong = 1 - self.right
        return wrong + self.right * float(np.log(self.right))

    @property
    def prr(self) -> float:
        """Prediction rejection ratio."""
        wrong = 1 - self.right
        return (wrong - self.risk_area()) / (wrong - self.best_area)

    @property
    def prr_half(self) -> float:
        """The same with half of the answers rejected at most."""
        c = np.linspace(0.5, 1, 100_001)
        oracle = 2 * float(integrate.trapezoid(np.minimum(1, self.right / c), c))
        return (1 - self.risk_area(0.5) - self.right) / (oracle - self.right)

    @property
    def augrc(self) -> float:
        """Area under the generalised risk-coverage curve."""
        wrong = 1 - self.right
        return (1 - self.auroc) * self.right * wrong + wrong**2 / 2

    def risk_above(self, threshold: FloatArray) -> FloatArray:
        """Probability of being wrong for an answer that scores at least this."""
        hit = self.right * stats.norm.sf(threshold - self.gap)
        miss = (1 - self.right) * stats.norm.sf(threshold)
        return np.asarray(miss / (hit + miss))

    def probability(self, score: FloatArray) -> FloatArray:
        """Probability of being wrong at a score."""
        hit = self.right * stats.norm.pdf(score - self.gap)
        miss = (1 - self.right) * stats.norm.pdf(score)
        return np.asarray(miss / (hit + miss))


class Votes:
    """The score is the number of eight votes that agree: tied throughout, accuracy .6."""

    right = 0.6
    pmf = stats.betabinom.pmf(np.arange(VOTES + 1)[:, None], VOTES, [1.5, 6], [3, 2])
    # Columns: wrong, right. Reached from the highest score down.

    def words(self) -> str:
        """The scene."""
        return f"n answers, the score one of nine values, accuracy .6, AUROC {self.auroc:.2f}"

    def draw(self, rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.bool_], dict[str, Any]]:
        """Scores and labels."""
        label = rng.random(n) < self.right
        chance = rng.beta(np.where(label, 6, 1.5), np.where(label, 2, 3))
        return rng.binomial(VOTES, chance) / VOTES, label, {}

    @property
    def auroc(self) -> float:
        """Area under the ROC curve, ties one half."""
        wrong, right = self.pmf.T
        below = np.cumsum(wrong) - wrong / 2
        return float(right @ below)

    @property
    def augrc(self) -> float:
        """Area under the generalised risk-coverage curve."""
        wrong = 1 - self.right
        return (1 - self.auroc) * self.right * wrong + wrong**2 / 2

    @property
    def average_precision(self) -> float:
        """Mean precision over right answers, tied ones taken together."""
        hit, miss = self._reached()
        return float(np.diff(hit, prepend=0) @ (hit / (hit + miss))) / self.right

    def risk_area(self) -> float:
        """Mean risk over coverages, ties in random order."""
        hit, miss = self._reached()
        kept = hit + miss
        before, lost = kept[:-1], miss[:-1]
        size, rate = np.diff(kept, prepend=0), np.diff(miss, prepend=0) / np.diff(kept, prepend=0)
        return float(rate @ size + (lost - rate[1:] * before) @ np.log(kept[1:] / before))

    @property
    def best_area(self) -> float:
        """Mean risk over coverages of a perfect order."""
        return 1 - self.right + self.right * float(np.log(self.right))

    @property
    def prr(self) -> float:
        """Prediction rejection ratio."""
        wrong = 1 - self.right
        return (wrong - self.risk_area()) / (wrong - self.best_area)

    def _reached(self) -> tuple[FloatArray, FloatArray]:
        wrong, right = self.pmf[::-1].T
        return np.cumsum(right) * self.right, np.cumsum(wrong) * (1 - self.right)


EVEN = Binormal(0.5, 1.0)
USUAL = Binormal(0.7, 1.0)
RARE = Binormal(0.95, 1.0)
SHARP = Binormal(0.7, 2.66)
CLUSTERED = Binormal(0.7, 1.0, 0.4)
TIED = Votes()
SCENES: dict[str, Any] = {
    "even": EVEN,
    "usual": USUAL,
    "rare": RARE,
    "sharp": SHARP,
    "clustered": CLUSTERED,
    "tied": TIED,
}


def area_cases(
    what: str,
    function: Callable[..., Any],
    truth: Callable[[Any], float],
    scenes: tuple[str, ...],
    notes: dict[str, str],
    group: str = "Areas of selective prediction",
) -> list[IntervalCase]:
    """One figure in several scenes."""

    def case(key: str) -> IntervalCase:
        scene = SCENES[key]
        found = cache(lambda: truth(scene))
        limits = of_estimate(lambda data: function(data[0], data[1], **data[2]))
        return IntervalCase(
            f"{what}-{key}", group, scene.words(), scene.draw, limits,
            lambda n: found(), notes.get(key, notes.get("", "")),
        )  # fmt: skip

    return [case(key) for key in scenes]


# --- two scores ---------------------------------------------------------------------------------


def two_scores(rng: Rng, n: int, gaps: tuple[float, float], shared: float = 0.0) -> Any:
    """Two scores of the same answers, correlated .5; with `shared` n clusters of 5."""
    group = np.repeat(np.arange(n), PER_CLUSTER if shared else 1)

    def noise() -> FloatArray:
        own = rng.standard_normal(len(group))
        return np.sqrt(shared) * rng.standard_normal(n)[group] + np.sqrt(1 - shared) * own

    label = noise() < stats.norm.ppf(0.7)
    common = noise()
    scores = [gap * label + np.sqrt(0.5) * (common + noise()) for gap in gaps]
    return (*scores, label, {"clusters": group} if shared else {})


def difference_case(
    name: str, scene: str, gaps: tuple[float, float], shared: float = 0.0, note: str = ""
) -> IntervalCase:
    """`auroc_difference`."""
    areas = stats.norm.cdf(np.array(gaps) / np.sqrt(2))
    limits = of_estimate(lambda data: selective.auroc_difference(*data[:3], **data[3]))
    draw = partial(two_scores, gaps=gaps, shared=shared)
    truth = float(areas[1] - areas[0])
    return IntervalCase(name, "AUROC", scene, draw, limits, lambda n: truth, note)


# --- rank correlations --------------------------------------------------------------------------


def graded_pairs(rng: Rng, n: int, shared: float = 0.0) -> Any:
    """Scores and qualities, normal with correlation .5; with `shared` n clusters of 5."""
    group = np.repeat(np.arange(n), PER_CLUSTER if shared else 1)

    def noise() -> FloatArray:
        own = rng.standard_normal(len(group))
        return np.sqrt(shared) * rng.standard_normal(n)[group] + np.sqrt(1 - shared) * own

    score = noise()
    return score, 0.5 * score + np.sqrt(0.75) * noise(), {"clusters": group} if shared else {}


TAU = 2 / np.pi * np.arcsin(0.5)
RANK_CORRELATIONS = (
    ("kendall", selective.kendall, TAU),
    ("spearman", selective.spearman, 6 / np.pi * np.arcsin(0.25)),
    ("reversed-pairs", selective.reversed_pairs_proportion, (1 - TAU) / 2),
)


def rank_case(name: str, function: Any, truth: float, shared: float) -> IntervalCase:
    """A rank correlation of score and quality."""
    unit = "n clusters of 5, correlation .4" if shared else "n answers"
    return IntervalCase(
        f"{name}{'-clustered' if shared else ''}", "Rank correlation",
        f"{unit}, score and quality normal with correlation .5",
        partial(graded_pairs, shared=shared),
        of_estimate(lambda d: function(d[0], d[1], **d[2])), lambda n: truth, RANKS,
    )  # fmt: skip


# --- shares of a right answer, between 0 and 1 --------------------------------------------------


def graded(rng: Rng, n: int) -> tuple[FloatArray, FloatArray, dict[str, Any]]:
    """Quality Beta(1 + 3u, 4 - 3u) for a score u uniform in (0, 1)."""
    u = rng.random(n)
    return u, rng.beta(1 + 3 * u, 4 - 3 * u), {}


# Given u > t the mean loss is 1 - (1 + 3 (1 + t) / 2) / 5, and t is uniform.
GRADED_AREA = 1 - (1 + 3 * 1.5 / 2) / 5
# E loss(u) u = E (4 - 3u) u / 5.
GRADED_GENERAL = (4 / 2 - 3 / 3) / 5


# --- bands and bounds ---------------------------------------------------------------------------


def curve_case(kind: Literal["pointwise", "bonferroni", "dkw"], scene: Binormal) -> IntervalCase:
    """A band of the risk-coverage curve: at one half of the answers, or everywhere."""

    def intervals(data: Any, levels: tuple[float, ...]) -> Limits:
        curve = coverage_curve(data[0], data[1])
        truth = scene.risk_above(curve.threshold)
        out = []
        for level in levels:
            low, high = curve.band(level, kind)
            low, high = low - truth, high - truth
            if kind == "pointwise":
                place = int(np.searchsorted(curve.kept, curve.n / 2))
                out.append((float(low[place]), float(high[place])))
            else:
                out.append((float(low.max()), float(high.min())))
        return out

    where = "at half of the answers" if kind == "pointwise" else "at all thresholds at once"
    name = f"curve-{kind}-{scene.right:g}"
    return IntervalCase(
        name, "Bands and bounds of risk", f"{scene.words()}; {where}", scene.draw, intervals,
        lambda n: 0.0, conservative=True,
    )  # fmt: skip


def accuracy_at_half(data: Any, levels: tuple[float, ...]) -> Limits:
    """Accuracy of the more confident half, less its truth."""
    curve = coverage_curve(data[0], data[1])
    found = curve.accuracy_at_coverage(0.5)
    place = int(np.searchsorted(curve.kept, curve.n / 2))
    truth = 1 - float(USUAL.risk_above(curve.threshold[place]))
    made = [found.interval(level) for level in levels]
    return [(each.low - truth, each.high - truth) for each in made]


def bound_case(
    name: str, scene: str, draw: Any, bound: Any, truth: float, slow: int = 1
) -> IntervalCase:
    """A one-sided bound as an interval from 0."""
    return IntervalCase(
        name, "Bands and bounds of risk", scene, draw,
        lambda data, levels: [(0.0, float(bound(data, 1 - level))) for level in levels],
        lambda n: truth, conservative=True, slow=slow,
    )  # fmt: skip


def tail_bound(method: str) -> Callable[[FloatArray, float], Any]:
    """`risk_upper_bound` of losses; the same counts come again and again."""

    @cache
    def bound(total: float, n: int, delta: float) -> float:
        return float(risk_upper_bound(total / n, n, delta, method))  # type: ignore[arg-type]

    return lambda x, delta: bound(float(x.sum()), len(x), delta)


def zero_one(rng: Rng, n: int, wrong: float) -> FloatArray:
    """Losses of 0 and 1."""
    return (rng.random(n) < wrong).astype(np.float64)


def partial_losses(rng: Rng, n: int) -> FloatArray:
    """Losses of mean .2 with a small spread."""
    return rng.beta(2, 8, n)


RANKS = "The error of a rank correlation is itself uncertain with 20 answers or clusters."
FEW_WRONG = (
    "Accuracy .95: one wrong answer in expectation at n = 20, two or three at 50, ten at 200. An "
    "error made of so few is hardly known, and the figure's law is skewed; samples without (two) "
    "wrong answers have no interval."
)
SAFE = (
    "Too long rather than too short: on the logit scale with a dozen answers of each kind, or with "
    "the area near its end. Completely separated classes, and answers all right, get exact limits, "
    "which are longer."
)
PLAIN = (
    "The published A ± z errors: too short for an area near 1 or few answers, for which the "
    "default is on the logit scale with t. At n = 20 and AUROC .97 most samples are separated "
    "completely and get the exact limits."
)
CLOSE_TO_ONE = (
    "Two areas near 1 differ by a few crossings of right and wrong answers; the law of such a "
    "difference is skewed at n = 20 and 50."
)
TOP = (
    "Average precision hangs on the few answers at the top, and its error on how they happened to "
    "fall: too short by some points with few answers, for longer the nearer it is to 1. AP = 1 "
    "has no error (undefined)."
)
EXCESS = (
    "What stands between a score and the best order is due to the few wrong answers at the top, so "
    "its law is skewed and the jackknife's error too small: by some points of coverage with few "
    "answers, and for longer the nearer the score is to the best. A perfect order has none "
    "(undefined)."
)
RATIO = "A dozen answers: the interval on the scale ln(1 - x) is too long rather than too short."
MOST = ("usual", "rare", "sharp", "clustered", "tied")
ALL = ("even", "usual", "rare", "sharp", "clustered", "tied")

CASES: list[IntervalCase] = [
    *area_cases(
        "auroc", selective.auroc, lambda s: s.auroc, ALL, {"rare": FEW_WRONG, "": SAFE}, "AUROC"
    ),
    *area_cases(
        "auroc-plain", partial(selective.auroc, interval="plain"), lambda s: s.auroc,
        ("usual", "sharp"), {"": PLAIN}, "AUROC",
    ),
    difference_case("auroc-difference", "same n answers, AUROC .76 and .84", (1.0, 1.4)),
    difference_case(
        "auroc-difference-sharp", "same n answers, AUROC .92 and .97", (2.0, 2.66),
        note=CLOSE_TO_ONE,
    ),
    difference_case(
        "auroc-difference-clustered", "n clusters of 5, AUROC .76 and .84", (1.0, 1.4), 0.4
    ),
    *area_cases(
        "average-precision", selective.average_precision, lambda s: s.average_precision, ALL,
        {"rare": FEW_WRONG, "": TOP},
    ),
    *area_cases(
        "aurc", selective.aurc, lambda s: s.risk_area(), ALL, {"rare": FEW_WRONG, "": SAFE}
    ),
    *area_cases("auarc", selective.auarc, lambda s: 1 - s.risk_area(), ("usual",), {"": SAFE}),
    *area_cases(
        "e-aurc", selective.e_aurc, lambda s: s.risk_area() - s.best_area, MOST,
        {"rare": FEW_WRONG, "": EXCESS},
    ),
    *area_cases("augrc", selective.augrc, lambda s: s.augrc, MOST, {"rare": FEW_WRONG, "": SAFE}),
    *area_cases("prr", selective.prr, lambda s: s.prr, MOST, {"rare": FEW_WRONG, "": EXCESS}),
    *area_cases(
        "prr-half", partial(selective.prr, max_rejection=0.5), lambda s: s.prr_half,
        ("usual", "rare"), {"rare": FEW_WRONG, "": RATIO},
    ),
    *area_cases(
        "prr-corrected", partial(selective.prr, rejected="corrected"),
        lambda s: 2 * s.auroc - 1, ("usual", "rare", "tied"), {"rare": FEW_WRONG, "": RATIO},
    ),
    *(rank_case(*each, shared) for each in RANK_CORRELATIONS for shared in (0.0, 0.4)),
    IntervalCase(
        "aurc-graded", "Areas of selective prediction", "n answers of quality between 0 and 1",
        graded, of_estimate(lambda d: selective.aurc(d[0], d[1])), lambda n: GRADED_AREA,
    ),
    IntervalCase(
        "augrc-graded", "Areas of selective prediction", "n answers of quality between 0 and 1",
        graded, of_estimate(lambda d: selective.augrc(d[0], d[1])), lambda n: GRADED_GENERAL,
    ),
    *(
        curve_case(kind, scene)
        for kind in ("pointwise", "bonferroni", "dkw")
        for scene in (USUAL, RARE)
    ),
    IntervalCase(
        "accuracy-at-half", "Bands and bounds of risk",
        f"{USUAL.words()}; its more confident half", USUAL.draw, accuracy_at_half,
        lambda n: 0.0, conservative=True,
    ),
    *(
        bound_case(
            f"bound-{method}-{wrong:g}", f"n losses of 0 or 1, mean {wrong:g}; upper limit",
            partial(zero_one, wrong=wrong), tail_bound(method), wrong,
        )
        for method in ("binomial", "hoeffding-bentkus", "hoeffding")
        for wrong in (0.05, 0.3)
    ),
    *(
        bound_case(
            f"bound-{method}-partial", "n losses Beta(2, 8), mean .2; upper limit", partial_losses,
            tail_bound(method), 0.2, 4,
        )
        for method in ("hoeffding-bentkus", "hoeffding")
    ),
    bound_case(
        "bound-betting-partial", "n losses Beta(2, 8), mean .2; upper limit", partial_losses,
        betting_upper_bound, 0.2, 4,
    ),
    bound_case(
        "bound-betting-0.05", "n losses of 0 or 1, mean .05; upper limit",
        partial(zero_one, wrong=0.05), betting_upper_bound, 0.05, 4,
    ),
]  # fmt: skip
