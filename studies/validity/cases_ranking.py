"""Ratings, ranks and win rates, from n battles (or prompts of some) whose law is known."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from simulate import IntervalCase, TestCase, of_estimate

from statllm.estimators.ranking import (
    Battles,
    battles,
    bootstrap_ratings,
    bradley_terry,
    plackett_luce,
)
from statllm.estimators.winrate import (
    Answers,
    alpaca_eval_win_rate,
    length_controlled,
    length_instructed_win_rate,
    violation_rate,
    win_rate,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Limits = list[tuple[float, float]]

STRENGTH = np.array([0.7, 0.4, 0.2, 0.0, -0.1, -0.4, -0.8])
STRENGTH = STRENGTH - STRENGTH.mean()
EQUAL = np.zeros(len(STRENGTH))
SPREAD = 0.8  # of a model's strength between prompts
PER_PROMPT, JUDGES = 20, 20
RANK = np.arange(1, len(STRENGTH) + 1)

FEW_BATTLES = (
    "50 battles of seven models: the likelihood isn't normal yet, and the samples in which a model "
    "won or lost them all have no interval."
)
PRIOR = (
    "A prior draws ratings together, and takes off variance: too long an interval with few battles."
)
ONE_WAY = "On purpose: what happens where battles of a prompt are taken for independent."
BOOTSTRAP = "A percentile bootstrap of 20 prompts doesn't correct for their small number."


def drawn(
    rng: Rng,
    n: int,
    per: int = 1,
    strength: FloatArray = STRENGTH,
    judges: int = 0,
    davidson: bool = False,
    style: float = 0.0,
    keep: bool = True,
) -> Battles:
    """Battles of random pairs, `per` to each of n prompts, which shift strengths if per > 1."""
    k, total = len(strength), n * per
    i = rng.integers(0, k, total)
    j = (i + rng.integers(1, k, total)) % k
    eta, groups = strength[i] - strength[j], []
    for number in (n if per > 1 else 0, judges):
        if number:
            group = np.repeat(np.arange(n), per) if number == n else rng.integers(0, number, total)
            shift = SPREAD * rng.standard_normal((number, k))
            eta = eta + shift[group, i] - shift[group, j]
            groups.append(group)
    z = rng.standard_normal(total)
    eta = eta + style * z
    weight = np.stack([np.exp(eta / 2), np.full(total, float(davidson)), np.exp(-eta / 2)], axis=1)
    edge = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    outcome = 1 - (rng.random((total, 1)) > edge[:, :2]).sum(axis=1) / 2
    return battles(
        i, j, outcome, clusters=tuple(groups) if groups and keep else None,
        style=z if style else None,
    )  # fmt: skip


def pseudo_true(ways: int) -> FloatArray:
    """The Bradley-Terry maximum of endlessly many battles whose strengths vary by prompt (judge).

    All pairs meet as often, so it solves sum_j P(i beats j) - sigmoid(r_i - r_j) = 0.
    """
    x, w = np.polynomial.hermite_e.hermegauss(80)
    gap = STRENGTH[:, None] - STRENGTH[None, :]
    sd = SPREAD * math.sqrt(2 * ways)
    wins = special.expit(gap[..., None] + sd * x) @ (w / w.sum())

    def score(r: FloatArray) -> FloatArray:
        rest = (wins - special.expit(r[:, None] - r[None, :])).sum(axis=1)
        return np.asarray(rest + r.sum())  # the scale is free: centre it

    return np.asarray(optimize.root(score, STRENGTH, tol=1e-12).x)


BY_PROMPT, BY_BOTH = pseudo_true(1), pseudo_true(2)


def best_rating(data: Battles, levels: tuple[float, ...], **options: Any) -> Limits:
    """The best model's, in nats."""
    found = bradley_terry(data, scale=1, **options)
    limits = [found.interval(level) for level in levels]
    return [(float(low[0]), float(high[0])) for low, high in limits]


def gap_of_two(data: Battles, levels: tuple[float, ...]) -> Limits:
    """Best less second."""
    found = bradley_terry(data, scale=1)
    limits = [found.differences(level) for level in levels]
    return [(float(each.low[0]), float(each.high[0])) for each in limits]


def all_ranks(data: Battles, levels: tuple[float, ...], simultaneous: bool) -> Limits:
    """All seven ranks, or the third model's alone, less the truth."""
    found = bradley_terry(data)
    limits = []
    for level in levels:
        ranks = found.ranks(level, n_draws=1000, simultaneous=simultaneous)
        low, high = ranks.low - RANK, ranks.high - RANK
        if not simultaneous:
            low, high = low[2:3], high[2:3]
        limits.append((float(low.max()), float(high.min())))
    return limits


