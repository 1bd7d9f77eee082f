"""How fast scores are resampled: ratios to scipy measured in one run.

    python benchmarks/resampling.py [--rounds 1] [--bca-rows 20000]

scipy takes long here: about a minute a round at the defaults, and its BCa grows with the square of
the rows (100,000 of them: `--bca-rows 100000`).
"""

from __future__ import annotations

import argparse
import resource
import tracemalloc
from collections.abc import Callable

import numpy as np
from scipy import stats
from timing import compare

from statllm.estimators.resampling import bootstrap_mean, bootstrap_quantile, sign_flip_test


def peak(run: Callable[[], object]) -> float:
    """Most memory that a call holds at once, in MB."""
    tracemalloc.start()
    run()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 1e6


def accuracy(n: int, rounds: int) -> None:
    """Percentile interval of the mean of right and wrong answers."""
    x = (np.random.default_rng(0).random(n) < 0.7).astype(float)

    def ours() -> tuple[float, float]:
        found = bootstrap_mean(x, method="percentile").interval()
        return found.low, found.high

    def theirs() -> tuple[float, float]:
        found = stats.bootstrap(
            (x,), np.mean, n_resamples=9999, method="percentile", batch=100, rng=1
        )
        return found.confidence_interval

    np.testing.assert_allclose(ours(), theirs(), atol=0.15 * stats.sem(x))
    compare(f"mean of {n:,} answers, 9,999 resamples", {"statllm": ours, "scipy": theirs}, rounds)
    print(f"  statllm held at most {peak(ours):.1f} MB\n")


def continuous(n: int, rounds: int) -> None:
    """The same with as many distinct scores as rows: nothing to collapse."""
    x = np.random.default_rng(1).normal(size=n)
    compare(
        f"mean of {n:,} distinct scores, 999 resamples",
        {
            "statllm": lambda: bootstrap_mean(x, resamples=999).interval(),
            "scipy, percentile": lambda: stats.bootstrap(
                (x,), np.mean, n_resamples=999, method="percentile", batch=100, rng=1
            ),
        },
        rounds,
    )
    print(f"  statllm held at most {peak(lambda: bootstrap_mean(x, resamples=999)):.1f} MB\n")


def bca(n: int, rounds: int) -> None:
    """BCa, whose jackknife is a closed form here and n means of n rows there."""
    rng = np.random.default_rng(2)
    for name, x in (("answers", (rng.random(n) < 0.7) * 1.0), ("scores", rng.normal(size=n))):
        compare(
            f"BCa interval of the mean of {n:,} {name}, 1,000 resamples",
            {
                "statllm": lambda x=x: bootstrap_mean(x, resamples=1000).interval(),
                "scipy": lambda x=x: stats.bootstrap(
                    (x,), np.mean, n_resamples=1000, method="BCa", batch=100, rng=1
                ),
            },
            rounds,
        )
    print()


def signs(n: int, rounds: int) -> None:
    """Paired permutation of two models' answers."""
    rng = np.random.default_rng(3)
    d = (rng.random(n) < 0.7) * 1.0 - (rng.random(n) < 0.69)
    ours, theirs = (
        lambda: sign_flip_test(d, method="random"),
        lambda: stats.permutation_test(
            (d,), np.mean, permutation_type="samples", n_resamples=9999, batch=100, rng=1
        ),
    )
    p = ours().p_value
    assert abs(p - theirs().pvalue) < 5 * (2 * p / 9999) ** 0.5
    compare(
        f"sign flips of {n:,} pairs of answers, 9,999 resamples",
        {
            "statllm, at random": ours,
            "statllm, exact": lambda: sign_flip_test(d),
            "scipy": theirs,
        },
        rounds,
    )
    print()


def quantile(n: int, rounds: int) -> None:
    """Median of ratings 1 to 10."""
    x = np.random.default_rng(4).integers(1, 11, n).astype(float)
    compare(
        f"median of {n:,} ratings, 999 resamples",
        {
            "statllm": lambda: bootstrap_quantile(x, resamples=999).interval(),
            "scipy": lambda: stats.bootstrap(
                (x,), np.median, n_resamples=999, method="percentile", batch=100, rng=1
            ),
        },
        rounds,
    )
    print()


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--bca-rows", type=int, default=20_000)
    options = parser.parse_args()
    accuracy(100_000, options.rounds)
    signs(10_000, options.rounds)
    bca(options.bca_rows, options.rounds)
    continuous(100_000, options.rounds)
    quantile(10_000, options.rounds)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"most memory of the whole, scipy included: {most / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
