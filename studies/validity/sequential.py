"""Is what may be looked at at any time right at every time?

`python studies/validity/sequential.py` runs each method on streams of 10,000 whose truth is known,
looks after every one, and counts the streams on which it was ever wrong; rewrites the table in
sequential.md. About ten minutes on one core.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from pages import load, markdown, save, write
from scipy import stats

from statllm.estimators.sequential import (
    asymptotic_mean,
    bernoulli_mean,
    betting_mean,
    betting_test,
    sequential_mcnemar,
)
from statllm.estimators.shift import drift_monitor

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
LOOKS, ALPHA, FIRST = 10_000, 0.05, 100
Row = dict[str, Any]


def answers(p: float) -> Callable[[Rng], FloatArray]:
    """Right with probability p."""
    return lambda rng: (rng.random(LOOKS) < p).astype(np.float64)


def rewards(rng: Rng) -> FloatArray:
    """Beta(.6, 2.4): mean .2, most near 0."""
    return rng.beta(0.6, 2.4, LOOKS)


SCENES: dict[str, tuple[Callable[[Rng], FloatArray], float]] = {
    "right in .02": (answers(0.02), 0.02),
    "right in .5": (answers(0.5), 0.5),
    "right in .9": (answers(0.9), 0.9),
    "rewards, mean .2": (rewards, 0.2),
}


def plain(x: FloatArray, truth: float) -> bool:
    """A 95 % t interval after every answer from the 100th on."""
    n = np.arange(1, LOOKS + 1)
    mean = np.cumsum(x) / n
    variance = np.maximum(np.cumsum(x**2) - n * mean**2, 0) / np.maximum(n - 1, 1)
    half = stats.norm.isf(ALPHA / 2) * np.sqrt(variance / n)
    return bool(np.any((np.abs(mean - truth) > half)[FIRST - 1 :]))


def ever_excluded(make: Callable[[FloatArray], Any], x: FloatArray, truth: float) -> bool:
    """Whether a confidence sequence ever misses."""
    return bool(make(x).first_excluding(truth) > 0)


METHODS: dict[str, tuple[Callable[[FloatArray, float], bool], int]] = {
    "interval for a fixed n": (plain, 1),
    "beta mixture": (lambda x, m: ever_excluded(bernoulli_mean, x, m), 1),
    "hedged betting": (lambda x, m: ever_excluded(lambda v: betting_mean(v, grid=200), x, m), 4),
    "betting test": (
        lambda x, m: betting_test(x, m, alternative="two-sided").first_crossing(ALPHA) > 0,
        1,
    ),
    f"asymptotic, from {FIRST}": (
        lambda x, m: ever_excluded(lambda v: asymptotic_mean(v, start=FIRST), x, m),
        1,
    ),
}


def pairs(rng: Rng) -> bool:
    """Two models, equally good, that disagree on a third of the prompts."""
    apart = rng.random(LOOKS) < 1 / 3
    a = rng.integers(0, 2, LOOKS)
    return bool(sequential_mcnemar(a, np.where(apart, 1 - a, a)).first_crossing(ALPHA) > 0)


def stream(rng: Rng) -> bool:
    """2,000 skewed scores after 100 of the same law."""
    return bool(
        drift_monitor(rng.exponential(size=100), rng.exponential(size=2000), rng).first_crossing(
            ALPHA
        )
        > 0
    )


def run(n: int, seed: int = 1) -> list[Row]:
    """One row per method and scene."""
    rows = []
    for scene, (draw, truth) in SCENES.items():
        for method, (wrong, slow) in METHODS.items():
            if method == "beta mixture" and scene.startswith("rewards"):
                continue
            rng = np.random.default_rng([seed, list(SCENES).index(scene)])
            found = sum(wrong(draw(rng), truth) for _ in range(n // slow))
            rows.append({"scene": scene, "method": method, "wrong": int(found), "n": n // slow})
            print(rows[-1], flush=True)
    for scene, method, trial, slow in (
        ("two equal models", "McNemar, beta mixture", pairs, 1),
        ("no drift, 2,000 looks", "conformal martingale", stream, 4),
    ):
        rng = np.random.default_rng([seed, 99])
        found = sum(trial(rng) for _ in range(n // slow))
        rows.append({"scene": scene, "method": method, "wrong": int(found), "n": n // slow})
        print(rows[-1], flush=True)
    return rows


def table(rows: list[Row]) -> str:
    """Scenes down, methods across; bold above alpha by three errors."""
    lines = []
    for row in rows:
        share = row["wrong"] / row["n"]
        text = f"{100 * share:.1f} ± {100 * np.sqrt(max(share * (1 - share), 1e-9) / row['n']):.1f}"
        off = share > ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / row["n"])
        lines.append([row["method"], row["scene"], f"**{text}**" if off else text, str(row["n"])])
    return markdown(["method", "stream", "ever wrong, %", "streams"], sorted(lines))


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--tables-only", action="store_true")
    options = parser.parse_args()
    if not options.tables_only:
        save("sequential/looks.json", run(options.streams))
    write("sequential.md", "wrong", table(load("sequential/looks.json")))


if __name__ == "__main__":
    main()
