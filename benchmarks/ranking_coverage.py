"""How often intervals of ratings, ranks and win rates hold what they should.

    python benchmarks/ranking_coverage.py [--runs 400]

Nominal 95 %; each share with its Monte Carlo error, from simulated battles whose truth is known.
Ratings are judged model by model, ranks all together. Where prompts or judges favour models, the
truth is the Bradley-Terry maximum of a very large sample.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

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
    controlled_win_rate,
    length_controlled,
    length_instructed_win_rate,
    violation_rate,
    win_rate,
)

Floats = NDArray[np.float64]
Hits = dict[str, list[float]]
STRENGTH = np.array([0.7, 0.4, 0.2, 0.0, -0.1, -0.4, -0.8])


def draw(
    rng: np.random.Generator,
    n: int,
    prompts: int = 0,
    judges: int = 0,
    spread: float = 0.8,
    davidson: float | None = None,
    style: float | None = None,
    strength: Floats = STRENGTH,
) -> Battles:
    """Battles whose prompts and judges shift each model's strength by N(0, spread^2)."""
    k = len(strength)
    i = rng.integers(0, k, n)
    j = (i + rng.integers(1, k, n)) % k
    eta = strength[i] - strength[j]
    groups = []
    for number in (prompts, judges):
        if number:
            group = rng.integers(0, number, n)
            shift = spread * rng.normal(size=(number, k))
            eta = eta + shift[group, i] - shift[group, j]
            groups.append(group)
    z = rng.normal(size=n)
    if style is not None:
        eta = eta + style * z
    nu = math.exp(davidson) if davidson is not None else 0.0
    weight = np.stack([np.exp(eta / 2), np.full(n, nu), np.exp(-eta / 2)], axis=1)
    edge = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    outcome = 1 - (rng.random((n, 1)) > edge[:, :2]).sum(axis=1) / 2
    return battles(
        i, j, outcome, clusters=tuple(groups) or None, style=None if style is None else z
    )


def flat(data: Battles) -> Battles:
    """The same battles, taken for independent."""
    return battles(data.first, data.second, 1 - data.result / 2)


def note(hits: Hits, name: str, low: Floats, high: Floats, truth: Floats) -> None:
    """Share of models whose rating is inside."""
    hits[name].append(float(((low <= truth) & (truth <= high)).mean()))


def ratings(rng: np.random.Generator, runs: int) -> Hits:
    """Ratings and ranks of seven models."""
    hits: Hits = defaultdict(list)
    true_rank = np.arange(1, len(STRENGTH) + 1)
    big = bradley_terry(flat(draw(rng, 1_500_000, prompts=50_000)), scale=1).rating
    both = bradley_terry(flat(draw(rng, 1_500_000, 50_000, 50_000, 0.6)), scale=1).rating
    tied = STRENGTH - STRENGTH.mean()

    def judged(name: str, data: Battles, truth: Floats, **options: object) -> None:
        found = bradley_terry(data, scale=1, **options)  # type: ignore[arg-type]
        note(hits, name, *found.interval(), truth)

    for run in range(runs):
        data = draw(rng, 400)
        judged("400 battles, model errors", data, tied)
        judged("400 battles, sandwich by battle", data, tied, covariance="sandwich")
        judged("60 battles, Jeffreys' prior", draw(rng, 60), tied, prior="jeffreys")
        judged("60 battles, one prior tie a model", draw(rng, 60), tied, prior="ties")
        half = draw(rng, 400, davidson=0.0)
        judged("400 battles, Davidson ties, model errors", half, tied, ties="davidson")
        judged("400 battles and style, sandwich", draw(rng, 400, style=0.6), tied,
               covariance="sandwich")  # fmt: skip
        for prompts in (13, 40):
            data = draw(rng, 1000, prompts=prompts)
            base = f"{prompts} prompts, 1000 battles"
            judged(f"{base}, model errors (battles independent)", flat(data), big)
            judged(f"{base}, clustered sandwich, t", data, big)
            judged(f"{base}, cluster jackknife, t", data, big, covariance="jackknife")
            ranks = bradley_terry(data).ranks(n_draws=1000, rng=rng)
            inside = (ranks.low <= true_rank) & (true_rank <= ranks.high)
            hits[f"{base}, all ranks, simultaneous, sandwich"].append(float(inside.all()))
            ranks = bradley_terry(data).ranks(n_draws=1000, rng=rng, simultaneous=False)
            inside = (ranks.low <= true_rank) & (true_rank <= ranks.high)
            hits[f"{base}, single ranks, sandwich"].append(float(inside.mean()))
            if run < runs // 2:
                found = bootstrap_ratings(data, 200, scale=1, rng=rng)
                note(hits, f"{base}, cluster bootstrap, percentile", *found.interval(), big)
        data = draw(rng, 1000, 30, 20, 0.6)
        judged("30 prompts x 20 judges, two-way sandwich, t", data, both)
        prompt = battles(data.first, data.second, 1 - data.result / 2, clusters=data.clusters[0])
        judged("30 prompts x 20 judges, by prompt alone", prompt, both)
        if run < runs // 2:
            items = np.argsort(-(STRENGTH + rng.gumbel(size=(80, len(STRENGTH)))), axis=1)
            found = plackett_luce([row[:4].tolist() for row in items], scale=1,
                                  unranked=[row[4:].tolist() for row in items])  # fmt: skip
            note(hits, "80 rankings, top 4 of 7, Plackett-Luce", *found.interval(), tied)
    return hits


