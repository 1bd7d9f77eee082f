"""Intervals and tests of evaluations: curves over k, variance components, groups, shift."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from simulate import IntervalCase, TestCase

from statllm.estimators.circuits import circuit_sufficiency
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.fairness import gaps, parity_gap, word_association
from statllm.estimators.passk import all_at_k, curve, pass_at_k
from statllm.estimators.privacy import model_utility, tpr_at_fpr
from statllm.estimators.sequential import asymptotic_mean, bernoulli_mean, betting_mean
from statllm.estimators.shift import classifier_test, energy_test, hsic_test, mmd_test
from statllm.estimators.variance_components import Factors, moments, reml
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]

gaps._DRAWS = 10_000  # of the largest |z|: enough for a simulation

FEW_HARD_TASKS = (
    "pass@8 is near 1 on most tasks and 0 on a few: with 20 tasks a mean of such values isn't t."
)
WALD = (
    "Wald's statistic takes the groups' own variances, which with 20 answers a group are too small "
    "now and then: 1.8 % at the 1 % level, right at 5 % and from 50 answers on."
)
BOUNDARY = (
    "REML's profile likelihood supposes many levels; with few, its interval is somewhat short. "
    "The mean squares' holds where the table is complete."
)


def limits_of(estimate: Estimate, levels: tuple[float, ...]) -> Limits:
    """Its interval at each level."""
    found = [estimate.interval(level) for level in levels]
    return [(each.low, each.high) for each in found]


# --- pass@k: success rates Beta(.5, .8), 10 samples a task ---------------------------------------

A, B, SAMPLES = 0.5, 0.8, 10
KS = (1, 2, 4, 8)


def tasks(rng: Rng, n: int) -> NDArray[np.int64]:
    """Successes of n tasks."""
    return np.asarray(rng.binomial(SAMPLES, rng.beta(A, B, n)))


def truth_any(k: int) -> float:
    """1 - E (1 - p)^k."""
    return 1 - math.exp(special.betaln(A, B + k) - special.betaln(A, B))


def truth_all(k: int) -> float:
    """E p^k."""
    return math.exp(special.betaln(A + k, B) - special.betaln(A, B))


def one_k(kind: Callable[..., FloatArray], k: int, c: Any, levels: tuple[float, ...]) -> Limits:
    """The point's own interval."""
    return limits_of(mean_estimate(kind(c, SAMPLES, k)), levels)


def whole_band(c: Any, levels: tuple[float, ...]) -> Limits:
    """The largest low and smallest high after the truth is taken off."""
    truth = np.array([truth_any(k) for k in KS])
    found = [curve(pass_at_k(c, SAMPLES, KS), KS, level=level, rng=0) for level in levels]
    return [(float((f.low - truth).max()), float((f.high - truth).min())) for f in found]


SCENE_K = "n tasks, success rates Beta(.5, .8), 10 samples each"
PASS = [
    IntervalCase(
        f"pass-at-{k}", "Repeated samples", SCENE_K, tasks, partial(one_k, pass_at_k, k),
        lambda n, k=k: truth_any(k), FEW_HARD_TASKS,
    )
    for k in (1, 8)
] + [
    IntervalCase(
        "pass-all-4", "Repeated samples", SCENE_K, tasks, partial(one_k, all_at_k, 4),
        lambda n: truth_all(4), FEW_HARD_TASKS,
    ),
    IntervalCase(
        "pass-at-k-band", "Repeated samples", f"{SCENE_K}; all of k = 1, 2, 4, 8 at once",
        tasks, whole_band, lambda n: 0.0, FEW_HARD_TASKS, slow=8,
    ),
]  # fmt: skip

# --- variance components: n prompts, 5 judges ---------------------------------------------------

JUDGES, TRUTH = 5, {"prompt": 1.0, "judge": 0.25, "residual": 0.64}


def crossed(rng: Rng, n: int, share: float = 1.0) -> Factors:
    """A table of prompts and judges, complete or with a share of its cells."""
    prompt, judge = np.repeat(np.arange(n), JUDGES), np.tile(np.arange(JUDGES), n)
    score = rng.normal(0, 1, n)[prompt] + rng.normal(0, 0.5, JUDGES)[judge]
    score = score + rng.normal(0, 0.8, len(prompt))
    kept = rng.random(len(prompt)) < share
    return Factors.of(score[kept], {"prompt": prompt[kept], "judge": judge[kept]})


def component(which: int, method: Any, data: Factors, levels: tuple[float, ...]) -> Limits:
    """The interval of one component."""
    return limits_of(method(data)[which], levels)


COMPONENTS = [
    IntervalCase(
        f"variance-{name}-moments", "Variance components", "n prompts, 5 judges, complete",
        crossed, partial(component, place, moments), lambda n, v=value: v,
    )
    for place, (name, value) in enumerate(TRUTH.items())
] + [
    IntervalCase(
        f"variance-{name}-reml", "Variance components", "n prompts, 5 judges, 70 % of the cells",
        partial(crossed, share=0.7), partial(component, place, reml), lambda n, v=value: v,
        BOUNDARY, slow=20, sizes=(20, 50),
    )
    for place, (name, value) in enumerate(TRUTH.items())
]  # fmt: skip

# --- groups -------------------------------------------------------------------------------------


