"""Power on text that the lab model wrote, against what the planning tool says beforehand.

The plan knows a sample without any watermark: log-probabilities of its tokens, or the largest
probabilities of its positions. The watermarked texts are others, each document under its own key.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from power_common import Sizes, observed, percent, table, within
from power_sampling import TOP, Lab, Written, first, joined

from statllm.estimators.watermark.bits_power import bits_power, tournament_bits
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.dual_power import dual_power
from statllm.estimators.watermark.efficiency import green_share
from statllm.estimators.watermark.marks import Marks
from statllm.estimators.watermark.power import green_power, power
from statllm.estimators.watermark.schemes import make_scheme
from statllm.estimators.watermark.sequential import e_process
from statllm.estimators.watermark.sequential_power import stopping_tokens
from statllm.estimators.watermark.trgof_power import trgof_power
from statllm.estimators.watermark.weighted_bits_power import (
    tournament_weights,
    weighted_bits_power,
)
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
ALPHA = 1e-6
DELTA = 0.05  # of the optimal score
LADDER = (10, 15, 25, 40, 70, 100, 150, 200, 300, 400)
#: Texts of a document, by temperature: certain text needs more of them.
POOL = {1.0: 2, 1.5: 1, 2.2: 1}

Planner = Callable[[int], float]


@dataclass(frozen=True)
class Contender:
    """A scheme, its tests, and how many documents it writes (a share: some are slow).

    Where `once` is "seed", a context counts once although the scheme counts pairs.
    """

    name: str
    make: Callable[[int], Any]
    tests: tuple[str, ...] = ("sum",)
    part: float = 0.6
    once: Literal["seed"] | None = None


@dataclass
class Line:
    """Power by number of scored tokens: seen and planned."""

    contender: str
    test: str
    temperature: float
    documents: int
    seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    planned: dict[int, float] = field(default_factory=dict)
    by_all: dict[int, float] = field(default_factory=dict)


def contenders(vocabulary: int) -> list[Contender]:
    """Every scheme that the processor writes with."""

    def of(name: str, **options: Any) -> Callable[[int], Any]:
        return lambda key: make_scheme(name, key=key, **options)

    def synthid(flavour: str) -> Callable[[int], Any]:
        def made(key: int) -> Any:
            keys = np.random.default_rng(key).integers(1, 2**31, 30).tolist()
            return make_scheme("synthid", key=tuple(keys), flavour=flavour)

        return made

    v = {"vocabulary": vocabulary}
    bricks = of("three-bricks-gumbel", ngram=3, start=1, **v)
    pivots = ("sum", "log", "optimal", "trgof", "e-process")
    return [
        Contender("vLLM Gumbel", of("vllm-gumbel"), pivots, 1.0),
        Contender("SGLang Gumbel", of("sglang-gumbel")),
        Contender("vLLM dual-key", of("vllm-dual-gumbel")),
        Contender("TextSeal, 3 tokens", of("textseal-gumbel", ngram=3)),
        Contender("Three Bricks, 3 tokens", bricks),
        Contender("the same, a context once", bricks, once="seed"),
        Contender("KGW left-hash", of("kgw", **v), part=1.0),
        Contender("KGW, a context once", of("kgw", **v), once="seed"),
        Contender("KGW self-hash", of("kgw", seeding="selfhash", context_width=4, **v), part=0.2),
        Contender("Unigram", of("unigram", **v)),
        Contender("SynthID, transformers", synthid("transformers"), ("sum", "weighted"), 0.4),
        Contender("SynthID, DeepMind", synthid("deepmind"), ("sum", "weighted"), 0.4),
        Contender("DiPmark", of("dipmark", **v)),
        Contender("inverse transform", of("inverse-transform", seeding="additive", **v)),
        Contender("permute-and-flip, 3 tokens", of("permute-flip", ngram=3, start=1, **v)),
    ]


def marks_of(
    make: Callable[[int], Any],
    keys: list[int],
    texts: Any,
    pool: int,
    once: Literal["seed"] | None = None,
) -> Marks:
    """Marks of documents, each `pool` texts under a key of its own, each pair or seed once."""
    parts = []
    for place, key in enumerate(keys):
        some = texts[place * pool : (place + 1) * pool]
        rows = Ragged.from_lengths(np.concatenate(list(some)), [len(text) for text in some])
        marks = make(key).marks(rows)
        parts.append(replace(marks, once_per=once) if once else marks)
    return joined(parts, pool)


def significant(marks: Marks, test: Any, alpha: float = ALPHA) -> int:
    """Documents that a test finds."""
    if test == "e-process":
        return int(np.sum(e_process(marks, deduplicate="done").log_p <= math.log(alpha)))
    found = detect(marks, test, delta=DELTA, deduplicate="done")
    return int(np.sum(found.log_p <= math.log(alpha)))


def planner(
    contender: Contender, test: str, marks: Marks, log_p: FloatArray, top: FloatArray
) -> Planner | None:
    """Power by tokens from what is known of plain text's tokens; None where no tool plans it.

    Parameters
    ----------
    marks : Marks
        Of any text under the scheme; its null says what is tested.
    log_p : ndarray, shape (n,)
        Of tokens of plain text.
    top : ndarray, shape (n, k)
    """
    name, null = contender.name, marks.null
    if name.startswith(("Unigram", "DiPmark", "inverse", "permute")):
        return None
    if null.kind == "green":
        raised = float(green_share(top[:20_000], null.share, 2.0).mean())
        return lambda n: float(green_power(n, null.share, raised, ALPHA))
    if null.kind == "bits":
        if test == "sum":
            law = tournament_bits(top, n_draws=8_000, rng=1)
            return lambda n: bits_power(n, law, ALPHA, null.share)
        law = tournament_weights(top, n_draws=8_000, rng=1)
        return lambda n: weighted_bits_power(n, law, 30, ALPHA, null.share)
    chosen = ChosenLaw.from_log_probabilities(np.minimum(log_p, 0.0))
    if null.mixing is not None:
        mixing = null.mixing
        return lambda n: dual_power(n, chosen, ALPHA, mixing)
    if test == "trgof":
        return lambda n: trgof_power(n, chosen, ALPHA)
    if test == "e-process":
        stops = stopping_tokens(chosen, ALPHA, max(LADDER), 2_000)
        return lambda n: float(np.mean((stops > 0) & (stops <= n)))
    kind: Any = test
    return lambda n: power(n, chosen, ALPHA, kind, DELTA)


def lines_of(
    contender: Contender, lab: Lab, temperature: float, plain: Written, sizes: Sizes, seed: int
) -> list[Line]:
    """Write with a scheme, test, and plan."""
    documents = max(4, round(sizes.documents * contender.part))
    pool = POOL[temperature]
    seed += round(1000 * temperature)
    keys = np.random.default_rng(seed).integers(1, 2**31, documents).tolist()
    schemes = [contender.make(key) for key in keys for _ in range(pool)]
    texts = lab.write(schemes, temperature, seed)
    marks = marks_of(contender.make, keys, texts.tokens, pool, contender.once)
    # which tokens of plain text would count, in their order, and what the model knew of them
    rows = len(plain.tokens) // pool
    some = plain.tokens[: rows * pool]
    read = marks_of(contender.make, keys[:1] * rows, some, pool, contender.once)
    place = np.arange(len(read.seeds)) - np.repeat(read.offsets[:-1], read.lengths)
    counted = (read.documents * pool + _text_of(read, pool), read.positions)
    log_p, top = plain.log_p[counted], plain.top[counted]
    found = []
    for test in contender.tests:
        line = Line(contender.name, test, temperature, documents)
        by_all = planner(contender, test, marks, plain.log_p.ravel(), plain.top.reshape(-1, TOP))
        for n in LADDER:
            cut, enough = first(marks, n)
            if enough < 0.8 * documents:
                break
            line.seen[n] = (significant(cut, test), enough)
            plan = planner(contender, test, marks, log_p[place < n], top[place < n])
            if plan is not None and by_all is not None:
                line.planned[n], line.by_all[n] = plan(n), by_all(n)
        found.append(line)
    return found


def _text_of(marks: Marks, pool: int) -> NDArray[np.int64]:
    """Which text of its document a mark is in: positions start again in each."""
    if pool == 1:
        return np.zeros(len(marks.seeds), np.int64)
    back = np.diff(marks.positions, prepend=0) < 0
    new = np.diff(marks.documents, prepend=0) > 0
    steps = np.cumsum(back | new)
    first_step = np.zeros(marks.n_documents, np.int64)
    filled = marks.lengths > 0
    first_step[filled] = steps[marks.offsets[:-1][filled]]
    return np.minimum(steps - first_step[marks.documents], pool - 1)


def written_lines(sizes: Sizes, lab: Lab, seed: int) -> tuple[list[Line], dict[float, float]]:
    """Lines of all schemes, tests and temperatures, and the temperatures' entropies."""
    found, entropies = [], {}
    for temperature in sizes.temperatures:
        plain = lab.write([None] * (6 * max(sizes.documents // 4, 2)), temperature, seed + 77)
        entropies[temperature] = plain.entropy
        for contender in contenders(lab.vocabulary):
            if sizes.schemes and contender.name not in sizes.schemes:
                continue
            found += lines_of(contender, lab, temperature, plain, sizes, seed)
    return found, entropies


def chosen_length(line: Line) -> int | None:
    """The number of tokens at which the plan is nearest to .7, where it says most."""
    if not line.seen:
        return None
    if not line.planned:
        rates = {n: hits / of for n, (hits, of) in line.seen.items()}
        return min(rates, key=lambda n: abs(rates[n] - 0.7))
    return min(line.planned, key=lambda n: abs(line.planned[n] - 0.7))


def text_table(lines: list[Line], entropies: dict[float, float]) -> str:
    """One row per scheme and test, a column per temperature."""
    temperatures = list(entropies)
    rows: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        n = chosen_length(line)
        if n is None:
            cell = "too few tokens count"
        else:
            hits, of = line.seen[n]
            plan = f"{percent(line.planned[n])} / {percent(line.by_all[n])}" if line.planned else ""
            cell = f"n {n}: {observed(hits, of)}" + (f"; {plan}" if plan else "; no plan")
        rows.setdefault((line.contender, line.test), []).append(cell)
    header = [
        "scheme", "test", *(f"T = {t:g}, {entropies[t]:.2f} nats" for t in temperatures),
    ]  # fmt: skip
    return table(header, [[*key, *cells] for key, cells in rows.items()])


def agreement(lines: list[Line]) -> str:
    """How many planned figures lie in the intervals of what was seen."""
    counts: dict[str, list[int]] = {"counted": [0, 0], "all": [0, 0]}
    for line in lines:
        for n, (hits, of) in line.seen.items():
            for name, plan in (("counted", line.planned), ("all", line.by_all)):
                if n in plan:
                    counts[name][0] += within(plan[n], hits, of)
                    counts[name][1] += 1
    (ours, total), (whole, _) = counts["counted"], counts["all"]
    return (
        f"Of {total} figures (scheme, test, temperature, n) {ours} plans from the first n tokens "
        f"that count lie in the 95 % interval of what was seen, and {whole} plans from all tokens."
    )
