"""Agreement of raters: every coefficient at 20, 50 and 200 units; n counts units, or clusters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulate import IntervalCase, of_estimate

from statllm.estimators.agreement import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac,
    icc,
    krippendorff_alpha,
    percent_agreement,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator

GROUP = "Agreement"
SHARES = np.array([0.5, 0.3, 0.2])
USUAL, HIGH = 0.5625, 0.9
RATERS, SIZE = 3, 5
UNIT, RATER, NOISE = 1.0, 0.25, 0.64  # variances of numbers

FEW = (
    "With 20 or 50 units a coefficient takes few values, and where hardly any unit is in "
    "disagreement the interval comes from exact laws of counts: cautious."
)
QUADRATIC = (
    "With quadratic weights few distant disagreements make most of the coefficient, and 20 units "
    "show too few of them: up to four points short."
)
NOT_NORMAL = (
    "The F interval needs normal units: exponential ones have tails that it doesn't count. The "
    "jackknife's learns of them, slowly."
)
GENERALISED = (
    "A draw of a negative variance counts as 0: with 20 units the interval is a little too long."
)
FEW_RATERS = (
    "On purpose: McGraw and Wong's interval, whose approximation fails where raters are few and "
    "units many."
)


def rated(
    rng: Rng, n: int, kappa: float = USUAL, size: int = 1, missing: float = 0.0
) -> tuple[FloatArray, NDArray[np.int64] | None]:
    """Each rater sees the true category with probability sqrt(kappa), else draws one from SHARES.

    Two ratings then are the same true category with probability kappa and otherwise independent
    with the same shares, so that 1 - D_o / D_e is kappa whatever the weights or the metric.
    """
    units = n * size
    truth = rng.choice(3, units, p=SHARES)
    if size > 1:  # half of a cluster's units are of the cluster's own category
        shared = np.repeat(rng.choice(3, n, p=SHARES), size)
        truth = np.where(rng.random(units) < 0.5, shared, truth)
    seen = rng.random((units, RATERS)) < kappa**0.5
    table = np.where(seen, truth[:, None], rng.choice(3, (units, RATERS), p=SHARES)).astype(float)
    table[rng.random(table.shape) < missing] = np.nan
    return table, np.repeat(np.arange(n), size) if size > 1 else None


def numbers(
    rng: Rng, n: int, raters: int = 4, form: str = "2", law: str = "normal", size: int = 1
) -> tuple[FloatArray, NDArray[np.int64] | None]:
    """Units, raters (drawn for form 2, constants for 3, none for 1) and noise."""
    unit = rng.standard_normal(n) if law == "normal" else rng.standard_exponential(n) - 1
    group = None
    if size > 1:
        group = np.repeat(np.arange(n), size)
        unit = (unit[group] + rng.standard_normal(len(group))) / 2**0.5
    shift = {"1": np.zeros(raters), "2": RATER**0.5 * rng.standard_normal(raters),
             "3": np.linspace(-0.5, 0.5, raters)}[form]  # fmt: skip
    noise = NOISE**0.5 * rng.standard_normal((len(unit), raters))
    return unit[:, None] + shift + noise, group


def coefficient(measure: Callable[..., Any], data: Any, **options: Any) -> Any:
    """Of the table, clustered where it has clusters."""
    table, clusters = data
    return measure(table, clusters=clusters, **options)


def two(data: Any, **options: Any) -> Any:
    """Cohen's, of the first two raters."""
    table, clusters = data
    return cohen_kappa(table[:, 0], table[:, 1], clusters=clusters, **options)


def agreement(kappa: float) -> float:
    """P(two ratings are the same)."""
    return kappa + (1 - kappa) * float(SHARES @ SHARES)


def gwet(kappa: float) -> float:
    """AC1."""
    chance = float(SHARES @ (1 - SHARES)) / 2
    return (agreement(kappa) - chance) / (1 - chance)


def case(
    name: str, scene: str, draw: Any, make: Any, truth: float, note: str = "", **more: Any
) -> IntervalCase:
    """One coefficient and its truth."""
    more.setdefault("sizes", (20, 50, 200))
    return IntervalCase(
        name, GROUP, scene, draw, of_estimate(make), lambda n: truth, note, slow=2, **more
    )