def groups(rates: tuple[float, ...], rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """n answers in each of several groups."""
    group = np.repeat(np.arange(len(rates)), n)
    return (rng.random(len(group)) < np.asarray(rates)[group]).astype(np.float64), group


def gap_interval(data: Any, levels: tuple[float, ...]) -> Limits:
    """Of the largest difference."""
    return limits_of(parity_gap(*data).gap, levels)


def ratio_interval(data: Any, levels: tuple[float, ...]) -> Limits:
    """Of the smallest over the largest rate."""
    return limits_of(parity_gap(*data).ratio, levels)


def clustered_gap(rng: Rng, n: int) -> float:
    """n templates, each with two rows of three groups, and an effect of its own on each."""
    group = np.tile(np.repeat(np.arange(3), 2), n)
    template = np.repeat(np.arange(n), 6)
    outcome = rng.normal(size=(n, 3))[template, group] + rng.normal(size=6 * n)
    return parity_gap(outcome, group, template).test.p_value


EQUAL, APART = (0.7,) * 4, (0.9, 0.8, 0.85, 0.6)
GROUPS: list[IntervalCase | TestCase] = [
    IntervalCase(
        "group-gap-apart", "Groups", "n answers in each of 4 groups, right in .9, .8, .85, .6",
        partial(groups, APART), gap_interval, lambda n: 0.3, conservative=True,
    ),
    IntervalCase(
        "group-gap-equal", "Groups", "n answers in each of 4 groups, right in .7",
        partial(groups, EQUAL), gap_interval, lambda n: 0.0, conservative=True,
    ),
    IntervalCase(
        "group-ratio-apart", "Groups", "n answers in each of 4 groups, right in .9, .8, .85, .6",
        partial(groups, APART), ratio_interval, lambda n: 0.6 / 0.9, conservative=True,
    ),
    TestCase(
        "group-rates", "Groups", "n answers in each of 4 groups, right in .7",
        lambda rng, n: parity_gap(*groups(EQUAL, rng, n)).test.p_value, WALD,
    ),
    TestCase(
        "group-means-clustered", "Groups", "n templates with two rows of each of 3 groups",
        clustered_gap,
    ),
    TestCase(
        "word-association", "Groups", "2 times 6 targets, 2 times n attributes, 8 dimensions",
        lambda rng, n: word_association(
            rng.normal(size=(6, 8)), rng.normal(size=(6, 8)),
            rng.normal(size=(n, 8)), rng.normal(size=(n, 8)),
        ).test.p_value,
        slow=4, sizes=(20, 50), exact_or_conservative=True,
    ),
]  # fmt: skip

# --- privacy ------------------------------------------------------------------------------------


def attack(rng: Rng, n: int) -> Any:
    """Scores N(1, 1) of n members, N(0, 1) of n others."""
    return tpr_at_fpr(rng.normal(1, 1, n), rng.normal(0, 1, n), 0.05)


def tpr_less_truth(found: Any, levels: tuple[float, ...]) -> Limits:
    """The truth at the threshold that was made."""
    truth = float(stats.norm.sf(found.threshold, 1, 1))
    limits = limits_of(found.tpr, levels)
    return [(low - truth, high - truth) for low, high in limits]


def utility(data: dict[str, FloatArray], levels: tuple[float, ...]) -> Limits:
    """Of the harmonic mean."""
    return limits_of(model_utility(data), levels)


PARTS = (0.4, 0.7, 0.9)
PRIVACY = [
    IntervalCase(
        "tpr-at-fpr", "Privacy", "n members N(1, 1), n others N(0, 1), FPR .05",
        attack, tpr_less_truth, lambda n: 0.0, conservative=True,
    ),
    IntervalCase(
        "model-utility", "Privacy", "3 sets of n scores of 0/1 with means .4, .7, .9",
        lambda rng, n: {str(p): rng.binomial(1, p, n).astype(float) for p in PARTS},
        utility, lambda n: 3 / sum(1 / p for p in PARTS),
        "The delta method's normal interval, a little short for 20 scores a set.",
    ),
]  # fmt: skip

# --- looked at once, at the end -----------------------------------------------------------------


def ends(method: Any, data: FloatArray, levels: tuple[float, ...]) -> Limits:
    """The last interval of a sequence."""
    found = [method(data, level=level).interval() for level in levels]
    return [(each.low, each.high) for each in found]


SEQUENCES = [
    IntervalCase(
        f"sequence-{name}", "Confidence sequences, looked at once", "n answers, right in .8",
        lambda rng, n: (rng.random(n) < 0.8).astype(float), partial(ends, method), lambda n: 0.8,
        slow=4, sizes=sizes, conservative=True,
    )
    for name, method, sizes in (
        ("bernoulli", bernoulli_mean, (20, 50, 200, 1000)),
        ("betting", betting_mean, (20, 50, 200, 1000)),
        ("asymptotic", asymptotic_mean, (200, 1000)),
    )
]  # fmt: skip

# --- shift and circuits -------------------------------------------------------------------------


def shift_case(name: str, test: Any, slow: int, **more: Any) -> TestCase:
    """n rows of two skewed features on each side."""
    return TestCase(
        name, "Shift", "n rows of two exponential features, twice",
        lambda rng, n: test(
            rng.exponential(size=(n, 2)), rng.exponential(size=(n, 2)), rng=rng, **more
        ).p_value,
        slow=slow, sizes=(20, 50), exact_or_conservative=True,
    )  # fmt: skip


SHIFT = [
    shift_case("mmd", mmd_test, 2, n_permutations=199),
    shift_case("energy-distance", energy_test, 2, n_permutations=199),
    shift_case("hsic", hsic_test, 4, n_permutations=199),
    shift_case("classifier-two-sample", classifier_test, 1),
    TestCase(
        "circuit-sufficiency",
        "Shift",
        "n random circuits, the candidate at their .9 quantile",
        lambda rng, n: circuit_sufficiency(0.9, rng.random(n)).p_value,
        exact_or_conservative=True,
    ),
]

CASES = [*PASS, *COMPONENTS, *GROUPS, *PRIVACY, *SEQUENCES, *SHIFT]
