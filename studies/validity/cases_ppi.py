"""Prediction-powered intervals: n labels, or clusters of them, and 1,000 predictions without."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from simulate import IntervalCase, of_estimate

from statllm.estimators.ppi import (
    corrected_win_rate,
    ppi_logistic,
    ppi_mean,
    ppi_mean_by_betting,
    ppi_ols,
    ppi_quantile,
    published_mean,
    rogan_gladen,
    stratified_ppi_mean,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
Make = Callable[[Any], Any]

UNLABELLED = 1000
SIZE = 5  # rows of a cluster
SLOPE, LOG_ODDS = 0.5, 0.8
RIGHT = 0.85  # how often a judge says what humans say
GROUP = "Prediction-powered"

SKEWED = (
    "What predictions leave over is as skewed as an exponential number. t knows nothing of that, "
    "and is two points short on one side with few labels; interval='studentised' isn't."
)
HEAVY = (
    "A log-normal rest: its tail is seldom among 20 or 50 labels, so that t is eight and five "
    "points short. interval='studentised' makes up for more than half of it."
)
CAUTIOUS = (
    "Two labels more at the corners of the bounds, which few labels feel: too long, not too short."
)
COUNTED = (
    "Two labels more at the corners, and ends that lie at labels or predictions: too long with few "
    "labels, and often without an end on one side."
)
FEW_OUTCOMES = (
    "Logistic regression on 20 labels: the slope is biased away from 0 and its error with it; "
    "where outcomes are separated there is none (undefined)."
)
PUBLISHED = "On purpose: the normal interval as published, which 20 labels make too short."
LANG = (
    "Lang and Reiczigel's interval is made to be above its level at few labels, and takes the "
    "judge's two rates for estimated apart."
)


class Sample(NamedTuple):
    """Labelled rows, unlabelled ones, and the clusters of both."""

    y: FloatArray
    f: FloatArray
    u: FloatArray
    clusters: NDArray[np.int64] | None
    unlabelled_clusters: NDArray[np.int64] | None

    @property
    def grouped(self) -> dict[str, Any]:
        """The clusters as keywords."""
        return {"clusters": self.clusters, "unlabelled_clusters": self.unlabelled_clusters}


def split(y: FloatArray, f: FloatArray, n: int, size: int) -> Sample:
    """The first n clusters with their labels, the others without."""
    group = np.repeat(np.arange(len(y) // size), size)
    cut = n * size
    one, two = (None, None) if size == 1 else (group[:cut], group[cut:])
    return Sample(y[:cut], f[:cut], f[cut:], one, two)


def numbers(rng: Rng, n: int, law: str, size: int = 1) -> Sample:
    """Y = f + e, of mean 0; alike within clusters.

    Both normal (e half as wide), both exponential, or e log-normal and f normal.
    """

    def draw(k: int, kind: str = law) -> FloatArray:
        if kind == "exponential":
            return rng.standard_exponential(k) - 1
        z = rng.standard_normal(k)
        return np.exp(z) - np.exp(0.5) if kind == "log-normal" else z

    clusters = n + UNLABELLED // size
    group = np.repeat(np.arange(clusters), size)
    f = draw(len(group), "normal" if law == "log-normal" else law)
    e = (0.5 if law == "normal" else 1.0) * draw(len(group))
    if size > 1:
        f, e = f + draw(clusters)[group], e + draw(clusters)[group]
    return split(f + e, f, n, size)


def outcomes(rng: Rng, n: int, rate: float, size: int = 1) -> Sample:
    """Wins with a rate (clusters: Beta with that mean), and a judge that is right in .85."""
    clusters = n + UNLABELLED // size
    p = np.full(clusters, rate) if size == 1 else rng.beta(5 * rate, 5 * (1 - rate), clusters)
    y = (rng.random(clusters * size) < np.repeat(p, size)) * 1.0
    f = np.where(rng.random(len(y)) < RIGHT, y, 1 - y)
    return split(y, f, n, size)


def with_x(rng: Rng, n: int, size: int = 1) -> tuple[FloatArray, Sample]:
    """Rows (1, z) and Y = z / 2 + f + e."""
    sample = numbers(rng, n, "normal", size)
    x = np.stack([np.ones(len(sample.y) + UNLABELLED), rng.normal(size=len(sample.y) + UNLABELLED)])
    z = SLOPE * x[1]
    cut = len(sample.y)
    return x.T, sample._replace(y=sample.y + z[:cut], f=sample.f + z[:cut], u=sample.u + z[cut:])


def odds(rng: Rng, n: int) -> tuple[FloatArray, Sample]:
    """Right or wrong with log odds .3 + .8 z, and a judge that is right in .85."""
    z = rng.normal(size=n + UNLABELLED)
    y = (rng.random(len(z)) < special.expit(0.3 + LOG_ODDS * z)) * 1.0
    f = np.where(rng.random(len(z)) < RIGHT, y, 1 - y)
    return np.stack([np.ones(len(z)), z], axis=1), split(y, f, n, 1)


def slope(fit: Callable[..., Any], data: tuple[FloatArray, Sample]) -> Any:
    """The second coefficient."""
    x, s = data
    cut = len(s.y)
    return fit(x[:cut], s.y, s.f, x[cut:], s.u, **s.grouped).coefficients[1].estimate


def mean(data: Sample, **options: Any) -> Any:
    """PPI++."""
    return ppi_mean(data.y, data.f, data.u, **data.grouped, **options).estimate


def labels_alone(data: Sample) -> Any:
    """The labels' mean."""
    return ppi_mean(data.y, data.f, data.u, **data.grouped).classical


