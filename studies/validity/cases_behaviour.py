"""Privacy, fairness, drift and circuits: what `cases_evaluation` doesn't have."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from simulate import IntervalCase, TestCase, of_estimate

from statllm.estimators.circuits import (
    circuit_equivalence,
    circuit_independence,
    circuit_minimality,
    circuit_necessity,
)
from statllm.estimators.fairness import counterfactual_gap, odds_gap, parity_gap
from statllm.estimators.privacy import (
    epsilon_lower_bound,
    epsilon_of_one_run,
    forget_quality,
    mu_lower_bound,
)
from statllm.estimators.shift import drift_monitor

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]

ABSOLUTE = "Absolute changes are skewed; t of few of them is short on one side."
RATES_OF_FEW = "A success and a failure added to the rates of 20 rows: a little too seldom."

# --- privacy: mechanisms whose loss is known ----------------------------------------------------

EPSILON, MU = 1.0, 1.0
KEPT = float(special.expit(EPSILON))  # a fair coin's bit, told truly by randomised response


def randomised_response(rng: Rng, n: int) -> tuple[int, int, int, int]:
    """FP, runs, FN, runs of an attack that believes what it's told."""
    return int(rng.binomial(n, 1 - KEPT)), n, int(rng.binomial(n, 1 - KEPT)), n


def gaussian_noise(rng: Rng, n: int) -> tuple[int, int, int, int]:
    """The same of N(0, 1) against N(mu, 1) at mu / 2."""
    error = float(special.ndtr(-MU / 2))
    return int(rng.binomial(n, error)), n, int(rng.binomial(n, error)), n


def lower(bound: Any, counts: Any, levels: tuple[float, ...]) -> Limits:
    """Lower bounds."""
    return [(bound(*counts, level=level).low, math.inf) for level in levels]


def guessed(rng: Rng, n: int) -> tuple[int, int, int]:
    """2n canaries, half of which are guessed."""
    return int(rng.binomial(n, KEPT)), n, 2 * n


PRIVACY: list[IntervalCase | TestCase] = [
    IntervalCase("epsilon-bound", "Privacy", "n runs with and n without, randomised response of "
                 "epsilon 1", randomised_response, partial(lower, epsilon_lower_bound),
                 lambda n: EPSILON, conservative=True),
    IntervalCase("mu-bound", "Privacy", "n runs with and n without, Gaussian noise of mu 1",
                 gaussian_noise, partial(lower, mu_lower_bound), lambda n: MU, conservative=True),
    IntervalCase("epsilon-one-run", "Privacy", "one run, n guesses of 2n canaries, epsilon 1",
                 guessed, partial(lower, epsilon_of_one_run), lambda n: EPSILON,
                 conservative=True),
    TestCase("forget-quality", "Privacy", "n truth ratios of either model, log-normal",
             lambda rng, n: forget_quality(*np.exp(rng.standard_normal((2, n)))).p_value,
             exact_or_conservative=True),
    TestCase("forget-quality-paired", "Privacy", "n truth ratios of either model, same questions",
             lambda rng, n: forget_quality(
                 *np.exp(rng.standard_normal((2, n)) + rng.standard_normal(n))).p_value,
             exact_or_conservative=True),
]  # fmt: skip

# --- fairness -----------------------------------------------------------------------------------

RATES = (0.9, 0.8, 0.7)  # true-positive rates of three groups; false-positive ones are .2
GAP = 0.1


def templates(rng: Rng, n: int) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """n templates of 1 to 9 pairs of prompts; the swapped one scores .1 more."""
    group = np.repeat(np.arange(n), rng.integers(1, 10, n))
    shift = GAP + 0.3 * rng.standard_normal(n)[group]
    score = rng.standard_normal(len(group))
    return score, score + shift + 0.3 * rng.standard_normal(len(group)), group


def decisions(rng: Rng, n: int, rates: tuple[float, ...] = RATES) -> tuple[FloatArray, ...]:
    """n rows of either truth in each of three groups."""
    group = np.repeat(np.arange(len(rates)), 2 * n)
    truth = np.tile(np.repeat([1.0, 0.0], n), len(rates))
    chance = np.where(truth == 1, np.asarray(rates)[group], 0.2)
    return (rng.random(len(group)) < chance) * 1.0, truth, group


def by_template(rng: Rng, n: int, apart: tuple[float, ...]) -> tuple[FloatArray, ...]:
    """n templates with two rows of each group, and effects of their own."""
    group = np.tile(np.repeat(np.arange(3), 2), n)
    template = np.repeat(np.arange(n), 6)
    shared = rng.standard_normal(n)[template] + rng.standard_normal(len(group))
    return shared + np.asarray(apart)[group], group, template


