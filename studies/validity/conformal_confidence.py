"""Guarantees that hold with confidence: how often is what was certified not so?

`python studies/validity/conformal_confidence.py` draws n calibration items again and again,
certifies, compares with the true risk, and rewrites its table in conformal.md. Five minutes on one
core. The promise is a risk of at most .1 (.2 for generation) with confidence .9.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from pages import load, markdown, save, write

from statllm.estimators.conformal import conformal_generation, fact_test
from statllm.estimators.selective import (
    learn_then_test,
    rcps_threshold,
    selective_threshold,
)
from statllm.ragged import Ragged

Array = NDArray[Any]
Rng = np.random.Generator
MAX_RISK, DELTA = 0.1, 0.1
SIZES = (20, 50, 200, 1000)
GRID = (np.arange(40_000) + 0.5) / 40_000  # scores, for the true risks

# What a certification was worth: (certified, broken, what was kept).
Outcome = tuple[bool, bool, float]


# --- thresholds: score uniform, P(wrong given score) known ----------------------------------------


def falling(score: Array) -> Array:
    """Wrong with probability (1 - score) / 2."""
    return (1 - score) / 2


def bumped(score: Array) -> Array:
    """As `falling`, and .3 more in the top fiftieth: sure and wrong.

    Of what lies above a threshold more than a tenth is wrong near the top, less between .67 and
    .92, more again below.
    """
    return (1 - score) / 2 + 0.3 * (score > 0.98)


def as_votes(score: Array, values: int | None) -> Array:
    """Scores cut to so many values."""
    return score if values is None else np.ceil(score * values) / values


def thresholds(
    rng: Rng,
    n: int,
    wrong: Callable[[Array], Array] = falling,
    values: int | None = None,
    rcps: bool = False,
    **settings: Any,
) -> Outcome:
    """Broken: a threshold is certified whose true risk is too large, the lowest or any other."""
    u = rng.random(n)
    right = rng.random(n) >= wrong(u)
    score = as_votes(u, values)
    method = rcps_threshold if rcps else selective_threshold
    rule = method(score, right, MAX_RISK, DELTA, **settings)
    if not rule.certified:
        return False, False, 0.0
    certified = rule.candidates[rule.valid]
    ranked = as_votes(GRID, values)
    kept_from = np.minimum(np.searchsorted(ranked, certified), len(GRID) - 1)
    lost = np.cumsum(wrong(GRID)[::-1])[::-1][kept_from]
    risk = lost / (len(GRID) if rcps else len(GRID) - kept_from)
    return True, bool((risk > MAX_RISK + 1e-4).any()), float((ranked >= rule.threshold).mean())


# --- configurations: 20 of them, risks from .01 to .2, the eleventh just above .1 ---------------

RISKS = np.append(np.arange(1, 11) * 0.01, np.arange(10, 20) * 0.01 + 0.0001)


def configurations(rng: Rng, n: int, graded: bool, shuffled: bool, **settings: Any) -> Outcome:
    """Broken: a configuration of too large a risk is certified. Kept: share of the good ones."""
    order = rng.permutation(len(RISKS)) if shuffled else np.arange(len(RISKS))
    risks = RISKS[order]
    shared = rng.random((n, 1))
    if graded:
        losses = 2 * risks * np.sqrt(shared) * rng.random((n, 1)) ** 0.5 * 9 / 8
    else:
        losses = (shared < risks).astype(np.float64)
    control = learn_then_test(losses, MAX_RISK, DELTA, rng=rng, **settings)
    good = risks <= MAX_RISK
    broken = bool(control.valid[~good].any())
    return bool(control.valid.any()), broken, float(control.valid[good].mean())


# --- answer or abstain ------------------------------------------------------------------------


def abstention(rng: Rng, n: int, values: int | None = None) -> Outcome:
    """Two answers in five are wrong, their certainty uniform. Kept: right answers given."""
    right = rng.random(n) < 0.6
    certainty = as_votes(rng.random(n) ** np.where(right, 0.3, 1.0), values)
    test = fact_test(certainty, right, MAX_RISK, DELTA)
    type_one = test.answers(as_votes(GRID, values)).mean()
    given = test.answers(as_votes(GRID**0.3, values)).mean()
    return test.rank is not None, bool(type_one > MAX_RISK + 1e-4), float(given)


# --- sampling until an acceptable answer is in the set ------------------------------------------


def samples(rng: Rng, n: int, k: int = 10) -> tuple[Ragged, Ragged]:
    """Quality and acceptability of k samples; a prompt's success rate is Beta(1, 1)."""
    good = rng.random((n, k)) < rng.random((n, 1))
    lengths = np.full(n, k)
    quality = good + rng.standard_normal((n, k))
    return Ragged.from_lengths(quality.ravel(), lengths), Ragged.from_lengths(good.ravel(), lengths)


