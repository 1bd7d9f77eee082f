"""Intervals of shares, means, differences, reward spreads and rater noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, special, stats
from simulate import IntervalCase, of_estimate

from statllm.estimators.comparison import mean_estimate, paired_difference, ratio_estimate
from statllm.estimators.proportions import clopper_pearson, goodman, jeffreys, proportion, wilson
from statllm.estimators.raters import rater_noise
from statllm.estimators.rewards import reward_summary
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]
PER_CLUSTER = 5
RESPONSES = 8  # of a prompt, in the scenes about rewards

DISCRETE = (
    "A count is discrete: at one n and one p the exact coverage lies on either side of the "
    "nominal one, and only its mean over p is close to it (the cases `over-p`). Clopper-Pearson "
    "never falls below."
)
SKEWED = (
    "A mean of few skewed values isn't t: where hardly any answer is wrong, or a tail is long, "
    "the interval misses on one side until n is in the hundreds. For a share use `proportion`."
)
DISCRETE_DIFFERENCE = (
    "Hardly any pair is discordant at n = 20 and 50, so that the difference takes few values, and "
    "with none the interval is a point. McNemar's exact test answers the same question."
)
VARIANCE_OF_FEW = (
    "The gaps have a long tail, and how far the variance is off depends on the few in it. The "
    "jackknife of the logarithm is the best of the intervals tried, and still too short below "
    "some hundred prompts."
)


# --- shares -------------------------------------------------------------------------------------


def share_case(name: str, method: Callable[..., Any], p: float, **more: Any) -> IntervalCase:
    """One interval for a share at one p."""
    return IntervalCase(
        f"{name}-{p:g}", "Shares", f"n answers, right with probability {p:g}",
        lambda rng, n: (rng.binomial(n, p), n),
        lambda data, levels: [method(*data, level) for level in levels],
        lambda n: p, **more,
    )  # fmt: skip


def share_over_p(name: str, method: Callable[..., Any]) -> IntervalCase:
    """The mean coverage over p."""

    def draw(rng: Rng, n: int) -> tuple[int, int, float]:
        p = rng.uniform()
        return int(rng.binomial(n, p)), n, p

    def intervals(data: tuple[int, int, float], levels: tuple[float, ...]) -> Limits:
        found = [method(data[0], data[1], level) for level in levels]
        return [(low - data[2], high - data[2]) for low, high in found]

    scene = "n answers, right with a probability drawn from (0, 1) each time"
    return IntervalCase(f"{name}-over-p", "Shares", scene, draw, intervals, lambda n: 0.0)


def all_shares(data: tuple[NDArray[np.int64], FloatArray], levels: tuple[float, ...]) -> Limits:
    """Goodman's limits for all categories at once, less the truth."""
    counts, p = data
    found = [goodman(counts, counts.sum(), len(p), level) for level in levels]
    return [(float((low - p).max()), float((high - p).min())) for low, high in found]


OPTIONS = np.array([0.6, 0.2, 0.15, 0.05])

SHARES = [
    *(share_case("wilson", wilson, p, note=DISCRETE) for p in (0.5, 0.95)),
    *(share_case("jeffreys", jeffreys, p, note=DISCRETE) for p in (0.5, 0.95)),
    *(share_case("clopper-pearson", clopper_pearson, p, conservative=True) for p in (0.5, 0.95)),
    share_over_p("wilson", wilson),
    share_over_p("jeffreys", jeffreys),
    IntervalCase(
        "goodman-all-four", "Shares", "n answers A to D, shares .6, .2, .15, .05; all four hold",
        lambda rng, n: (rng.multinomial(n, OPTIONS), OPTIONS), all_shares, lambda n: 0.0,
        conservative=True,
    ),
]  # fmt: skip


# --- means, differences and ratios --------------------------------------------------------------


def clusters(n: int) -> NDArray[np.int64]:
    """Labels of n clusters."""
    return np.repeat(np.arange(n), PER_CLUSTER)


def clustered_answers(
    rng: Rng, n: int, right: tuple[float, ...]
) -> tuple[list[FloatArray], NDArray[np.int64]]:
    """Right or wrong, for models of the given accuracies on the same prompts, n clusters.

    Difficulty is half the cluster's and half the prompt's; models share half of it.
    """
    group = clusters(n)
    shared = rng.standard_normal(n)[group] * 0.5 + rng.standard_normal(len(group)) * 0.5
    out = []
    for p in right:
        latent = shared + rng.standard_normal(len(group)) * np.sqrt(0.5)
        out.append((latent < stats.norm.ppf(p)).astype(np.float64))
    return out, group


