"""Power of the tests of pivots where every token has a least-favourable law.

Texts are simulated and tested by exact p-values; the plan is the answer of the planning tool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from power_common import Sizes, observed, percent, table, within

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.chosen import ChosenLaw, score
from statllm.estimators.watermark.efficiency import rate, stein_tokens
from statllm.estimators.watermark.fit_statistics import truncated_divergence
from statllm.estimators.watermark.goodness_of_fit import pivot_test
from statllm.estimators.watermark.power import power, tokens_needed
from statllm.estimators.watermark.sequential_power import stopping_tokens
from statllm.estimators.watermark.trgof_power import (
    trgof_critical,
    trgof_power,
    trgof_tokens_needed,
)
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
SUMS: tuple[Any, ...] = ("sum", "log", "optimal")
ALPHAS = (1e-2, 1e-6)
FITS: tuple[Any, ...] = (
    "anderson-darling", "cramer-von-mises", "ks", "kuiper", "watson", "neyman", "chi-squared",
    "rao", "greenwood",
)  # fmt: skip
ROOM = 3_000_000  # pivots at a time
#: Delta: tokens of a prototype apart from ours, sum and optimal score, 1e-6 and power .99.
PROTOTYPE = {
    0.02: (8162, 5439), 0.05: (2247, 1917), 0.1: (925, 810), 0.2: (437, 324), 0.3: (306, 195),
    0.5: (245, 140),
}  # fmt: skip
#: Delta: mean stop of the prototype's e-process, a mixture of six strengths, at 1e-6.
STOPS = {0.1: 500, 0.2: 198, 0.3: 115, 0.5: 80}


@dataclass(frozen=True)
class Curve:
    """Power of one test at one Delta and level: n -> significant texts of `texts`."""

    test: str
    delta: float
    alpha: float
    hits: dict[int, int]
    texts: int
    needed: int | None


def log_p(test: str, statistic: FloatArray, n: int, delta: float) -> FloatArray:
    """Exact log p of sums of n scores, by the laws that `detect` uses."""
    if test == "sum":
        return nulls.gamma_log_tail(statistic, n)
    if test == "log":
        return nulls.gamma_log_cdf(-statistic, n)
    return nulls.optimal_log_tail(statistic, n, delta)


def simulated_sums(
    law: ChosenLaw, test: str, delta: float, grid: list[int], texts: int, rng: Any
) -> dict[float, dict[int, int]]:
    """Significant texts at each n of the grid, per level."""
    hits = {alpha: dict.fromkeys(grid, 0) for alpha in ALPHAS}
    per_part = max(1, ROOM // max(grid))
    for start in range(0, texts, per_part):
        shape = (min(per_part, texts - start), max(grid))
        y = np.minimum(law.pivots(shape, rng), 1 - 2**-53)
        total = np.cumsum(score(test, y, 1 - y, delta), axis=1)
        for n in grid:
            logs = log_p(test, total[:, n - 1], n, delta)
            for alpha in ALPHAS:
                hits[alpha][n] += int(np.sum(logs <= math.log(alpha)))
    return hits


def simulated_trgof(law: ChosenLaw, n: int, alpha: float, texts: int, rng: Any) -> int:
    """Texts of n tokens whose statistic reaches the exact critical value."""
    critical, hits = trgof_critical(n, alpha), 0
    for start in range(0, texts, max(1, ROOM // n)):
        some = min(max(1, ROOM // n), texts - start)
        y = np.minimum(law.pivots(some * n, rng), 1 - 2**-53)
        rows = Ragged.from_lengths(y, [n] * some)
        hits += int(np.sum(truncated_divergence(rows, 2.0, np.full(some, 1 / n)) >= critical))
    return hits


def simulated_curves(sizes: Sizes, rng: Any) -> list[Curve]:
    """Curves of all tests; Tr-GoF where its plan, n^2 operations, is quick."""
    found = []
    for delta in sizes.deltas:
        law = ChosenLaw.least_favourable(delta)
        for test in SUMS:
            needed = {a: tokens_needed(law, a, 0.99, test, delta) for a in ALPHAS}
            grid = sorted(
                {max(1, round(n * f)) for n in needed.values() for f in (0.3, 0.5, 0.7, 0.85, 1)}
            )
            hits = simulated_sums(law, test, delta, grid, sizes.texts, rng)
            found += [Curve(test, delta, a, hits[a], sizes.texts, needed[a]) for a in ALPHAS]
        if delta < 0.1:
            continue
        for alpha in ALPHAS:
            n_99 = trgof_tokens_needed(law, alpha)
            ladder = sorted({max(2, round(n_99 * f)) for f in (0.3, 0.5, 0.7, 0.85, 1)})
            texts = sizes.slow_texts
            seen = {n: simulated_trgof(law, n, alpha, texts, rng) for n in ladder}
            found.append(Curve("trgof", delta, alpha, seen, texts, n_99))
    return found


def planned(test: Any, n: int, law: ChosenLaw, alpha: float, delta: float) -> float:
    """What the planning tool says."""
    return trgof_power(n, law, alpha) if test == "trgof" else power(n, law, alpha, test, delta)


def plan_table(curves: list[Curve]) -> str:
    """Planned tokens for a power of .99, and what was seen there."""
    rows = []
    for curve in curves:
        if curve.needed is None:
            continue
        law = ChosenLaw.least_favourable(curve.delta)
        seen = observed(curve.hits[curve.needed], curve.texts)
        checked = [
            within(planned(curve.test, n, law, curve.alpha, curve.delta), hits, curve.texts, 0.99)
            for n, hits in curve.hits.items()
        ]
        ratio = curve.needed / stein_tokens(law, curve.alpha)
        rows.append(
            [f"{curve.delta:g}", f"{curve.alpha:g}", curve.test, f"{curve.needed:,}", seen,
             f"{sum(checked)} of {len(checked)}", f"{ratio:.2f}"]
        )  # fmt: skip
    header = ["Delta", "level", "test", "planned n", "power seen at n", "curve agrees", "n / Stein"]
    return table(header, rows)


def prototype_table(sizes: Sizes, rng: Any) -> str:
    """Who is right where two planning tables differ: power at the other one's n."""
    rows, texts = [], 5 * sizes.texts
    for delta, numbers in PROTOTYPE.items():
        if delta not in (*sizes.deltas, 0.02) or sizes.texts < 1_000:
            continue
        law = ChosenLaw.least_favourable(delta)
        for test, theirs in zip(("sum", "optimal"), numbers, strict=True):
            name: Any = test
            ours = tokens_needed(law, 1e-6, 0.99, name, delta)
            grid = sorted({theirs, ours})
            hits = simulated_sums(law, test, delta, grid, texts, rng)[1e-6]
            rows.append(
                [f"{delta:g}", test, f"{theirs:,}", observed(hits[theirs], texts),
                 f"{ours:,}", observed(hits[ours], texts)]
            )  # fmt: skip
    header = ["Delta", "test", "prototype's n", "power seen", "our n", "power seen"]
    return table(header, rows)