def bootstrapped(data: Battles, levels: tuple[float, ...]) -> Limits:
    """Percentile limits of the best."""
    found = bootstrap_ratings(data, 200, scale=1)
    limits = [found.interval(level) for level in levels]
    return [(float(low[0]), float(high[0])) for low, high in limits]


def rankings(data: list[list[int]], levels: tuple[float, ...]) -> Limits:
    """Plackett-Luce of the top 4 of 7."""
    found = plackett_luce([r[:4] for r in data], scale=1, unranked=[r[4:] for r in data])
    place = found.models.index(0)
    limits = [found.interval(level) for level in levels]
    return [(float(low[place]), float(high[place])) for low, high in limits]


def any_difference(rng: Rng, n: int, per: int) -> float:
    """Holm's smallest p over 21 pairs of equal models: the family-wise error."""
    found = bradley_terry(drawn(rng, n, per, EQUAL))
    return float(np.exp(found.differences().log_p_holm.min()))


def rated(
    name: str, scene: str, draw: Any, intervals: Any, truth: float, note: str = "", **more: Any
) -> IntervalCase:
    """One interval of ratings or ranks."""
    return IntervalCase(
        f"ranking-{name}", "Ratings and ranks", scene, draw, intervals, lambda n: truth, note,
        **more,
    )  # fmt: skip


SEVEN = "n battles of 7 models; the best one's rating"
IN_PROMPTS = f"n prompts, which shift strengths by .8, {PER_PROMPT} battles each"
BATTLES, PROMPTS = (50, 200, 1000), (20, 50, 200)
prompts = partial(drawn, per=PER_PROMPT)
top, top_prompts = float(STRENGTH[0]), float(BY_PROMPT[0])

RATINGS: list[IntervalCase | TestCase] = [
    rated("model", SEVEN, drawn, best_rating, top, FEW_BATTLES, slow=2, sizes=BATTLES),
    rated("sandwich", f"{SEVEN}, sandwich", drawn, partial(best_rating, covariance="sandwich"),
          top, FEW_BATTLES, slow=2, sizes=BATTLES),
    rated("jeffreys", f"{SEVEN}, Jeffreys' prior", drawn, partial(best_rating, prior="jeffreys"),
          top, PRIOR, slow=2, sizes=BATTLES),
    rated("prior-ties", f"{SEVEN}, a prior tie for each", drawn,
          partial(best_rating, prior="ties"), top, PRIOR, slow=2, sizes=BATTLES),
    rated("davidson", f"{SEVEN}, a third tied, Davidson", partial(drawn, davidson=True),
          partial(best_rating, ties="davidson"), top, FEW_BATTLES, slow=4, sizes=BATTLES),
    rated("style", f"{SEVEN}, style worth .6", partial(drawn, style=0.6),
          partial(best_rating, covariance="sandwich"), top, FEW_BATTLES, slow=4, sizes=(200, 1000)),
    rated("difference", "n battles of 7 models; best less second", drawn, gap_of_two,
          float(STRENGTH[0] - STRENGTH[1]), FEW_BATTLES, slow=2, sizes=BATTLES),
    rated("clustered", f"{IN_PROMPTS}; the best one's", prompts, best_rating, top_prompts,
          slow=4, sizes=PROMPTS),
    rated("clustered-jackknife", f"{IN_PROMPTS}; the best one's, jackknife", prompts,
          partial(best_rating, covariance="jackknife"), top_prompts, slow=8,
          sizes=(20, 50)),
    rated("clusters-ignored", f"{IN_PROMPTS}; the best one's", partial(prompts, keep=False),
          best_rating, top_prompts, ONE_WAY, slow=4, sizes=PROMPTS),
    rated("two-way", f"{IN_PROMPTS}, {JUDGES} judges, who do so too", partial(prompts,
          judges=JUDGES + 1), best_rating, float(BY_BOTH[0]), slow=8, sizes=PROMPTS),
    rated("clustered-bootstrap", f"{IN_PROMPTS}; the best one's, percentile", prompts, bootstrapped,
          top_prompts, BOOTSTRAP, slow=10, sizes=(20, 50)),
    rated("plackett-luce", "n rankings, top 4 of 7 models; the best one's",
          lambda rng, n: np.argsort(-(STRENGTH + rng.gumbel(size=(n, 7))), axis=1).tolist(),
          rankings, top, slow=10, sizes=PROMPTS),
    *(
        rated(f"{kind}{tail}", f"{scene}; {words}", draw,
              partial(all_ranks, simultaneous=kind == "all-ranks"), 0.0, slow=8, sizes=sizes,
              conservative=True)
        for tail, scene, draw, sizes in (
            ("", "n battles of 7 models", drawn, (200, 1000)),
            ("-clustered", IN_PROMPTS, prompts, (20, 50)),
        )
        for kind, words in (("all-ranks", "all ranks at once"), ("one-rank", "the third's rank"))
    ),
    TestCase("ranking-any-difference", "Ratings", "n battles of 7 equal models, Holm over 21 pairs",
             partial(any_difference, per=1), slow=2, exact_or_conservative=True,
             sizes=BATTLES),
    TestCase("ranking-any-difference-clustered", "Ratings",
             f"n prompts, {PER_PROMPT} battles each, 7 equal models, Holm over 21 pairs",
             partial(any_difference, per=PER_PROMPT), slow=4, exact_or_conservative=True,
             sizes=PROMPTS),
]  # fmt: skip

