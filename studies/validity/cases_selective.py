"""Intervals of AUROC, average precision, areas under risk-coverage curves, rank correlations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from scipy import stats
from selective_scenes import PER_CLUSTER, SCENES, FloatArray, Rng
from simulate import IntervalCase, of_estimate

from statllm.estimators import selective


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
]  # fmt: skip
