"""Bootstrap intervals, means over groups and two ways, and tests by ranks, signs, permutation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulate import IntervalCase, TestCase, of_estimate

from statllm.estimators.comparison import (
    cochran_q,
    equivalence,
    macro_mean,
    non_inferiority,
    paired_difference,
    quantile_estimate,
    sign_test,
    signed_rank,
    size_weighted_mean,
    t_test,
    two_way_mean,
    unpaired_difference,
)
from statllm.estimators.resampling import (
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_quantile,
    bootstrap_ratio,
    permutation_test,
    sign_flip_test,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
RESAMPLES = 999
SMALLER = (20, 50, 200)  # where every resample is drawn unit by unit
JUDGES = 10
GROUPS = 4

FEW_AND_SKEWED = (
    "A bootstrap takes the sample for the truth: with few skewed units it knows too little of the "
    "tail. Studentised limits are the nearest, basic ones the worst; all come near by n = 200."
)
FEW_ANSWERS = (
    "An accuracy of .9 takes few values, so that coverage lies on either side of its level "
    "(percentile limits of infinitely many resamples: exactly 86.7 / 87.6 at n = 20, 86.4 / 95.7 "
    "at 50, 91.6 / 95.8 at 200), and where nothing is wrong every bootstrap interval is a point. "
    "`proportion` is for shares."
)
FEW_UNITS = (
    "Only studentised limits correct for small n: the others are some 3 points short at n = 20. "
    "Whole numbers make coverage jump with n."
)
MEDIAN = "The median of so few scores has few values in resamples."


# --- intervals -----------------------------------------------------------------------------------


def of_bootstrap(
    make: Callable[..., Any],
    method: str,
    data: tuple[tuple[Any, ...], int],
    levels: tuple[float, ...],
) -> Limits:
    """Limits at each level of one bootstrap, its seed drawn with the data."""
    sample, seed = data
    weights = "bayesian" if method == "bayesian" else "multinomial"
    kind = "percentile" if method == "bayesian" else method
    found = make(*sample, resamples=RESAMPLES, method=kind, weights=weights, rng=seed)
    limits = [found.interval(level) for level in levels]
    return [(each.low, each.high) for each in limits]


def with_seed(draw: Callable[[Rng, int], Any], rng: Rng, n: int) -> tuple[Any, int]:
    """Data, and a seed for resampling them."""
    return draw(rng, n), int(rng.integers(2**32))


def exponential(rng: Rng, n: int) -> tuple[FloatArray]:
    """Exponential scores: mean 1, skewness 2."""
    return (rng.exponential(size=n),)


def right(rng: Rng, n: int) -> tuple[FloatArray]:
    """Right with probability .9."""
    return ((rng.random(n) < 0.9) * 1.0,)


def paired_answers(rng: Rng, n: int) -> tuple[FloatArray]:
    """Differences of two models: b alone right in 20 %, a alone in 15 %."""
    return (rng.choice([1.0, -1.0, 0.0], n, p=[0.2, 0.15, 0.65]),)


def clustered(rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """n clusters of 1 to 9 prompts, exponential in cluster and prompt, mean 0."""
    group = np.repeat(np.arange(n), rng.integers(1, 10, n))
    return rng.exponential(size=n)[group] + rng.exponential(size=len(group)) - 2, group


def tokens(rng: Rng, n: int) -> tuple[FloatArray, FloatArray]:
    """Errors in answers of 5 to 40 steps, a tenth of the steps."""
    steps = rng.integers(5, 41, n)
    return rng.binomial(steps, 0.1) * 1.0, steps * 1.0


def two_samples(rng: Rng, n: int) -> tuple[FloatArray, FloatArray]:
    """Exponential scores of n and 2n prompts."""
    return rng.exponential(size=n), rng.exponential(size=2 * n)


METHODS = ("percentile", "basic", "bca", "studentised", "bayesian")


def _bootstrap(
    what: str,
    scene: str,
    draw: Callable[..., Any],
    make: Callable[..., Any],
    truth: float,
    note: str,
    methods: tuple[str, ...] = METHODS,
    slow: int = 1,
    sizes: tuple[int, ...] = SMALLER,
) -> list[IntervalCase]:
    return [
        IntervalCase(
            f"bootstrap-{method}-{what}", "Bootstrap", scene, partial(with_seed, draw),
            partial(of_bootstrap, make, method), lambda n: truth, note=note, slow=slow,
            sizes=sizes,
        )
        for method in methods
    ]  # fmt: skip


def in_groups(rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Four groups of n, 2n, 3n and 4n prompts with means 0, 1, 2, 3 and spreads 4, 3, 2, 1."""
    group = np.repeat(np.arange(GROUPS), n * np.arange(1, GROUPS + 1))
    return group + (GROUPS - group) * rng.standard_normal(len(group)), group


