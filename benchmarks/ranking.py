"""How fast ratings are bootstrapped: ratios measured in one run.

    python benchmarks/ranking.py [--models 100] [--battles 1000000] [--resamples 100]

1. `bootstrap_ratings` against FastChat's way, written out below: one multinomial draw of the counts
   of distinct battles per resample, and L-BFGS from zero on them.
2. Ten resamples against `evalica.bootstrap`, where evalica can be imported
   (pip install evalica==0.4.2 pandas).
3. `bradley_terry` with errors clustered by prompt, which peers don't have.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from peers import peer
from scipy import optimize, special
from timing import compare, fastest

from statllm.estimators.ranking import ELO_SCALE, battles, bootstrap_ratings, bradley_terry

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def draw(models: int, n: int, seed: int = 0) -> tuple[Ints, Ints, Floats, Ints]:
    """Battles between models of strengths -1 to 1 nat, a fifth of them ties; 500 prompts."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(-1, 1, models)
    a = rng.integers(0, models, n)
    b = (a + rng.integers(1, models, n)) % models
    won = rng.random(n) < special.expit(strength[a] - strength[b])
    outcome = np.where(rng.random(n) < 0.2, 0.5, won.astype(float))
    return a, b, outcome, rng.integers(0, 500, n)


def fastchat_way(a: Ints, b: Ints, outcome: Floats, models: int, resamples: int) -> Floats:
    """Ratings of resamples, shape (resamples, models): counts resampled, then L-BFGS."""
    table = np.stack([a, b, (2 * outcome).astype(np.int64)], axis=1)
    distinct, counts = np.unique(table, return_counts=True, axis=0)
    i, j = distinct[:, 0], distinct[:, 1]
    y, n = distinct[:, 2] / 2, counts.sum()
    drawn = np.random.default_rng(1).multinomial(n, counts / n, resamples) / n

    def loss(x: Floats, weight: Floats) -> tuple[float, Floats]:
        p = special.expit(x[i] - x[j])
        cost = -(weight * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum()
        slope = weight * (p - y)
        return cost, np.bincount(i, slope, models) - np.bincount(j, slope, models)

    fits = [
        optimize.minimize(
            loss, np.zeros(models), (w,), jac=True, method="L-BFGS-B", options={"gtol": 1e-6}
        ).x
        for w in drawn
    ]
    ratings = ELO_SCALE * np.array(fits)
    return np.asarray(ratings - ratings.mean(axis=1, keepdims=True))


def against_fastchat(models: int, n: int, resamples: int, rounds: int) -> None:
    """The same bootstrap both ways."""
    a, b, outcome, _ = draw(models, n)
    ours = bootstrap_ratings(battles(a, b, outcome), resamples, rng=0)
    theirs = fastchat_way(a, b, outcome, models, resamples)
    np.testing.assert_allclose(ours.se, theirs.std(axis=0, ddof=1), rtol=0.5)
    compare(
        f"{models} models x {n:,} battles x {resamples} resamples",
        {
            "statllm bootstrap_ratings": lambda: bootstrap_ratings(
                battles(a, b, outcome), resamples, rng=0
            ),
            "FastChat's way": lambda: fastchat_way(a, b, outcome, models, resamples),
        },
        rounds,
    )


def against_evalica(models: int, n: int, resamples: int, rounds: int) -> None:
    """Percentile bootstrap of Bradley-Terry."""
    found = peer("evalica", "bootstrap", "bradley_terry", "Winner")
    if not found:
        return
    theirs, method, winner = found
    a, b, outcome, _ = draw(models, n)
    names = np.array([f"m{number:03d}" for number in range(models)])
    left, right = names[a].tolist(), names[b].tolist()
    say = {1.0: winner.X, 0.5: winner.Draw, 0.0: winner.Y}
    verdicts = [say[value] for value in outcome.tolist()]
    seconds = fastest(
        {
            "ours": lambda: bootstrap_ratings(battles(a, b, outcome), resamples, rng=0),
            "ours, from text labels": lambda: bootstrap_ratings(
                battles(np.array(left), np.array(right), outcome), resamples, rng=0
            ),
            "evalica": lambda: theirs(
                method, left, right, verdicts, n_resamples=resamples, bootstrap_method="percentile"
            ),
        },
        rounds,
    )
    print(f"{models} models x {n:,} battles x {resamples} resamples")
    for name, taken in seconds.items():
        print(f"  {name:<58}{taken:10.4f} s{taken / seconds['ours']:10.1f} x ours")


def clustered(models: int, n: int, rounds: int) -> None:
    """Fits and their errors."""
    a, b, outcome, prompt = draw(models, n)
    plain, grouped = battles(a, b, outcome), battles(a, b, outcome, clusters=prompt)
    compare(
        f"{models} models x {n:,} battles: one fit, battles coded before",
        {
            "bradley_terry, model errors": lambda: bradley_terry(plain, covariance="model"),
            "bradley_terry, by 500 prompts": lambda: bradley_terry(grouped),
            "bradley_terry, Davidson, by 500 prompts": lambda: bradley_terry(
                grouped, ties="davidson"
            ),
            "battles(), coding the table": lambda: battles(a, b, outcome, clusters=prompt),
            "bootstrap_ratings, 100 resamples of 500 prompts": lambda: bootstrap_ratings(
                grouped, 100, rng=0
            ),
        },
        rounds,
    )


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--battles", type=int, default=1_000_000)
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    size = options.models, options.battles
    against_fastchat(*size, options.resamples, options.rounds)
    clustered(*size, options.rounds)
    against_evalica(*size, 10, min(options.rounds, 2))


if __name__ == "__main__":
    main()
