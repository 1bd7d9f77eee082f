"""How fast each entropy estimator is: ratios measured in one run.

    python benchmarks/entropy.py [--prompts 100000] [--votes 10]

For each estimator with its own standard error: processor time for all prompts, over that of the
plug-in, and over a scalar function called prompt by prompt (timed on a sample of the prompts).
Equal vote profiles are computed once, so the second table has prompts that hardly repeat one.
Contenders take turns and each is quoted at its fastest round.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from scipy.integrate import quad
from scipy.special import digamma, gammaln, polygamma

from statllm.estimators.entropies.estimate import METHODS, entropy
from statllm.estimators.entropies.profiles import clean_counts, find_profiles
from statllm.ragged import Ragged

CATEGORIES = 100


def draw_counts(prompts: int, votes: int, seed: int = 0) -> Ragged:
    """Draw votes for prompts from nearly unanimous to diffuse; zeros dropped, largest first."""
    rng = np.random.default_rng(seed)
    agreement = rng.uniform(0.1, 0.95, size=(prompts, 1))
    answers = np.minimum(rng.geometric(agreement, size=(prompts, votes)), CATEGORIES) - 1
    counts = np.zeros((prompts, CATEGORIES), dtype=np.int64)
    np.add.at(counts, (np.arange(prompts)[:, None], answers), 1)
    ordered = -np.sort(-counts, axis=1)
    return Ragged.from_lists(list(ordered)).keep(ordered.ravel() > 0)


def plugin(counts: list[int]) -> float:
    """-Σ p ln p."""
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts)


def jackknife(counts: list[int]) -> float:
    """Leave a vote out of each distinct answer."""
    total = sum(counts)
    without = 0.0
    for i, n in enumerate(counts):
        rest = [*counts[:i], n - 1, *counts[i + 1 :]] if n > 1 else counts[:i] + counts[i + 1 :]
        without += n / total * plugin(rest)
    return total * plugin(counts) - (total - 1) * without


def nsb(counts: list[int]) -> float:
    """Posterior mean by two adaptive quadratures over ln β."""
    n, k, c = sum(counts), CATEGORIES, np.array(counts)

    def weight(t: float) -> float:
        b = math.exp(t)
        slope = k * polygamma(1, k * b + 1) - polygamma(1, b + 1)
        log = gammaln(k * b) - gammaln(n + k * b) + (gammaln(c + b) - gammaln(b)).sum()
        return float(np.exp(log + t) * slope)

    def mean(t: float) -> float:
        b = math.exp(t)
        total = n + k * b
        seen = ((c + b) * digamma(c + b + 1)).sum() + (k - len(c)) * b * digamma(b + 1)
        return float(weight(t) * (digamma(total + 1) - seen / total))

    return quad(mean, -25, 12, limit=200)[0] / quad(weight, -25, 12, limit=200)[0]


SCALAR: dict[str, tuple[Callable[[list[int]], float], int]] = {
    "plugin": (plugin, 2000),
    "jackknife": (jackknife, 2000),
    "nsb": (nsb, 20),
}


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(counts: Ragged, rounds: int) -> None:
    """Print one line per estimator."""
    runs: dict[str, Callable[[], object]] = {
        name: lambda name=name: entropy(  # type: ignore[misc]
            counts, name, n_categories=CATEGORIES if METHODS[name].needs_categories else None
        )
        for name in METHODS
    }
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run))
    profiles, _ = find_profiles(clean_counts(counts))
    print(f"\n{counts.n_rows:,} prompts, {len(profiles):,} distinct profiles")
    print(f"{'estimator and its se':28}{'ms':>9}{'x plug-in':>11}{'scalar takes':>15}")
    for name, taken in best.items():
        line = (
            f"{name + ', ' + METHODS[name].se:28}{1e3 * taken:9.1f}{taken / best['plugin']:11.2f}"
        )
        if name in SCALAR:
            scalar, sample = SCALAR[name]
            rows = counts.to_lists()[:sample]
            alone = min(seconds(lambda: [scalar(row) for row in rows]) for _ in range(2))  # noqa: B023
            line += f"{alone / len(rows) * counts.n_rows / taken:13,.0f} x"
        print(line)


def main() -> None:
    """Time votes that repeat profiles, then votes that hardly do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--votes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    compare(draw_counts(options.prompts, options.votes), options.rounds)
    compare(draw_counts(2000, 64), options.rounds)


if __name__ == "__main__":
    main()
