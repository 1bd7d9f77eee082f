"""Power on text of which a part was edited: what a sum loses, and where Tr-GoF is better.

Texts of the lab model are edited token by token. Beside them stands the exact power of a mixture in
which a share of the pivots is uniform, and the theory's boundary as texts grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from power_common import Sizes, observed, percent, table
from power_sampling import Lab
from power_text import marks_of

from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.edited import Edit, edited_law, kept_share
from statllm.estimators.watermark.fit_statistics import truncated_divergence
from statllm.estimators.watermark.goodness_of_fit import pivot_test
from statllm.estimators.watermark.marks import Marks
from statllm.estimators.watermark.power import power
from statllm.estimators.watermark.schemes import make_scheme
from statllm.estimators.watermark.trgof_power import trgof_critical, trgof_power
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
EDITS: tuple[Edit, ...] = ("substitute", "delete", "insert", "paste")
ALPHA = 1e-2
WIDTH = 4
#: Name, test, and Delta of the optimal score or s of Tr-GoF.
TESTS: tuple[tuple[str, str, float], ...] = (
    ("sum", "sum", 0.0),
    ("log", "log", 0.0),
    ("optimal .1", "optimal", 0.1),
    ("optimal .01", "optimal", 0.01),
    ("Tr-GoF s = 1", "trgof", 1.0),
    ("Tr-GoF s = 1.5", "trgof", 1.5),
    ("Tr-GoF s = 2", "trgof", 2.0),
)
DRAWN = ("sum", "log", "optimal .01", "Tr-GoF s = 2")
#: Texts of a document, by temperature: surer text, and longer documents of less sure text.
POOL = {1.0: 2, 2.2: 6}


def edited(tokens: IntArray, edit: Edit, rate: float, human: IntArray, rng: Any) -> IntArray:
    """The text after an edit; new tokens are those of human problems, at random places."""
    n = len(tokens)
    if edit == "delete":
        return np.asarray(tokens[rng.random(n) >= rate])
    start = int(rng.integers(len(human) - 2 * n))
    if edit == "paste":  # a piece of human text in the place of a piece of this one
        length = round(rate * n)
        place = int(rng.integers(n - length + 1))
        out = tokens.copy()
        out[place : place + length] = human[start : start + length]
        return out
    if edit == "substitute":
        new = rng.choice(human, n)
        return np.where(rng.random(n) < rate, new, tokens)
    out = rng.choice(human, round(n / (1 - rate)))
    out[np.sort(rng.choice(len(out), n, replace=False))] = tokens
    return np.asarray(out)


def found(marks: Marks, test: str, number: float, alpha: float) -> int:
    """Documents that a test finds."""
    if test == "trgof":
        log_p = pivot_test(Ragged(marks.values, marks.offsets), "trgof", s=number).log_p
    else:
        name: Any = test
        log_p = detect(marks, name, delta=number or 0.05, deduplicate="done").log_p
    return int(np.sum(log_p <= math.log(alpha)))


def exact(law: ChosenLaw, n: int, test: str, number: float, alpha: float) -> float:
    """Power of n independent tokens."""
    if test == "trgof":
        return trgof_power(n, law, alpha, number)
    name: Any = test
    return power(n, law, alpha, name, number or 0.05)


@dataclass(frozen=True)
class Point:
    """One edit at one rate: power that was seen of every test, and computed of those drawn."""

    temperature: float
    edit: Edit
    rate: float
    kept: float
    documents: int
    hits: dict[str, int]
    planned: dict[str, float]


def edited_points(sizes: Sizes, lab: Lab, seed: int) -> list[Point]:
    """Edit texts of vLLM's scheme, and test them."""
    points = []
    for temperature in sizes.temperatures:
        if temperature not in POOL:
            continue
        pool = POOL[temperature]
        rng = np.random.default_rng([seed, round(10 * temperature)])
        keys = rng.integers(1, 2**31, sizes.edited).tolist()

        def make(key: int) -> Any:
            return make_scheme("vllm-gumbel", key=key)

        texts = lab.write([make(key) for key in keys for _ in range(pool)], temperature, seed + 5)
        written = marks_of(make, keys, texts.tokens, pool)
        law = ChosenLaw.from_log_probabilities(np.minimum(texts.log_p, 0.0))
        for edit in EDITS:
            for rate in sizes.rates:
                changed = [edited(text, edit, rate, lab.human, rng) for text in texts.tokens]
                marks = marks_of(make, keys, changed, pool) if rate else written
                kept = kept_share(rate, WIDTH, edit)
                mixed, n = edited_law(law, kept), int(np.median(marks.lengths))
                points.append(
                    Point(
                        temperature, edit, rate, kept, len(keys),
                        {name: found(marks, test, x, ALPHA) for name, test, x in TESTS},
                        {
                            name: exact(mixed, n, test, x, ALPHA)
                            for name, test, x in TESTS
                            if name in DRAWN
                        },
                    )
                )  # fmt: skip
    return points