def scene(kappa: float) -> str:
    """In words."""
    return f"n units, 3 categories, {RATERS} raters, agreement beyond chance {kappa:g}"


CLUSTERS = f"n clusters of {SIZE} units, 3 categories, {RATERS} raters, agreement {USUAL:g}"
METRICS = ("nominal", "ordinal", "interval")
REST = UNIT + NOISE

CASES = [
    *(
        case(f"cohen-kappa{tail}", scene(kappa).replace(f"{RATERS} raters", "2 raters"),
             partial(rated, kappa=kappa), two, kappa, note)
        for tail, kappa, note in (("", USUAL, ""), ("-high", HIGH, FEW))
    ),
    case("cohen-kappa-quadratic", scene(USUAL).replace(f"{RATERS} raters", "2 raters"), rated,
         partial(two, weights="quadratic"), USUAL, QUADRATIC),
    case("fleiss-kappa", scene(USUAL), rated, partial(coefficient, fleiss_kappa), USUAL),
    case("fleiss-kappa-missing", f"{scene(USUAL)}, .2 missing", partial(rated, missing=0.2),
         partial(coefficient, fleiss_kappa), USUAL),
    case("gwet-ac1", scene(USUAL), rated, partial(coefficient, gwet_ac), gwet(USUAL), FEW),
    case("percent-agreement", scene(USUAL), rated, partial(coefficient, percent_agreement),
         agreement(USUAL)),
    *(
        case(f"alpha-{metric}", scene(USUAL), rated,
             partial(coefficient, krippendorff_alpha, metric=metric), USUAL)
        for metric in METRICS
    ),
    case("alpha-nominal-high", scene(HIGH), partial(rated, kappa=HIGH),
         partial(coefficient, krippendorff_alpha), HIGH, FEW),
    case("alpha-nominal-missing", f"{scene(USUAL)}, .2 missing", partial(rated, missing=0.2),
         partial(coefficient, krippendorff_alpha), USUAL),
    *(
        case(f"alpha-{metric}-clustered", CLUSTERS, partial(rated, size=SIZE),
             partial(coefficient, krippendorff_alpha, metric=metric), USUAL)
        for metric in METRICS
    ),
    case("fleiss-kappa-clustered", CLUSTERS, partial(rated, size=SIZE),
         partial(coefficient, fleiss_kappa), USUAL),
    case("icc-1", "n normal units, 4 ratings each", partial(numbers, form="1"),
         lambda d: icc(d[0], "1"), UNIT / REST),
    case("icc-2", "n normal units, 5 raters drawn from many", partial(numbers, raters=5),
         lambda d: icc(d[0], "2"), UNIT / (REST + RATER), GENERALISED),
    case("icc-2-f", "n normal units, 5 raters drawn from many; F", partial(numbers, raters=5),
         lambda d: icc(d[0], "2", interval="F"), UNIT / (REST + RATER), FEW_RATERS),
    case("icc-2-three-raters", "n normal units, 3 raters drawn from many",
         partial(numbers, raters=3), lambda d: icc(d[0], "2"), UNIT / (REST + RATER)),
    case("icc-2-average", "n normal units, the mean of 5 raters drawn from many",
         partial(numbers, raters=5), lambda d: icc(d[0], "2", average=True),
         UNIT / (UNIT + (RATER + NOISE) / 5), GENERALISED),
    case("icc-3", "n normal units, these 4 raters", partial(numbers, form="3"),
         lambda d: icc(d[0], "3"), UNIT / REST),
    case("icc-3-jackknife", "n normal units, these 4 raters", partial(numbers, form="3"),
         lambda d: icc(d[0], "3", interval="jackknife"), UNIT / REST),
    case("icc-3-exponential", "n exponential units, these 4 raters",
         partial(numbers, form="3", law="exponential"), lambda d: icc(d[0], "3"), UNIT / REST,
         NOT_NORMAL),
    case("icc-3-exponential-jackknife", "n exponential units, these 4 raters",
         partial(numbers, form="3", law="exponential"),
         lambda d: icc(d[0], "3", interval="jackknife"), UNIT / REST, NOT_NORMAL),
    case("icc-3-clustered", f"n clusters of {SIZE} normal units, these 4 raters",
         partial(numbers, form="3", size=SIZE),
         lambda d: icc(d[0], "3", interval="jackknife", clusters=d[1]), UNIT / REST),
]  # fmt: skip
