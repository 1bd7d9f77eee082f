"""Audits of judges: figures and tests of position, length, self-preference, repeats; n pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from simulate import IntervalCase, TestCase, of_estimate

from statllm.estimators.judge_audit import (
    Finding,
    Verdicts,
    human_agreement,
    length_bias,
    position_bias,
    repeat_consistency,
    self_preference,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
Findings = Callable[[Verdicts], tuple[Finding, ...]]

GROUP = "Judges"
QUALITY, PULL, SPREAD = 1.5, 0.3, 0.6  # of pairs; of the first place; of log lengths
LENGTH, HUMAN_LENGTH = 2.0, 1.0  # log odds per relative length
SIZE = 4  # pairs of a prompt

_x, _w = np.polynomial.hermite_e.hermegauss(80)
_w = _w / _w.sum()

COUNTED = "Few pairs, few values: coverage, or size, jumps with n."
SLOPES = (
    "A jackknifed logistic regression on few pairs: cautious, its error takes off too little of "
    "the slope's bias."
)


def mean_of(f: Callable[[FloatArray], FloatArray]) -> float:
    """E f(Z), Z standard normal."""
    return float(_w @ f(_x))


def verdict(rng: Rng, log_odds: FloatArray) -> FloatArray:
    """1 or -1."""
    return np.where(rng.random(len(log_odds)) < special.expit(log_odds), 1.0, -1.0)


def both_orders(rng: Rng, n: int, pull: float = PULL, size: int = 1) -> Verdicts:
    """Pairs that differ in quality, shown in both orders; pairs of a prompt share their quality."""
    prompt = np.repeat(np.arange(n), size)
    quality = QUALITY * rng.standard_normal(n)[prompt]
    human = verdict(rng, 2 * quality)
    pair, sign = np.repeat(np.arange(len(prompt)), 2), np.tile([1.0, -1.0], len(prompt))
    place = verdict(rng, sign * quality[pair] + pull)
    return Verdicts.of(pair, sign > 0, place, cluster=prompt[pair], human=human[pair])


def lengths(
    rng: Rng, n: int, judge: float = LENGTH, human: float = HUMAN_LENGTH, size: int = 1
) -> Verdicts:
    """One verdict a pair, by relative length; a prompt's pairs share what is liked there."""
    prompt = np.repeat(np.arange(n), size)
    a, b = np.exp(SPREAD * rng.standard_normal((2, len(prompt))))
    liked = rng.standard_normal(n)[prompt] if size > 1 else np.zeros(len(prompt))
    relative = (a - b) / (a + b)
    first = rng.random(len(prompt)) < 0.5
    preferred = verdict(rng, judge * relative + liked)
    return Verdicts.of(
        np.arange(len(prompt)), first, np.where(first, preferred, -preferred), cluster=prompt,
        human=verdict(rng, human * relative + liked), length_a=a, length_b=b,
    )  # fmt: skip


def own(rng: Rng, n: int, judge: float = 0.65, human: float = 0.55) -> Verdicts:
    """n prompts of 4 pairs, one response of each by the judge's family."""
    prompt = np.repeat(np.arange(n), SIZE)
    ours = np.where(rng.random(len(prompt)) < 0.5, 1.0, -1.0)
    shift = rng.standard_normal(n)[prompt] * 0.1  # on what both think of it
    says, thinks = (
        np.where(rng.random(len(prompt)) < np.clip(p + shift, 0, 1), ours, -ours)
        for p in (judge, human)
    )
    first = rng.random(len(prompt)) < 0.5
    return Verdicts.of(
        np.arange(len(prompt)), first, np.where(first, says, -says), cluster=prompt, human=thinks,
        own=ours,
    )  # fmt: skip


def repeats(rng: Rng, n: int) -> Verdicts:
    """Three repeats of n questions, whose chances are Beta(.5, .5)."""
    pair = np.repeat(np.arange(n), 3)
    place = np.where(rng.random(len(pair)) < rng.beta(0.5, 0.5, n)[pair], 1.0, -1.0)
    return Verdicts.of(pair, np.ones(len(pair), bool), place)


def found(kind: Findings, name: str, data: Verdicts) -> Finding:
    """The finding of that name; a fit that failed has none."""
    for each in kind(data):
        if each.estimate.name == name:
            return each
    raise ValueError(f"no {name}")


def figure(kind: Findings, name: str) -> Callable[[Verdicts, tuple[float, ...]], Limits]:
    """Its interval."""
    return of_estimate(lambda data: found(kind, name, data).estimate)


def slope_less_truth(data: Verdicts, levels: tuple[float, ...]) -> Limits:
    """Per root mean square of these pairs' relative lengths, which the truth depends on."""
    a, b = data.length_a, data.length_b
    spread = float(np.sqrt(np.mean(((a - b) / (a + b)) ** 2)))  # type: ignore[operator]
    name = "log odds per length"
    limits = figure(length_bias, name)(data, levels)
    return [(low - LENGTH * spread, high - LENGTH * spread) for low, high in limits]


def p_value(kind: Findings, name: str, draw: Any, rng: Rng, n: int) -> float:
    """Of the finding's test."""
    test = found(kind, name, draw(rng, n)).test
    return float("nan") if test is None else test.p_value


