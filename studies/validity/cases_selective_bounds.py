"""Bands of the risk-coverage curve, and upper bounds of a risk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from selective_scenes import RARE, USUAL, Binormal, FloatArray, Rng
from simulate import IntervalCase

from statllm.estimators.selective import (
    betting_upper_bound,
    coverage_curve,
    risk_upper_bound,
)

Limits = list[tuple[float, float]]


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


CASES: list[IntervalCase] = [
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
