"""Intervals of figures over k and within budgets, of designs with weights and judges, and more."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, special, stats
from simulate import IntervalCase

from statllm.estimators.agreement import category_counts, gwet_ac
from statllm.estimators.comparison import crossed_mean, mean_estimate, median_difference
from statllm.estimators.design import Design, compare
from statllm.estimators.passk import accuracy_within_budget, best_at_k, majority_at_k
from statllm.estimators.ranking import battles, bradley_terry
from statllm.estimators.resampling import bootstrap_quantile, bootstrap_statistic
from statllm.estimators.winrate import (
    Answers,
    controlled_win_rate,
    instruction_difficulty,
    length_controlled,
)
from statllm.ragged import Ragged
from statllm.results import Estimate

FLOOR = (
    "The error of two crossed ways is never taken below that of one of them, and t has the degrees "
    "of freedom of the fewer levels: a little too long where items are few, too."
)
FEW_CLUSTERS = "Percentile limits are short where clusters are few, of medians as of means."

NEAR_ONE = (
    "With many problems only the five seeds' own shares vary, which near 1 have a long tail below."
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
Levels = tuple[float, ...]


def limits_of(estimate: Estimate, levels: Levels) -> Limits:
    """Its interval at each level."""
    found = [estimate.interval(level) for level in levels]
    return [(each.low, each.high) for each in found]


# --- n tasks of 8 samples: the right answer has a share Beta(2, 2), two wrong ones the rest -------

SAMPLES, K = 8, 4


def votes(rng: Rng, n: int, samples: int = SAMPLES) -> NDArray[np.int64]:
    """Answers (n, samples): 0 is right."""
    right, split = rng.beta(2, 2, n), rng.random(n)
    upto = np.stack([right, right + (1 - right) * split], axis=1)
    return (rng.random((n, samples))[:, :, None] > upto[:, None, :]).sum(axis=2)


def majority(answers: NDArray[np.int64], levels: Levels) -> Limits:
    """Interval of maj@4."""
    right = Ragged.from_lists((answers == 0).astype(float).tolist())
    named = Ragged.from_lists(answers.astype(str).tolist(), object)
    return limits_of(mean_estimate(majority_at_k(named, right, [K])[:, 0]), levels)


@cache
def majority_truth() -> float:
    """By two million tasks: an error of .0003."""
    drawn = votes(np.random.default_rng(0), 2_000_000, K)
    count = np.stack([(drawn == answer).sum(axis=1) for answer in range(3)], axis=1)
    first = count == count.max(axis=1, keepdims=True)
    return float(np.mean(first[:, 0] / first.sum(axis=1)))


def judged(rng: Rng, n: int, samples: int = SAMPLES) -> tuple[FloatArray, FloatArray]:
    """Verdicts, and rewards that are these with normal noise."""
    right = (votes(rng, n, samples) == 0).astype(float)
    return right, right + rng.normal(size=right.shape)


def best(data: tuple[FloatArray, FloatArray], levels: Levels) -> Limits:
    """Interval of best@4."""
    right, reward = (Ragged.from_lists(x.tolist()) for x in data)
    return limits_of(mean_estimate(best_at_k(reward, right, [K])[:, 0]), levels)


@cache
def best_truth() -> float:
    """By two million tasks."""
    right, reward = judged(np.random.default_rng(1), 2_000_000, K)
    return float(np.take_along_axis(right, reward.argmax(axis=1)[:, None], axis=1).mean())


def long_answers(rng: Rng, n: int) -> tuple[FloatArray, FloatArray]:
    """Verdicts, and exponential lengths of mean 100 (1.5 - p): hard tasks take longer."""
    p = rng.beta(2, 2, n)[:, None]
    right = rng.random((n, SAMPLES)) < p
    return right.astype(float), rng.exponential(100 * (1.5 - p), (n, SAMPLES))


def within(data: tuple[FloatArray, FloatArray], levels: Levels) -> Limits:
    """Interval of the accuracy within 100 tokens."""
    right, length = (Ragged.from_lists(x.tolist()) for x in data)
    return limits_of(mean_estimate(accuracy_within_budget(right, length, [100])[:, 0]), levels)


@cache
def within_truth() -> float:
    """E p (1 - exp(-1 / (1.5 - p)))."""
    value, _ = integrate.quad(
        lambda p: p * -np.expm1(-1 / (1.5 - p)) * stats.beta.pdf(p, 2, 2), 0, 1
    )
    return float(value)


# --- battles and win rates ------------------------------------------------------------------------

STRENGTH, STEP = np.array([0.6, 0.2, -0.1, -0.7]), 0.4


def with_ties(rng: Rng, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Battles by Rao and Kupper's model."""
    a = rng.integers(0, 4, n)
    b = (a + rng.integers(1, 4, n)) % 4
    gap, drawn = STRENGTH[a] - STRENGTH[b], rng.random(n)
    win, loss = special.expit(gap - STEP), special.expit(-gap - STEP)
    return a, b, np.where(drawn < win, 1.0, np.where(drawn < win + loss, 0.0, 0.5))