def longer(per: float) -> float:
    """Share for the longer: relative length is tanh of half the difference of log lengths."""
    return mean_of(lambda z: special.expit(per * np.abs(np.tanh(SPREAD * z / 2**0.5))))


def first_place() -> float:
    """Share for the first place, both orders alike."""
    return mean_of(lambda z: special.expit(QUALITY * z + PULL))


def consistent() -> float:
    """P(both orders name the same response)."""

    def same(z: FloatArray) -> FloatArray:
        p, q = special.expit(QUALITY * z + PULL), special.expit(QUALITY * z - PULL)
        return np.asarray(p * q + (1 - p) * (1 - q))

    return mean_of(same)


def right_given_place(sign: float) -> float:
    """P(right) where the better by human verdict is first (1) or second (-1)."""

    def right(z: FloatArray) -> FloatArray:
        human = special.expit(2 * QUALITY * z)
        return np.asarray(
            human * special.expit(QUALITY * z + sign * PULL)
            + (1 - human) * special.expit(-QUALITY * z + sign * PULL)
        )

    return mean_of(right)


ORDERS = "n pairs in both orders, log odds .3 for the first place"
LENGTHS = "n pairs, log odds 2 per relative length"
OWN = "n prompts of 4 pairs, own response chosen in .65, by humans in .55"
PROMPTS = f"n prompts of {SIZE} pairs"
SMALL = (20, 50, 200)


def case(
    name: str,
    scene: str,
    draw: Any,
    kind: Findings,
    finding: str,
    truth: float,
    note: str = "",
) -> IntervalCase:
    """One finding's interval."""
    limits = figure(kind, finding)
    return IntervalCase(
        f"judge-{name}", GROUP, scene, draw, limits, lambda n: truth, note, slow=2, sizes=SMALL
    )


def size(
    name: str, scene: str, draw: Any, kind: Findings, finding: str, note: str = "", **more: Any
) -> TestCase:
    """One finding's test."""
    p = partial(p_value, kind, finding, draw)
    return TestCase(f"judge-{name}", GROUP, scene, p, note, slow=2, sizes=SMALL, **more)


CASES: list[IntervalCase | TestCase] = [
    case("first-place", ORDERS, both_orders, position_bias, "pull of the first place",
         first_place()),
    case("first-place-clustered", f"{PROMPTS}, both orders", partial(both_orders, size=SIZE),
         position_bias, "pull of the first place", first_place()),
    case("consistency", ORDERS, both_orders, position_bias, "consistency under swap", consistent(),
         COUNTED),
    case("consistency-clustered", f"{PROMPTS}, both orders", partial(both_orders, size=SIZE),
         position_bias, "consistency under swap", consistent()),
    case("right-when-first", ORDERS, both_orders, position_bias,
         "right when the better is first", right_given_place(1.0), COUNTED),
    case("gain-of-first", ORDERS, both_orders, position_bias, "gain of the first place",
         right_given_place(1.0) - right_given_place(-1.0)),
    case("accuracy", ORDERS, both_orders, human_agreement, "accuracy",
         (right_given_place(1.0) + right_given_place(-1.0)) / 2),
    case("share-longer", LENGTHS, lengths, length_bias, "share for the longer", longer(LENGTH),
         COUNTED),
    case("excess-longer", f"{LENGTHS}, 1 by humans", lengths, length_bias, "excess for the longer",
         longer(LENGTH) - longer(HUMAN_LENGTH)),
    IntervalCase("judge-length-slope", GROUP, LENGTHS, lengths, slope_less_truth, lambda n: 0.0,
                 SLOPES, slow=4, sizes=SMALL),
    case("excess-own", OWN, own, self_preference, "excess for its own over humans", 0.1),
    case("share-own", OWN, own, self_preference, "share for its own", 0.65),
    case("repeats-agreement", "3 repeats of n questions, chances Beta(.5, .5)", repeats,
         repeat_consistency, "agreement of repeats", 0.75, COUNTED),
    case("repeats-alpha", "3 repeats of n questions, chances Beta(.5, .5)", repeats,
         repeat_consistency, "alpha of repeats", 0.5, COUNTED),
    size("no-first-place", "n pairs in both orders, no pull", partial(both_orders, pull=0.0),
              position_bias, "pull of the first place", exact_or_conservative=True),
    size("no-first-place-clustered", f"{PROMPTS}, both orders, no pull",
              partial(both_orders, pull=0.0, size=SIZE), position_bias, "pull of the first place"),
    size("no-gain-of-first", "n pairs in both orders, no pull",
              partial(both_orders, pull=0.0), position_bias, "gain of the first place", COUNTED),
    size("no-excess-longer", "n pairs, judge and humans alike",
              partial(lengths, human=LENGTH), length_bias, "excess for the longer", COUNTED),
    size("no-length-slope", f"{PROMPTS}, no length bias",
              partial(lengths, judge=0.0, size=SIZE), length_bias, "log odds per length", SLOPES),
    size("no-excess-own", f"{PROMPTS}, judge and humans alike", partial(own, judge=0.55),
              self_preference, "excess for its own over humans"),
]  # fmt: skip