def quantile(data: Sample, q: float) -> Any:
    """A quantile, on a coarse grid."""
    return ppi_quantile(data.y, data.f, data.u, q, grid=128, **data.grouped).estimate


def win_rate(data: Sample) -> Any:
    """Corrected by few human labels."""
    return corrected_win_rate(data.u, data.f, data.y, **data.grouped).estimate


def by_rates(data: Sample) -> Any:
    """Rogan and Gladen's."""
    wins = data.y == 1
    return rogan_gladen(
        int(data.u.sum()), len(data.u), int(data.f[wins].sum()), int(wins.sum()),
        int((1 - data.f[~wins]).sum()), int((~wins).sum()),
    )  # fmt: skip


def in_strata(data: tuple[Sample, Sample]) -> Any:
    """Two strata of equal shares."""
    a, b = data
    return stratified_ppi_mean(
        np.concatenate([a.y, b.y]), np.concatenate([a.f, b.f]), np.concatenate([a.u, b.u]),
        np.repeat([0, 1], [len(a.y), len(b.y)]), np.repeat([0, 1], [len(a.u), len(b.u)]),
        shares={0: 0.5, 1: 0.5},
    ).estimate  # fmt: skip


def betting(data: Sample, levels: tuple[float, ...]) -> Limits:
    """Limits by betting."""
    return of_estimate(lambda s: ppi_mean_by_betting(s.y, s.f, s.u))(data, levels)


NORMAL = "n labels, prediction and its error normal"
EXPONENTIAL = "n labels, prediction and its error exponential"
WINS = "n human labels, {rate:g} won, judge right in .85"
SMALL = (20, 50, 200)


def case(
    name: str, scene: str, draw: Any, make: Make, truth: float, note: str = "", **more: Any
) -> IntervalCase:
    """One interval and its truth."""
    more.setdefault("sizes", SMALL)
    return IntervalCase(
        f"ppi-{name}", GROUP, scene, draw, of_estimate(make), lambda n: truth, note, **more
    )


def clustered(scene: str) -> str:
    """The scene of clusters."""
    return scene.replace("n labels", f"n clusters of {SIZE} labels").replace(
        "n human labels", f"n prompts of {SIZE} human labels"
    )


gamma_9 = float(stats.gamma(2).ppf(0.9)) - 2