def judged(rng: Rng, n: int) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """n prompts by 10 judges, both with effects."""
    item, judge = np.repeat(np.arange(n), JUDGES), np.tile(np.arange(JUDGES), n)
    effects = rng.standard_normal(n)[item] + 0.5 * rng.standard_normal(JUDGES)[judge]
    return effects + rng.standard_normal(len(item)), item, judge


def _of(make: Callable[..., Any]) -> Callable[[Any, tuple[float, ...]], Limits]:
    return of_estimate(lambda data: make(*data))


INTERVALS = [
    *_bootstrap("skewed", "mean of n exponential scores", exponential, bootstrap_mean, 1.0,
                FEW_AND_SKEWED, slow=2),
    *_bootstrap("accuracy", "n answers, right with probability .9", right, bootstrap_mean, 0.9,
                FEW_ANSWERS, sizes=(20, 50, 200, 1000)),
    *_bootstrap("paired", "two models on n prompts, one alone right on .2 and .15", paired_answers,
                bootstrap_mean, 0.05, FEW_UNITS, sizes=(20, 50, 200, 1000)),
    *_bootstrap("clustered", "n clusters of 1 to 9 prompts, exponential, correlation .5", clustered,
                bootstrap_mean, 0.0, FEW_AND_SKEWED, slow=2),
    *_bootstrap("ratio", "wrong steps per step, n answers of 5 to 40 steps", tokens,
                bootstrap_ratio, 0.1, FEW_UNITS, ("percentile", "bca", "studentised"), slow=2),
    *_bootstrap("difference", "exponential scores of n and of 2n prompts", two_samples,
                bootstrap_difference, 0.0, FEW_AND_SKEWED, ("percentile", "bca", "studentised"),
                slow=2),
    *_bootstrap("median", "median of n exponential scores", exponential, bootstrap_quantile,
                math.log(2), MEDIAN, ("percentile",), slow=2),
    IntervalCase(
        "quantile-order-statistics", "Bootstrap", "median of n exponential scores", exponential,
        _of(quantile_estimate), lambda n: math.log(2), conservative=True,
    ),
    IntervalCase(
        "macro-mean", "Means, differences, ratios", "groups of n, 2n, 3n, 4n, unlike each other",
        in_groups, _of(macro_mean), lambda n: 1.5,
    ),
    IntervalCase(
        "size-weighted-mean", "Means, differences, ratios",
        "groups of n, 2n, 3n, 4n, unlike each other", in_groups, _of(size_weighted_mean),
        lambda n: 2.0,
    ),
    IntervalCase(
        "unpaired-difference", "Means, differences, ratios",
        "normal scores of n and of 2n prompts, spreads 2 and 1",
        lambda rng, n: (2 * rng.standard_normal(n), rng.standard_normal(2 * n)),
        _of(unpaired_difference), lambda n: 0.0,
    ),
    IntervalCase(
        "two-way-mean", "Means, differences, ratios", f"n prompts by {JUDGES} judges", judged,
        _of(two_way_mean), lambda n: 0.0,
    ),
]  # fmt: skip


# --- tests ---------------------------------------------------------------------------------------


def differences(rng: Rng, n: int, kind: str) -> FloatArray:
    """Differences that are symmetric about 0."""
    if kind == "rated":  # of ratings 1 to 5: many ties and zeros
        a, b = rng.choice([1, 2, 3, 4, 5], (2, n), p=[0.1, 0.1, 0.2, 0.3, 0.3])
        return np.asarray(b - a, np.float64)
    if kind == "right":
        return rng.choice([1.0, -1.0, 0.0], n, p=[0.1, 0.1, 0.8])
    return np.asarray(rng.standard_t(3, n))


def of_differences(rng: Rng, n: int, test: Callable[..., Any], kind: str, **more: Any) -> float:
    """P-value of a test of differences."""
    return float(test(differences(rng, n, kind), **more).p_value)


def random_flips(rng: Rng, n: int) -> float:
    """Sign flips at random, the seed drawn with the data."""
    d = differences(rng, n, "heavy")
    return sign_flip_test(d, method="random", resamples=RESAMPLES, rng=rng).p_value