def rao_kupper(data: Any, levels: Levels) -> Limits:
    """Difference of the first two models."""
    fitted = bradley_terry(battles(*data), ties="rao-kupper", scale=1.0)
    found = [fitted.differences(level) for level in levels]
    return [(float(each.low[0]), float(each.high[0])) for each in found]


def styled(rng: Rng, n: int) -> tuple[FloatArray, FloatArray]:
    """Covariate N(.5, 1), and wins with log odds .8 z - .4."""
    z = rng.normal(0.5, 1, n)
    return (rng.random(n) < special.expit(0.8 * z - 0.4)).astype(float), z


def effect(data: tuple[FloatArray, FloatArray], levels: Levels) -> Limits:
    """What the covariate does to the win rate at equality."""
    return limits_of(controlled_win_rate(*data).effects[0], levels)


def six_models(rng: Rng, n: int) -> list[Answers]:
    """Log odds -.2 + lead / 2 + the instruction's N(0, 1)."""
    easy, models = rng.normal(size=n), []
    for number in range(6):
        mine, other = rng.gamma(4, 50 + 10 * number, n), rng.gamma(4, 50, n)
        lead = np.tanh((mine - other) / np.std(mine - other, ddof=1))
        wins = rng.random(n) < special.expit(-0.2 + 0.5 * lead + easy)
        models.append(Answers(range(n), wins, mine, other))
    return models


def by_difficulty(models: list[Answers], levels: Levels) -> Limits:
    """Length-controlled rate of the first, difficulty by the others."""
    known = instruction_difficulty(models[1:])
    return limits_of(length_controlled(models[0], known).win_rate, levels)


@cache
def rate_at_equal_length() -> float:
    """E expit(-.2 + N(0, 1))."""
    value, _ = integrate.quad(lambda x: special.expit(x - 0.2) * stats.norm.pdf(x), -10, 10)
    return float(value)


# --- designs --------------------------------------------------------------------------------------

JUDGES = 8


def weighted(rng: Rng, n: int) -> Design:
    """Weights log-normal (sd .5); the difference grows with them, .2 log w, and noise."""
    weight, a = rng.lognormal(0, 0.5, n), rng.normal(size=n)
    b = a + 0.2 * np.log(weight) + rng.normal(size=n)
    return Design.from_columns(
        score=np.concatenate([a, b]), item=np.tile(np.arange(n), 2),
        model=np.repeat(["a", "b"], n), weight=np.tile(weight, 2),
    )  # fmt: skip


def by_judges(rng: Rng, n: int) -> Design:
    """Items and judges both differ in what they think of b."""
    item, judge = np.repeat(np.arange(n), JUDGES), np.tile(np.arange(JUDGES), n)
    gap = 0.2 + rng.normal(0, 0.5, n)[item] + rng.normal(0, 0.4, JUDGES)[judge]
    a = rng.normal(size=len(item))
    return Design.from_columns(
        score=np.concatenate([a, a + gap + rng.normal(size=len(item))]), item=np.tile(item, 2),
        model=np.repeat(["a", "b"], len(item)), judge=np.tile(judge, 2),
    )  # fmt: skip


def difference(design: Design, levels: Levels) -> Limits:
    """Of b less a, judges a sample where there are some."""
    judges = "fixed" if design.judge is None else "random"
    return limits_of(compare(design, "a", "b", judges=judges).difference, levels)


def seeds(rng: Rng, n: int) -> FloatArray:
    """Scores of 5 training seeds on n problems."""
    table = 0.3 + rng.normal(0, 0.3, (5, 1)) + rng.normal(0, 0.7, (1, n))
    return np.asarray(table + rng.normal(size=(5, n)))


def nearly_all_right(rng: Rng, n: int) -> FloatArray:
    """Verdicts of 5 seeds on n problems, right with probability seed x problem, .98 x .95 / .98."""
    of_seed, of_problem = rng.beta(98, 2, (5, 1)), rng.beta(9.5, 0.3, (1, n))
    return (rng.random((5, n)) < of_seed * of_problem).astype(float)


# --- others ---------------------------------------------------------------------------------------

SHARES = np.array([0.6, 0.3, 0.1])


def graded(rng: Rng, n: int) -> NDArray[np.int64]:
    """Three raters: the unit's own category with probability .7, else any."""
    own = rng.choice(3, n, p=SHARES)[:, None]
    other = rng.choice(3, (n, 3), p=SHARES)
    return np.where(rng.random((n, 3)) < 0.7, own, other)


def ac2(ratings: NDArray[np.int64], levels: Levels) -> Limits:
    """Gwet's AC2 with quadratic weights."""
    return limits_of(gwet_ac(category_counts(ratings, [0, 1, 2]), weights="quadratic"), levels)