TEST = samples(np.random.default_rng(7), 20_000)


def generation(rng: Rng, n: int, **settings: Any) -> Outcome:
    """Broken: true loss above .2. Kept: share of the samples that need not be drawn."""
    rule = conformal_generation(*samples(rng, n), limit=0.2, delta=DELTA, rng=rng, **settings)
    if not rule.certified:
        return False, False, 0.0
    quality, good = TEST
    drawn = rule.apply(quality)[1].mean()
    return True, rule.loss(quality, good).value > 0.2, 1 - float(drawn) / 10


_BUMP = ", sure and wrong at the top"
METHODS: dict[str, Callable[[Rng, int], Outcome]] = {
    "selective threshold, fixed sequence": thresholds,
    "selective threshold, fixed sequence, 8 values": partial(thresholds, values=8),
    f"selective threshold, fixed sequence{_BUMP}": partial(thresholds, wrong=bumped),
    f"selective threshold, Bonferroni{_BUMP}": partial(
        thresholds, wrong=bumped, correction="bonferroni"
    ),
    f"selective threshold, Holm{_BUMP}": partial(thresholds, wrong=bumped, correction="holm"),
    f"selective threshold, fallback{_BUMP}": partial(
        thresholds, wrong=bumped, correction="fallback"
    ),
    "selective threshold, Hoeffding-Bentkus": partial(thresholds, tail="hoeffding-bentkus"),
    "RCPS, binomial": partial(thresholds, rcps=True),
    "RCPS, binomial, 8 values": partial(thresholds, rcps=True, values=8),
    "RCPS, Hoeffding-Bentkus": partial(thresholds, rcps=True, tail="hoeffding-bentkus"),
    **{
        f"learn then test, {correction}, binomial": partial(
            configurations, graded=False, shuffled=False, correction=correction, tail="binomial"
        )
        for correction in ("fixed-sequence", "fallback", "holm", "bonferroni")
    },
    "learn then test, holm, binomial, order at random": partial(
        configurations, graded=False, shuffled=True, correction="holm", tail="binomial"
    ),
    **{
        f"learn then test, fixed-sequence, {tail}, graded losses": partial(
            configurations, graded=True, shuffled=False, tail=tail
        )
        for tail in ("hoeffding-bentkus", "hoeffding", "betting")
    },
    "FactTest": abstention,
    "FactTest, 8 values": partial(abstention, values=8),
    "generation, max": generation,
    "generation, sum": partial(generation, set_score="sum"),
    "generation, count, last": partial(generation, set_score="count", objective="last"),
}


def simulate(repetitions: int) -> list[dict[str, Any]]:
    """One row for each method and n."""
    rows = []
    for name, method in METHODS.items():
        for n in SIZES:
            rng = np.random.default_rng([2, n])
            times = repetitions // 2 if name.startswith("generation") else repetitions
            outcomes = np.array([method(rng, n) for _ in range(times)], dtype=np.float64)
            certified, broken, kept = outcomes.mean(axis=0).tolist()
            row = {"name": name, "n": n, "repetitions": times}
            rows.append(row | {"certified": certified, "broken": broken, "kept": kept})
            print(rows[-1], flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Methods down, n across: broken promises, certified, kept; in percent."""
    lines = []
    for name in METHODS:
        cells = {row["n"]: _cell(row) for row in rows if row["name"] == name}
        if cells:
            lines.append([name, *(cells[n] for n in SIZES)])
    return markdown(["method", *(f"n = {n:,}" for n in SIZES)], lines)


def _cell(row: dict[str, Any]) -> str:
    error = np.sqrt(DELTA * (1 - DELTA) / row["repetitions"])
    broken = f"{100 * row['broken']:.1f}"
    if row["broken"] > DELTA + 3 * error:
        broken = f"**{broken}**"
    return f"{broken} / {100 * row['certified']:.0f} / {100 * row['kept']:.0f}"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--tables-only", action="store_true", help="from results/conformal/")
    options = parser.parse_args()
    if not options.tables_only:
        save("conformal/confidence.json", simulate(options.repetitions))
    write("conformal.md", "confidence", table(load("conformal/confidence.json")))


if __name__ == "__main__":
    main()