def clustered_flips(rng: Rng, n: int) -> float:
    """Sign flips of clusters."""
    group = np.repeat(np.arange(n), rng.integers(1, 10, n))
    d = rng.standard_normal(n)[group] + rng.standard_normal(len(group))
    return sign_flip_test(d, group, resamples=RESAMPLES, rng=rng).p_value


def permuted(rng: Rng, n: int, binary: bool) -> float:
    """Two samples of one distribution, n and 2n."""
    x = (rng.random(3 * n) < 0.8) * 1.0 if binary else rng.exponential(size=3 * n)
    return permutation_test(x[:n], x[n:], resamples=RESAMPLES, rng=rng).p_value


def three_models(rng: Rng, n: int, method: str) -> float:
    """Three models, .7 right each, prompts of different difficulty."""
    difficulty = rng.beta(1.4, 0.6, n)
    right_ones = rng.random((n, 3)) < difficulty[:, None]
    return cochran_q(right_ones, method, RESAMPLES, rng).p_value  # type: ignore[arg-type]


def at_the_margin(rng: Rng, n: int, test: Callable[..., Any]) -> float:
    """n clusters of 5 prompts, b worse than a by just the margin."""
    group = np.repeat(np.arange(n), 5)
    d = -0.2 + rng.standard_normal(n)[group] + rng.standard_normal(len(group))
    return float(test(paired_difference(np.zeros(len(d)), d, group), 0.2).p_value)


def welch(rng: Rng, n: int) -> float:
    """Normal scores of n and 2n prompts, spreads 2 and 1."""
    found = unpaired_difference(2 * rng.standard_normal(n), rng.standard_normal(2 * n))
    return t_test(found).p_value


def _test(
    name: str, scene: str, p_value: Callable[[Rng, int], float], exact: bool = False, **more: Any
) -> TestCase:
    return TestCase(name, "Comparison", scene, p_value, exact_or_conservative=exact, **more)


_RATED = "differences of ratings 1 to 5, many 0"
_HEAVY = "differences t with 3 degrees of freedom"
_RIGHT = "two models, discordant .2"

TESTS = [
    _test("welch", "normal scores of n and 2n prompts, spreads 2 and 1", welch),
    _test("non-inferiority", "n clusters of 5, worse by just the margin",
          partial(at_the_margin, test=non_inferiority)),
    _test("equivalence", "n clusters of 5, worse by just the margin",
          partial(at_the_margin, test=equivalence), exact=True),
    _test("sign-test", _HEAVY, partial(of_differences, test=sign_test, kind="heavy"), exact=True),
    *(
        _test(f"signed-rank-{name}", scene,
              partial(of_differences, test=signed_rank, kind=kind, **more), exact=exact,
              sizes=(20, 50, 200))
        for name, scene, kind, exact, more in (
            ("exact", _HEAVY, "heavy", True, {"method": "exact"}),
            ("ties-pratt", _RATED, "rated", True, {"method": "exact"}),
            ("ties-wilcoxon", _RATED, "rated", True, {"method": "exact", "zeros": "wilcoxon"}),
            ("normal", _RATED, "rated", False, {"method": "normal"}),
        )
    ),
    _test("cochran-q-exact", "three models on n prompts, .7 right each",
          partial(three_models, method="exact"), exact=True, sizes=(20, 50), slow=2),
    _test("cochran-q-permutation", "three models on n prompts, .7 right each",
          partial(three_models, method="permutation"), exact=True),
    _test("cochran-q-chi-squared", "three models on n prompts, .7 right each",
          partial(three_models, method="chi-squared")),
    _test("sign-flips-answers", _RIGHT,
          partial(of_differences, test=sign_flip_test, kind="right"), exact=True),
    _test("sign-flips-ratings", _RATED,
          partial(of_differences, test=sign_flip_test, kind="rated"), exact=True),
    _test("sign-flips-random", _HEAVY, random_flips),
    _test("sign-flips-clusters", "n clusters of 1 to 9 prompts, correlation .5", clustered_flips),
    _test("permutation-answers", "two data sets of n and 2n, .8 right",
          partial(permuted, binary=True), exact=True),
    _test("permutation-scores", "exponential scores of n and 2n prompts",
          partial(permuted, binary=False), sizes=SMALLER),
]  # fmt: skip

CASES: list[IntervalCase | TestCase] = [*INTERVALS, *TESTS]