def opportunity(data: Any) -> Any:
    """The gap of true-positive rates."""
    return odds_gap(*data)["true_positive_rate"].gap


FAIRNESS: list[IntervalCase | TestCase] = [
    IntervalCase("counterfactual-gap", "Groups", "n templates of 1 to 9 pairs", templates,
                 of_estimate(lambda d: counterfactual_gap(*d)), lambda n: GAP),
    IntervalCase("counterfactual-absolute", "Groups", "n pairs, changes exponential",
                 lambda rng, n: (np.zeros(n), rng.exponential(size=n) * rng.choice([-1, 1], n)),
                 of_estimate(lambda d: counterfactual_gap(*d, absolute=True)), lambda n: 1.0,
                 ABSOLUTE),
    IntervalCase("opportunity-gap", "Groups", "n positive and n negative rows in 3 groups, found "
                 "in .9, .8, .7", decisions, of_estimate(opportunity), lambda n: 0.2, slow=2,
                 conservative=True),
    IntervalCase("group-gap-clustered", "Groups", "n templates with two rows of each of 3 groups, "
                 "means 0, .5, 1", partial(by_template, apart=(0.0, 0.5, 1.0)),
                 of_estimate(lambda d: parity_gap(*d).gap), lambda n: 1.0, slow=2,
                 conservative=True),
    IntervalCase("group-gap-scores", "Groups", "n exponential scores in each of 3 groups, means "
                 "1, 1, 2", lambda rng, n: (rng.exponential(size=3 * n)
                                            * np.repeat([1.0, 1.0, 2.0], n),
                                            np.repeat([0, 1, 2], n)),
                 of_estimate(lambda d: parity_gap(*d).gap), lambda n: 1.0, slow=2,
                 conservative=True),
    TestCase("counterfactual-none", "Groups", "n templates of 1 to 9 pairs, no gap",
             lambda rng, n: no_gap(rng, n)),
    TestCase("opportunity-equal", "Groups", "n positive rows in each of 3 groups, found in .8",
             lambda rng, n: odds_gap(*decisions(rng, n, (0.8,) * 3))["true_positive_rate"]
             .test.p_value, RATES_OF_FEW),
]  # fmt: skip


def no_gap(rng: Rng, n: int) -> float:
    """Whether the 90, 95 and 99 % intervals leave out 0, as a p-value between them."""
    score, swapped, group = templates(rng, n)
    found = counterfactual_gap(score, swapped - GAP, group)
    for alpha in (0.01, 0.05, 0.1):
        if 0 not in found.interval(1 - alpha):
            return alpha
    return 1.0


# --- drift and circuits --------------------------------------------------------------------------

MARGIN = 0.1


def at_the_margin(rng: Rng, n: int, equivalent: bool) -> float:
    """The circuit wins in .6, the least favourable case of either hypothesis."""
    wins = (rng.random(n) < 0.5 + MARGIN) * 1.0
    return circuit_equivalence(wins, np.full(n, 0.5), MARGIN, equivalent).p_value


def any_edge(rng: Rng, n: int) -> float:
    """Eight edges, each at the random ones' .9 quantile; the smallest adjusted p."""
    found = circuit_minimality(np.full(8, 0.9), rng.random(n))
    return float(np.exp(found.log_p_adjusted.min()))


OTHERS: list[IntervalCase | TestCase] = [
    TestCase("drift-monitor", "Shift", "100 reference scores and n of the same law, tied; read at "
             "every look", lambda rng, n: float(np.exp(drift_monitor(
                 np.round(rng.exponential(size=100), 1), np.round(rng.exponential(size=n), 1),
                 rng).log_p[-1])), slow=4, exact_or_conservative=True),
    TestCase("circuit-necessity", "Circuits", "n random circuits, the candidate at their .9 "
             "quantile", lambda rng, n: circuit_necessity(0.9, rng.random(n)).p_value,
             exact_or_conservative=True),
    TestCase("circuit-minimality", "Circuits", "n random edges; any of 8 at their .9 quantile",
             any_edge, slow=4, exact_or_conservative=True),
    TestCase("circuit-equivalence", "Circuits", "n inputs, won in .6; differs by more than .1?",
             partial(at_the_margin, equivalent=False), exact_or_conservative=True),
    TestCase("circuit-equivalence-shown", "Circuits", "n inputs, won in .6; within .1?",
             partial(at_the_margin, equivalent=True), exact_or_conservative=True),
    TestCase("circuit-independence", "Circuits", "n inputs, scores exponential and independent",
             lambda rng, n: circuit_independence(
                 rng.exponential(size=n), rng.exponential(size=n), 199, rng).p_value,
             slow=4, sizes=(20, 50), exact_or_conservative=True),
]  # fmt: skip

CASES = [*PRIVACY, *FAIRNESS, *OTHERS]