def stops_table(sizes: Sizes, rng: Any) -> tuple[str, dict[float, NDArray[np.int64]]]:
    """How soon the e-process finds a text, beside the sum at its planned length."""
    rows, stops = [], {}
    for delta in sizes.deltas:
        law = ChosenLaw.least_favourable(delta)
        fixed = tokens_needed(law)
        found = stopping_tokens(law, 1e-6, 3 * fixed, sizes.texts // 2, rng=rng)
        read = np.where(found > 0, found, 3 * fixed)
        stops[delta] = found
        last = int(np.quantile(read, 0.99))
        hits = int(np.sum((found > 0) & (found <= fixed)))
        error = read.std() / math.sqrt(len(read))
        earlier = f"{STOPS[delta]}" if delta in STOPS else ""
        rows.append(
            [f"{delta:g}", f"{read.mean():.0f} ± {error:.1f}", earlier, f"{last:,}", f"{fixed:,}",
             observed(hits, len(found))]
        )  # fmt: skip
    header = [
        "Delta", "mean stop", "prototype's", "99 % are found by", "sum's n", "found by then",
    ]  # fmt: skip
    return table(header, rows), stops


def slopes_table(sizes: Sizes, rng: Any) -> str:
    """How fast misses fall at the level 1e-2, against the exponent R."""
    rows = []
    for delta in sizes.deltas:
        if delta < 0.1:
            continue
        law = ChosenLaw.least_favourable(delta)
        for test in SUMS:
            low = tokens_needed(law, 0.01, 0.7, test, delta)
            high = tokens_needed(law, 0.01, 0.99, test, delta)
            texts = 5 * sizes.texts
            hits = simulated_sums(law, test, delta, [low, high], texts, rng)[0.01]
            misses = [max(texts - hits[n], 1) for n in (low, high)]
            seen = math.log(misses[0] / misses[1]) / (high - low)
            error = math.sqrt(sum(1 / m - 1 / texts for m in misses)) / (high - low)
            far = [tokens_needed(law, 0.01, 1 - miss, test, delta) for miss in (1e-6, 1e-9)]
            cells = []
            for ends in ((low, high), far):
                left = [1 - power(n, law, 0.01, test, delta) for n in ends]
                cells.append(f"{math.log(left[0] / left[1]) / (ends[1] - ends[0]):.4f}")
            rows.append(
                [f"{delta:g}", test, f"{low}-{high}", f"{seen:.4f} ± {error:.4f}", cells[0],
                 f"{far[0]}-{far[1]}", cells[1], f"{rate(law, test, delta):.4f}"]
            )  # fmt: skip
    header = ["Delta", "test", "n", "slope seen", "planned", "n", "planned", "R"]
    return table(header, rows)


def fits_table(sizes: Sizes, rng: Any) -> str:
    """Classical tests of fit at the length at which the sum has power .9, level 1e-2."""
    deltas = [delta for delta in sizes.deltas if delta in (0.1, 0.3, 0.5)]
    lengths = [tokens_needed(ChosenLaw.least_favourable(d), 0.01, 0.9) for d in deltas]
    texts = 2 * sizes.slow_texts
    columns = []
    for delta, n in zip(deltas, lengths, strict=True):
        law = ChosenLaw.least_favourable(delta)
        y = np.clip(law.pivots(texts * n, rng), 1e-12, 1 - 2**-53)
        rows = Ragged.from_lengths(y, [n] * texts)
        column = [
            observed(int(np.sum(pivot_test(rows, test).log_p <= math.log(0.01))), texts)
            for test in FITS
        ]
        sums = [percent(planned(test, n, law, 0.01, delta)) for test in ("sum", "optimal", "trgof")]
        columns.append(sums + column)
    names = ["sum (planned)", "optimal (planned)", "Tr-GoF (planned)", *FITS]
    header = ["test", *(f"Delta {d:g}, n {n}" for d, n in zip(deltas, lengths, strict=True))]
    return table(header, [list(row) for row in zip(names, *columns, strict=True)])
