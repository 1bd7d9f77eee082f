"""How long statistics of evaluations take: ratios to peers measured in one run.

    python benchmarks/evaluation.py [--rounds 3] [--prompts 400]

The mixed model of statsmodels takes some ten seconds, and grows with the cube of the prompts.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
from timing import compare

from statllm.estimators.passk import majority_at_k
from statllm.estimators.power import mcnemar_sample_size
from statllm.estimators.sequential import bernoulli_mean, betting_mean
from statllm.estimators.shift import mmd_test
from statllm.estimators.variance_components import Factors, moments, reml
from statllm.ragged import Ragged


def components(prompts: int, judges: int, rounds: int) -> None:
    """Prompts by judges, a complete table: both variances and the rest."""
    rng = np.random.default_rng(0)
    prompt, judge = np.repeat(np.arange(prompts), judges), np.tile(np.arange(judges), prompts)
    score = rng.normal(0, 1, prompts)[prompt] + rng.normal(0, 0.5, judges)[judge]
    score += rng.normal(0, 0.8, len(prompt))
    labels = {"prompt": prompt, "judge": judge}

    def by_moments() -> list[float]:
        return [each.value for each in moments(Factors.of(score, labels))]

    def by_reml() -> list[float]:
        return [each.value for each in reml(Factors.of(score, labels))]

    def theirs() -> list[float]:
        from statsmodels.formula.api import mixedlm

        table = pd.DataFrame({"score": score, "one": 1, **labels})
        parts = {name: f"0 + C({name})" for name in labels}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = mixedlm("score ~ 1", table, groups="one", vc_formula=parts).fit()
        return [*(float(found.vcomp[sorted(labels).index(name)]) for name in labels), found.scale]

    compare(
        f"variance components, {prompts} prompts x {judges} judges",
        {"statllm, mean squares": by_moments, "statllm, REML": by_reml},
        rounds,
    )
    compare("  and the mixed model", {"mean squares": by_moments, "statsmodels": theirs}, 1)
    found = np.array([by_moments(), by_reml(), theirs()])
    print(f"  mean squares, REML, statsmodels:\n{found.round(6)}\n")


def majority(tasks: int, samples: int, rounds: int) -> None:
    """Exact maj@k against draws; what precision the draws have is printed."""
    rng = np.random.default_rng(1)
    votes = rng.zipf(1.6, (tasks, samples)) % 20
    answers = Ragged.from_lists(votes.tolist())
    correct = Ragged.from_lists((votes == 1).tolist())
    ks, draws = [1, 4, 16, 64], 1000

    def ours() -> np.ndarray:
        return majority_at_k(answers, correct, ks).mean(axis=0)

    def drawn() -> np.ndarray:
        """Votes of the first k of a random order, ties shared; task by task."""
        found = np.zeros(len(ks))
        random = np.random.default_rng(2)
        for row in votes:
            order = row[random.random((draws, samples)).argsort(axis=1)]
            for place, k in enumerate(ks):
                cells = order[:, :k] + 20 * np.arange(draws)[:, None]
                count = np.bincount(cells.ravel(), minlength=20 * draws).reshape(draws, 20)
                winners = count == count.max(axis=1, keepdims=True)
                found[place] += np.mean(winners[:, 1] / winners.sum(axis=1))
        return found / tasks

    compare(
        f"maj@k, k of {ks}, {tasks:,} tasks x {samples} samples",
        {"statllm, exact": ours, f"{draws:,} draws a task": drawn},
        rounds,
    )
    exact, simulated = ours(), drawn()
    print(f"  means {exact.round(5)}, by draws {simulated.round(5)}\n")


def others(rounds: int) -> None:
    """What has no peer here: seconds alone."""
    rng = np.random.default_rng(3)
    scores, answers = rng.beta(2, 2, 10_000), rng.random(10_000) < 0.6
    x, y = rng.normal(size=(1000, 64)), rng.normal(0.05, 1, (1000, 64))
    for title, run in (
        ("betting_mean, 10,000 scores, all times", lambda: betting_mean(scores)),
        ("bernoulli_mean, 10,000 answers, all times", lambda: bernoulli_mean(answers)),
        ("mmd_test, 1,000 and 1,000 vectors of 64", lambda: mmd_test(x, y, rng=0)),
        ("mcnemar_sample_size, 4e8 prompts", lambda: mcnemar_sample_size(0.25005, 0.24995)),
    ):
        compare(title, {"statllm": run}, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=400)
    given = parser.parse_args()
    others(given.rounds)
    components(given.prompts, 10, given.rounds)
    majority(1000, 100, 1)