def paired_answers(rng: Rng, n: int, right: tuple[float, ...]) -> list[FloatArray]:
    """Right or wrong, for models of the given accuracies on the same n prompts."""
    shared = rng.standard_normal(n)
    return [
        (np.sqrt(0.5) * (shared + rng.standard_normal(n)) < stats.norm.ppf(p)).astype(np.float64)
        for p in right
    ]


def clustered_mean(rng: Rng, n: int, sizes: str = "equal") -> tuple[FloatArray, NDArray[np.int64]]:
    """Rewards with mean 0 in n clusters, of 5 or of 1 to 20 responses."""
    lengths = np.full(n, PER_CLUSTER) if sizes == "equal" else rng.integers(1, 21, n)
    group = np.repeat(np.arange(n), lengths)
    return rng.standard_normal(n)[group] + rng.standard_normal(len(group)), group


def steps(rng: Rng, n: int) -> tuple[FloatArray, FloatArray]:
    """Wrong steps and steps of n solutions."""
    made = 1 + rng.poisson(6, n)
    return rng.binomial(made, 0.2).astype(np.float64), made.astype(np.float64)


def mean_case(name: str, scene: str, draw: Any, truth: float, note: str = "") -> IntervalCase:
    """`mean_estimate` of what is drawn, a tuple where there are clusters."""

    def estimate(data: Any) -> Any:
        return mean_estimate(*data) if isinstance(data, tuple) else mean_estimate(data)

    return IntervalCase(
        name,
        "Means, differences, ratios",
        scene,
        draw,
        of_estimate(estimate),
        lambda n: truth,
        note,
    )


def difference_case(
    name: str, scene: str, right: tuple[float, float], clustered: bool = False, note: str = ""
) -> IntervalCase:
    """`paired_difference` of two models' answers."""

    def estimate(data: Any) -> Any:
        return paired_difference(*data[0], data[1]) if clustered else paired_difference(*data)

    draw = partial(clustered_answers if clustered else paired_answers, right=right)
    limits = of_estimate(estimate)
    truth = right[1] - right[0]
    group = "Means, differences, ratios"
    return IntervalCase(name, group, scene, draw, limits, lambda n: truth, note)


MEANS = [
    mean_case("mean-rewards", "normal rewards", lambda rng, n: rng.standard_normal(n), 0.0),
    mean_case(
        "mean-lengths", "log-normal response lengths, σ = 1",
        lambda rng, n: rng.lognormal(0, 1, n), float(np.exp(0.5)), SKEWED,
    ),
    mean_case(
        "mean-accuracy-0.5", "right with probability .5",
        lambda rng, n: (rng.random(n) < 0.5).astype(float), 0.5, DISCRETE,
    ),
    mean_case(
        "mean-accuracy-0.95", "right with probability .95",
        lambda rng, n: (rng.random(n) < 0.95).astype(float), 0.95, SKEWED,
    ),
    mean_case(
        "mean-clustered", "normal rewards, n clusters of 5, correlation .5 within",
        clustered_mean, 0.0,
    ),
    mean_case(
        "mean-clustered-sizes", "normal rewards, n clusters of 1 to 20, correlation .5 within",
        partial(clustered_mean, sizes="mixed"), 0.0,
    ),
    IntervalCase(
        "ratio-steps", "Means, differences, ratios", "wrong steps per step, n solutions of 7 steps",
        steps, of_estimate(lambda data: ratio_estimate(*data)), lambda n: 0.2,
    ),
    difference_case("difference", "two models, accuracy .7 and .75, same n prompts", (0.7, 0.75)),
    difference_case(
        "difference-rare", "two models, accuracy .95 and .97", (0.95, 0.97),
        note=DISCRETE_DIFFERENCE,
    ),
    difference_case(
        "difference-clustered", "two models, .7 and .75, n clusters of 5 prompts", (0.7, 0.75), True
    ),
]  # fmt: skip


# --- rewards and raters -------------------------------------------------------------------------

# A prompt's sd is (1 + gamma(2, 1/2)) / 2: mean 1, mean square 1 + 1/8.
MEAN_SD, MEAN_SQUARE = 1.0, 1.125


def prompt_sd(rng: Rng, n: int) -> FloatArray:
    """Spread of each prompt's rewards."""
    return (1 + rng.gamma(2, 0.5, n)) / 2


def rewards(rng: Rng, n: int) -> Any:
    """Normal rewards of 8 responses to each of n prompts, spread by prompt."""
    spread = prompt_sd(rng, n)[:, None]
    table = rng.standard_normal((n, 1)) + spread * rng.standard_normal((n, RESPONSES))
    return reward_summary(Ragged.from_lengths(table.ravel(), np.full(n, RESPONSES)))