def edits_table(points: list[Point]) -> str:
    """Power seen, a row per edit and rate."""
    rows = []
    for point in points:
        if point.rate != 0.2 and (point.rate or point.edit == "substitute"):
            cells = [percent(point.hits[name] / point.documents) for name, *_ in TESTS]
            best = max(point.hits.values())
            cells = [
                f"**{cell}**" if point.hits[name] == best else cell
                for cell, (name, *_) in zip(cells, TESTS, strict=True)
            ]
            name = point.edit if point.rate else "none"
            rows.append([f"{point.temperature:g}", name, f"{point.rate:g}",
                         f"{point.kept:.2f}", *cells])  # fmt: skip
    return table(["T", "edit", "rate", "kept", *(name for name, *_ in TESTS)], rows)


def mixture_laws() -> dict[str, ChosenLaw]:
    """Texts whose tokens differ in certainty, and laws with one other token or with many."""
    found = {}
    for largest in (0.1, 0.3):
        deltas = np.linspace(0.001, largest, 151)
        found[f"Delta to {largest:g}, one other token"] = ChosenLaw.least_favourable(deltas)
        p = np.concatenate([1 - deltas, deltas / 999])
        masses = np.concatenate([1 - deltas, deltas]) / len(deltas)
        found[f"Delta to {largest:g}, 999 others"] = ChosenLaw(p, masses)
    return found


def mixture_table(sizes: Sizes) -> str:
    """Exact power of mixtures at 400 tokens."""
    rows = []
    for alpha in sizes.alphas:
        for name, law in mixture_laws().items():
            for kept in sizes.kept:
                mixed = edited_law(law, kept)
                values = [exact(mixed, 400, test, x, alpha) for _, test, x in TESTS]
                if max(values) < 0.1 or min(values) > 0.95:
                    continue
                cells = [
                    f"**{percent(v)}**" if v > max(values) - 5e-4 else percent(v) for v in values
                ]
                rows.append([f"{alpha:g}", name, f"{kept:g}", *cells])
    return table(["level", "law", "kept", *(name for name, *_ in TESTS)], rows)


def boundary_table(sizes: Sizes, rng: Any) -> str:
    """Kept share n^-p, Delta n^-q, least-favourable laws: what happens as n grows."""
    rows = []
    for p, q in ((0.1, 0.3), (0.1, 0.5), (0.2, 0.4), (0.3, 0.5)):
        for n in sizes.lengths:
            kept, delta = n**-p, n**-q
            texts = min(sizes.slow_texts, 30_000_000 // n)
            law = edited_law(ChosenLaw.least_favourable(delta), kept)
            cells = [
                percent(power(n, law, ALPHA, "sum")),
                percent(power(n, law, ALPHA, "optimal", delta)),
            ]
            # the exact critical value needs n^2 operations, and hardly moves beyond 1,000
            critical = trgof_critical(min(n, 1_000), ALPHA)
            hits = 0
            per_part = max(1, 2_000_000 // n)
            for start in range(0, texts, per_part):
                some = min(per_part, texts - start)
                y = np.minimum(law.pivots(some * n, rng), 1 - 2**-53)
                statistic = truncated_divergence(
                    Ragged.from_lengths(y, [n] * some), 2.0, np.full(some, 1 / n)
                )
                hits += int(np.sum(statistic >= critical))
            theory = ["sum and Tr-GoF" if p + q < 0.5 else "Tr-GoF" if q + 2 * p < 1 else "neither"]
            rows.append(
                [f"{p:g}", f"{q:g}", f"{n:,}", f"{kept:.3f}", f"{delta:.4f}", *cells,
                 observed(hits, texts), *theory]
            )  # fmt: skip
    header = ["p", "q", "n", "kept", "Delta", "sum", "optimal", "Tr-GoF", "found in the limit by"]
    return table(header, rows)