# --- win rates ----------------------------------------------------------------------------------

EFFECT, HARD = 1.2, 0.8  # of tanh((difference of lengths) / 172); of an instruction's difficulty
COPIES = 4
_grid = np.linspace(-8, 8, 4001)
_density = np.exp(-(_grid**2) / 2)
_density /= _density.sum()

PUBLISHED = (
    "On purpose: AlpacaEval's error, which leaves out that of the parameters (and its lasso draws "
    "the rate to the raw one)."
)
CHANCE = "Chance, as far as can be seen: 95.0 % in another 10,000 repetitions."


def at_equal_length(theta: float) -> float:
    """The win rate at equal length."""
    return float(special.expit(theta + HARD * _grid) @ _density)


def answers(rng: Rng, n: int, theta: float, copies: int = 1) -> tuple[Answers, dict[int, float]]:
    """Longer answers win more, hard instructions less."""
    ids = np.repeat(np.arange(n), copies)
    mine, other = rng.gamma(4, 70, len(ids)), rng.gamma(4, 50, n)[ids]
    d = rng.standard_normal(n)
    eta = theta + EFFECT * np.tanh((mine - other) / 172) + HARD * d[ids]
    y = (rng.random(len(ids)) < special.expit(eta)) * 1.0
    return Answers(ids.tolist(), y, mine, other), dict(enumerate(d.tolist()))


def in_prompts(rng: Rng, n: int, per: int = 5) -> tuple[FloatArray, ...]:
    """Outcomes (Beta(2, 3) by prompt), words and limits (broken in Beta(1, 7)), and the prompts."""
    group = np.repeat(np.arange(n), per)
    wins = (rng.random(len(group)) < rng.beta(2, 3, n)[group]) * 1.0
    broken = rng.random(len(group)) < rng.beta(1, 7, n)[group]
    return wins, np.where(broken, 2.0, 1.0), np.ones(len(group)), group


def controlled(data: Any) -> Any:
    """Ours."""
    return length_controlled(*data).win_rate


LC = "n instructions, length worth 1.2, difficulty .8, "
FIVE = "n prompts of 5 answers, "


def wins(
    name: str, scene: str, draw: Any, make: Any, truth: float, note: str = "", **more: Any
) -> IntervalCase:
    """One win rate."""
    return IntervalCase(
        f"win-rate-{name}", "Win rates", scene, draw, of_estimate(make), lambda n: truth, note,
        **more,
    )  # fmt: skip


WIN_RATES = [
    *(
        wins(f"length-controlled-{at_equal_length(theta):.2f}",
             f"{LC}{at_equal_length(theta):.2f} at equal length", partial(answers, theta=theta),
             controlled, at_equal_length(theta), slow=2, sizes=sizes)
        for theta, sizes in ((-1.0, (50, 200, 1000)), (-3.0, (200, 1000)))
    ),
    wins("length-controlled-clustered", f"{LC}4 answers each", partial(answers, theta=-1.0,
         copies=COPIES), controlled, at_equal_length(-1.0), slow=2, sizes=PROMPTS),
    wins("alpaca-eval", f"{LC}as AlpacaEval does", partial(answers, theta=-1.0),
         lambda data: alpaca_eval_win_rate(*data).win_rate, at_equal_length(-1.0), PUBLISHED,
         slow=20, sizes=(200, 1000)),
    wins("raw-clustered", f"{FIVE}won in .4", in_prompts, lambda d: win_rate(d[0], d[3]), 0.4,
         CHANCE),
    wins("violations", "n answers, .125 too long",
         lambda rng, n: (np.where(rng.random(n) < 0.125, 2.0, 1.0), np.ones(n)),
         lambda d: violation_rate(*d), 0.125, "A share of few values: coverage jumps with n."),
    wins("violations-clustered", f"{FIVE}.125 too long", in_prompts,
         lambda d: violation_rate(d[1], d[2], clusters=d[3]), 0.125),
    wins("length-instructed-clustered", f"{FIVE}won in .4, .125 too long", in_prompts,
         lambda d: length_instructed_win_rate(*d[:3], clusters=d[3]), 0.35),
]  # fmt: skip

CASES = [*RATINGS, *WIN_RATES]