@cache
def range_moments() -> tuple[float, float]:
    """Mean and mean square of the range of 8 standard normal numbers, by integration."""
    x = np.linspace(-9, 9, 3601)
    cdf, k = special.ndtr(x), RESPONSES
    mean = integrate.trapezoid(1 - cdf**k - (1 - cdf) ** k, x)
    # E R^2 = 2 E max^2 - 2 E max min, and E max min from the joint density of the extremes.
    low, high = np.meshgrid(x[::4], x[::4], indexing="ij")
    gap = np.maximum(special.ndtr(high) - special.ndtr(low), 0) ** (k - 2)
    density = k * (k - 1) * gap * stats.norm.pdf(low) * stats.norm.pdf(high) * (high > low)
    square = integrate.trapezoid(
        integrate.trapezoid((high - low) ** 2 * density, x[::4], axis=1), x[::4]
    )
    return float(mean), float(square)


def gap_variance() -> float:
    """Variance over prompts of sd times range."""
    mean, square = range_moments()
    return MEAN_SQUARE * square - (MEAN_SD * mean) ** 2


RATER_SD = 0.8  # of one rating, times a factor by prompt
RATINGS = (2, 3, 2, 4)  # of the four responses to a prompt


def ratings(rng: Rng, n: int) -> Any:
    """Four responses to each of n prompts, 2 to 4 ratings each, errors spread by prompt."""
    m = np.tile(RATINGS, n)
    quality = (prompt_sd(rng, n)[:, None] * rng.standard_normal((n, len(RATINGS)))).ravel()
    error = np.repeat(RATER_SD * prompt_sd(rng, n), len(RATINGS))
    flat = np.repeat(quality, m) + np.repeat(error, m) * rng.standard_normal(int(m.sum()))
    import pyarrow as pa

    inner = pa.LargeListArray.from_arrays(np.append(0, np.cumsum(m)), pa.array(flat))
    return rater_noise(pa.LargeListArray.from_arrays(np.arange(n + 1) * len(RATINGS), inner))


RATER_VARIANCE = RATER_SD**2 * MEAN_SQUARE
NOISE = RATER_VARIANCE * float(np.mean([1 / m for m in RATINGS]))


def reward_case(
    name: str, draw: Any, read: Callable[[Any], Any], truth: Callable[[], float], note: str = ""
) -> IntervalCase:
    """A figure of `reward_summary` or `rater_noise`."""
    scene = {
        rewards: "8 normal rewards to each of n prompts, spread by prompt",
        ratings: "4 responses to each of n prompts, 2 to 4 ratings each",
    }[draw]
    return IntervalCase(
        name, "Rewards and raters", scene, draw, of_estimate(read), lambda n: truth(), note
    )


FEW_PROMPTS = (
    "A mean, or ratio, of variances that differ much between prompts is skewed: with 20 or 50 "
    "prompts the t interval ends too low."
)

REWARDS = [
    reward_case(
        "within-variance", rewards, lambda r: r.within_variance(), lambda: MEAN_SQUARE, FEW_PROMPTS
    ),
    reward_case(
        "gap-mean", rewards, lambda r: r.gap_mean(), lambda: MEAN_SD * range_moments()[0],
        FEW_PROMPTS,
    ),
    reward_case(
        "gap-variance", rewards, lambda r: r.gap_variance(), gap_variance, VARIANCE_OF_FEW
    ),
    reward_case(
        "rater-variance", ratings, lambda r: r.pooled_rater_variance(), lambda: RATER_VARIANCE,
        FEW_PROMPTS,
    ),
    reward_case(
        "reward-variance", ratings, lambda r: r.mean_reward_variance(),
        lambda: MEAN_SQUARE + NOISE, FEW_PROMPTS,
    ),
    reward_case(
        "noise-variance", ratings, lambda r: r.mean_noise_variance(), lambda: NOISE, FEW_PROMPTS
    ),
    reward_case(
        "between-variance", ratings, lambda r: r.mean_between_variance(), lambda: MEAN_SQUARE,
        FEW_PROMPTS,
    ),
    reward_case(
        "reliability", ratings, lambda r: r.reliability(),
        lambda: MEAN_SQUARE / (MEAN_SQUARE + NOISE), FEW_PROMPTS,
    ),
]  # fmt: skip

CASES: list[IntervalCase] = [
    *SHARES,
    IntervalCase(
        "proportion-estimate", "Shares", "n answers, right with probability .8",
        lambda rng, n: (int(rng.binomial(n, 0.8)), n), of_estimate(lambda d: proportion(*d)),
        lambda n: 0.8, DISCRETE,
    ),
    *MEANS,
    *REWARDS,
]  # fmt: skip