CASES = [
    case("mean-normal", NORMAL, partial(numbers, law="normal"), mean, 0.0),
    case("mean-exponential", EXPONENTIAL, partial(numbers, law="exponential"), mean, 0.0, SKEWED),
    case("mean-exponential-studentised", EXPONENTIAL, partial(numbers, law="exponential"),
         partial(mean, interval="studentised"), 0.0, slow=2),
    *(
        case(f"mean-log-normal{tail}", "n labels, prediction normal, its error log-normal",
             partial(numbers, law="log-normal"), partial(mean, interval=kind), 0.0, HEAVY, slow=2)
        for tail, kind in (("", "t"), ("-studentised", "studentised"))
    ),
    case("mean-normal-studentised", NORMAL, partial(numbers, law="normal"),
         partial(mean, interval="studentised"), 0.0, slow=2),
    case("labels-alone-exponential", EXPONENTIAL, partial(numbers, law="exponential"),
         labels_alone, 0.0),
    case("mean-cross-fitted", NORMAL, partial(numbers, law="normal"),
         partial(mean, tuning="cross-fitted"), 0.0),
    case("mean-plain", f"{NORMAL}; lambda 1", partial(numbers, law="normal"),
         partial(mean, tuning=1.0), 0.0),
    case("mean-clustered", clustered(NORMAL), partial(numbers, law="normal", size=SIZE), mean, 0.0),
    case("mean-clustered-exponential", clustered(EXPONENTIAL),
         partial(numbers, law="exponential", size=SIZE), mean, 0.0, SKEWED),
    case("mean-clustered-exponential-studentised", clustered(EXPONENTIAL),
         partial(numbers, law="exponential", size=SIZE), partial(mean, interval="studentised"),
         0.0, slow=2),
    case("published-normal", NORMAL, partial(numbers, law="normal"),
         lambda s: published_mean(s.y, s.f, s.u), 0.0, PUBLISHED),
    case("stratified", "two strata of n labels, predictions good in one, worthless in the other",
         lambda rng, n: (numbers(rng, n, "normal"),
                         numbers(rng, n, "normal")._replace(y=2 * rng.standard_normal(n))),
         in_strata, 0.0),
    case("quantile-median", f"{NORMAL}; median", partial(numbers, law="normal"),
         partial(quantile, q=0.5), 0.0, COUNTED, slow=4),
    case("quantile-0.9", f"{EXPONENTIAL}; .9 quantile", partial(numbers, law="exponential"),
         partial(quantile, q=0.9), gamma_9, COUNTED, slow=4),
    case("quantile-clustered", clustered(f"{NORMAL}; median"),
         partial(numbers, law="normal", size=SIZE), partial(quantile, q=0.5), 0.0, COUNTED, slow=8,
         sizes=(20, 50)),
    case("ols-slope", f"{NORMAL}, and a covariate", with_x, partial(slope, ppi_ols), SLOPE),
    case("ols-slope-clustered", clustered(f"{NORMAL}, and a covariate"),
         partial(with_x, size=SIZE), partial(slope, ppi_ols), SLOPE),
    case("logistic-slope", "n human labels with log odds .3 + .8 z, judge right in .85", odds,
         partial(slope, ppi_logistic), LOG_ODDS, FEW_OUTCOMES, slow=2),
    *(
        case(f"win-rate-{rate:g}", WINS.format(rate=rate), partial(outcomes, rate=rate), win_rate,
             rate, CAUTIOUS)
        for rate in (0.6, 0.9)
    ),
    case("win-rate-clustered", clustered(WINS.format(rate=0.6)),
         partial(outcomes, rate=0.6, size=SIZE), win_rate, 0.6),
    case("rogan-gladen", WINS.format(rate=0.6), partial(outcomes, rate=0.6), by_rates, 0.6, LANG),
    IntervalCase(
        "ppi-betting", GROUP, WINS.format(rate=0.6), partial(outcomes, rate=0.6), betting,
        lambda n: 0.6, slow=20, sizes=SMALL, conservative=True,
    ),
]  # fmt: skip