def ac2_truth() -> float:
    """Both raters follow the unit in .49 of cases, and are independent in the rest."""
    weights = 1 - (np.arange(3)[:, None] - np.arange(3)) ** 2 / 4
    agree = 0.49 + 0.51 * float(SHARES @ weights @ SHARES)
    chance = float(weights.sum()) / 6 * float((SHARES * (1 - SHARES)).sum())
    return (agree - chance) / (1 - chance)


def sizes_of_clusters(rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """n clusters of 1 to 7 rows with a normal part in common."""
    size = rng.integers(1, 8, n)
    cluster = np.repeat(np.arange(n), size)
    return rng.normal(size=n)[cluster] + rng.normal(size=len(cluster)), cluster


def pairs_of_scores(rng: Rng, n: int) -> tuple[FloatArray, FloatArray]:
    """b - a is exponential."""
    a = rng.normal(size=n)
    return a, a + rng.exponential(size=n)


def correlated(rng: Rng, n: int) -> FloatArray:
    """Bivariate normal, correlation .6."""
    return rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], n)


def correlation(rows: FloatArray) -> float:
    """Pearson's."""
    return float(np.corrcoef(rows.T)[0, 1])


TASKS = "n tasks of 8 samples, the right answer's share Beta(2, 2)"
CASES = [
    IntervalCase("majority-at-4", "Repeated samples", f"{TASKS}, two wrong answers", votes,
                 majority, lambda n: majority_truth(), sizes=(20, 50, 200), slow=2),
    IntervalCase("best-at-4", "Repeated samples", f"{TASKS}, reward with noise of sd 1", judged,
                 best, lambda n: best_truth(), sizes=(20, 50, 200), slow=2),
    IntervalCase("accuracy-within-budget", "Repeated samples",
                 f"{TASKS}, exponential lengths, 100 tokens", long_answers, within,
                 lambda n: within_truth(), sizes=(20, 50, 200), slow=2),
    IntervalCase("ranking-rao-kupper", "Ratings and ranks",
                 "difference of two of 4 models, n battles",
                 with_ties, rao_kupper, lambda n: 0.4, sizes=(50, 200, 1000), slow=4),
    IntervalCase("win-rate-effect", "Win rates", "effect of a covariate N(.5, 1), n answers",
                 styled, effect,
                 lambda n: 0.8 * float(special.expit(-0.4) * special.expit(0.4)),
                 sizes=(50, 200, 1000), slow=2),
    IntervalCase("win-rate-length-controlled-difficulty", "Win rates",
                 "n instructions, difficulty by 5 other models", six_models, by_difficulty,
                 lambda n: rate_at_equal_length(), sizes=(50, 200), slow=4),
    IntervalCase("difference-weighted", "Means, differences, ratios",
                 "n items with log-normal weights that the difference depends on", weighted,
                 difference, lambda n: 0.05, sizes=(20, 50, 200), slow=2),
    IntervalCase("difference-random-judges", "Means, differences, ratios",
                 "n items, 8 judges drawn from many, all by all", by_judges, difference,
                 lambda n: 0.2, FLOOR, sizes=(20, 50, 200), slow=2),
    IntervalCase("crossed-mean", "Means, differences, ratios",
                 "5 training seeds, n problems", seeds,
                 lambda data, levels: limits_of(crossed_mean(data), levels), lambda n: 0.3),
    IntervalCase("crossed-share-near-1", "Means, differences, ratios",
                 "5 training seeds, n problems, a share of .95 right", nearly_all_right,
                 lambda data, levels: limits_of(crossed_mean(data).as_share(len(data[0])), levels),
                 lambda n: 0.95, NEAR_ONE),
    IntervalCase("median-difference", "Means, differences, ratios", "n pairs, b - a exponential",
                 pairs_of_scores,
                 lambda data, levels: limits_of(median_difference(*data), levels),
                 lambda n: float(np.log(2)), sizes=(20, 50, 200), slow=2, conservative=True),
    IntervalCase("bootstrap-percentile-median-clustered", "Bootstrap",
                 "median of n clusters of 1 to 7 rows, 999 resamples", sizes_of_clusters,
                 lambda data, levels: limits_of(
                     bootstrap_quantile(data[0], 0.5, data[1], resamples=999).estimate(), levels),
                 lambda n: 0.0, FEW_CLUSTERS, sizes=(20, 50, 200), slow=4),
    IntervalCase("bootstrap-bca-correlation", "Bootstrap",
                 "correlation .6 of n normal pairs, 399 resamples", correlated,
                 lambda data, levels: limits_of(
                     bootstrap_statistic(data, correlation, resamples=399).estimate(), levels),
                 lambda n: 0.6, sizes=(20, 50), slow=8),
    IntervalCase("gwet-ac2", "Agreement", "n units, 3 ordered categories, 3 raters", graded, ac2,
                 lambda n: ac2_truth(), sizes=(20, 50, 200), slow=2),
]  # fmt: skip