def win_rates(rng: np.random.Generator, runs: int) -> Hits:
    """Win rates, controlled and not."""
    hits: Hits = defaultdict(list)
    grid = np.linspace(-8, 8, 4001)
    density = np.exp(-(grid**2) / 2)
    density /= density.sum()

    def truth(theta: float) -> float:
        return float(special.expit(theta + 0.8 * grid) @ density)

    def answers(n: int, theta: float, copies: int = 1) -> tuple[Answers, dict[int, float], Floats]:
        ids = np.repeat(np.arange(n), copies)
        mine, other = rng.gamma(4, 70, n * copies), rng.gamma(4, 50, n)[ids]
        d = rng.normal(size=n)
        eta = theta + 1.2 * np.tanh((mine - other) / 172) + 0.8 * d[ids]
        y = (rng.random(n * copies) < special.expit(eta)).astype(float)
        return Answers(ids.tolist(), y, mine, other), dict(enumerate(d.tolist())), d[ids]

    for run in range(runs):
        for n in (100, 200, 805):
            for theta in (-1.0, -3.0):
                if n == 100 and theta == -3.0:
                    continue  # a handful of wins: the fit is often not finite
                table, d, _ = answers(n, theta)
                name = f"{n} instructions, win rate {truth(theta):.2f}"
                found = length_controlled(table, d).win_rate
                hits[f"length-controlled, {name}"].append(truth(theta) in found.interval())
                if run < runs // 4 and theta == -1.0:
                    theirs = alpaca_eval_win_rate(table, d).win_rate
                    hits[f"... as AlpacaEval does, {name}"].append(
                        truth(theta) in theirs.interval()
                    )
        table, _, known = answers(100, -1.0, copies=4)
        lead = table.lead()
        grouped = controlled_win_rate(
            table.outcome, lead, difficulty=known, clusters=np.array(table.ids)
        )
        rate = grouped.win_rate
        hits["length-controlled, 100 instructions x 4, clustered"].append(
            truth(-1.0) in rate.interval()
        )
        mine = rng.beta(2, 3, 60)
        wins = rng.random(300) < np.repeat(mine, 5)
        prompt = np.repeat(np.arange(60), 5)
        hits["raw win rate, 60 prompts x 5, clustered"].append(
            0.4 in win_rate(wins, prompt).interval()
        )
        broken = rng.random(300) < np.repeat(rng.beta(1, 7, 60), 5)
        words, limits = np.where(broken, 2, 1), np.ones(300)
        hits["violation rate 1/8, 60 prompts x 5, clustered"].append(
            0.125 in violation_rate(words, limits, clusters=prompt).interval()
        )
        hits["violation rate 1/8, 60 prompts x 5, Wilson on rows"].append(
            0.125 in violation_rate(words, limits).interval()
        )
        found = length_instructed_win_rate(wins, words, limits, clusters=prompt)
        hits["length-instructed win rate, 60 prompts x 5, clustered"].append(
            0.4 * 0.875 in found.interval()
        )
    return hits


def show(title: str, hits: Hits) -> None:
    """Print shares and their errors."""
    print(f"{title:<62}coverage   MC error   runs")
    for name, values in hits.items():
        spread = np.std(values, ddof=1) / math.sqrt(len(values))
        print(f"  {name:<60}{np.mean(values):8.3f}{spread:11.3f}{len(values):7d}")


def main() -> None:
    """Run both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    options = parser.parse_args()
    parts: dict[str, Callable[[np.random.Generator, int], Hits]] = {
        "ratings and ranks": ratings,
        "win rates": win_rates,
    }
    for title, part in parts.items():
        show(title, part(np.random.default_rng(0), options.runs))


if __name__ == "__main__":
    main()
