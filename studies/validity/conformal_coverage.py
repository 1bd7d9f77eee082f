"""Guarantees that hold on average: conformal sets, risk control, factuality, selection.

`python studies/validity/conformal_coverage.py` divides data at random into n calibration items
and a test set, 500 times, and rewrites the tables in conformal.md. Ten minutes on one core. With
`--mmlu probs.parquet` (the probabilities of LLaMA-13B on 2,886 questions of MMLU, in the columns
subject, prompt, qid, pA, pB, pC, pD, label) that data as well.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from pages import load, markdown, save, write
from scipy import special, stats

from statllm.estimators.conformal import (
    conditional_factuality,
    conformal_factuality,
    conformal_p_values,
    conformal_risk_control,
    conformal_selection,
    prediction_sets,
)
from statllm.ragged import Ragged

Array = NDArray[Any]
Rng = np.random.Generator
ALPHA = 0.1
SIZES = (8, 20, 50, 200, 1000)
N_TEST = 1000
N_ANSWERS = 6


# --- data: calibration and test part, each (probabilities, labels, group or covariate) ------------


def questions(rng: Rng, n: int, shift: float = 0.0) -> tuple[Array, Array, Array]:
    """Multiple choice by an overconfident model; the harder a question (x), the flatter."""
    x = rng.standard_normal(n) + shift
    logits = 2 * np.exp(-x / 2)[:, None] * rng.standard_normal((n, N_ANSWERS))
    label = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return special.softmax(1.5 * logits, axis=1), label, x


Split = tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]


def synthetic(rng: Rng, n: int) -> Split:
    """Fresh questions each time; the group is a third of the difficulties, 60, 30 and 10 %."""
    parts = []
    for size in (n, N_TEST):
        probs, label, x = questions(rng, size)
        parts.append((probs, label, np.searchsorted(stats.norm.ppf([0.6, 0.9]), x)))
    return parts[0], parts[1]


def mmlu(path: Path) -> Callable[[Rng, int], Split]:
    """Random divisions of the questions; the group is the subject. One prompt of the ten."""
    import pandas as pd

    data = pd.read_parquet(path)
    data = data[data["prompt"] == 0]
    probs, label = data[["pA", "pB", "pC", "pD"]].to_numpy(), data["label"].to_numpy()
    group = np.unique(data["subject"], return_inverse=True)[1]

    def split(rng: Rng, n: int) -> Split:
        order = rng.permutation(len(label))
        first, second = order[:n], order[n:]
        return (
            (probs[first], label[first], group[first]),
            (probs[second], label[second], group[second]),
        )

    return split


# --- sets: hits and misses of one division --------------------------------------------------------

SETS: dict[str, dict[str, Any]] = {
    "LAC": {"method": "lac"},
    "APS": {"method": "aps"},
    "APS, deterministic": {"method": "aps", "randomised": False},
    "RAPS": {"method": "raps", "penalty": 0.05},
    "RAPS, deterministic": {"method": "raps", "penalty": 0.05, "randomised": False},
    "SAPS": {"method": "saps"},
    "margin": {"method": "margin"},
}


def sets(split: Split, rng: Rng, **settings: Any) -> dict[str, Any]:
    """Coverage of the test part, and where it lies in the law of the coverage."""
    (probs, label, _), (test_probs, test_label, _) = split
    made = prediction_sets(probs, label, test_probs, ALPHA, rng=rng, **settings)
    hits = int(made.sets[np.arange(len(test_label)), test_label].sum())
    return _outcome(hits, len(test_label), made.mean_size.value, made.law, rng)


def mondrian(split: Split, rng: Rng) -> dict[str, Any]:
    """Coverage of the last group, which gets a threshold of its own."""
    (probs, label, group), (test_probs, test_label, test_group) = split
    last = test_group.max()
    made = prediction_sets(probs, label, test_probs, ALPHA, groups=(group, test_group), rng=rng)
    inside = made.sets[np.arange(len(test_label)), test_label] & (test_group == last)
    size = float(made.sizes[test_group == last].mean())
    n_test = int((test_group == last).sum())
    return _outcome(int(inside.sum()), n_test, size, made.laws[-1], rng)


def _outcome(hits: int, n: int, size: float, law: Any, rng: Rng) -> dict[str, Any]:
    """`place` is uniform if hits ~ Beta-binomial, as the law says (Vovk 2012)."""
    place = np.nan
    if not law.trivial:
        below, here = _beta_binomial(n, law.rank, law.n_above)
        place = below[hits] + rng.random() * here[hits]
    return {"rate": hits / n, "size": size, "expected": law.mean, "place": place}


def class_conditional(split: Split, rng: Rng) -> dict[str, Any]:
    """Coverage of the questions whose right answer is the first: every answer has a threshold."""
    (probs, label, _), (test_probs, test_label, _) = split
    groups = np.arange(probs.shape[1])
    made = prediction_sets(probs, label, test_probs, ALPHA, rng=rng, answer_groups=groups)
    first = test_label == 0
    size = float(made.sizes[first].mean())
    return _outcome(int(made.sets[first, 0].sum()), int(first.sum()), size, made.laws[0], rng)


PARTS = {"Mondrian": mondrian, "class-conditional": class_conditional}


@cache
def _beta_binomial(n: int, a: int, b: int) -> tuple[Array, Array]:
    """P(fewer than k) and P(k), k = 0 .. n."""
    k = np.arange(n + 1)
    ways = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    here = np.exp(ways + special.betaln(k + a, n - k + b) - special.betaln(a, b))
    return np.append(0.0, np.cumsum(here)[:-1]), here


Shifted = tuple[Array, Array, Array, Array, tuple[Array, Array]]


def shifted(rng: Rng, n: int) -> Shifted:
    """Test questions are harder by one sd; the true ratios of the two densities come along."""
    (probs, label, x), (test_probs, test_label, test_x) = (
        questions(rng, n),
        questions(rng, N_TEST, 1.0),
    )
    return probs, label, test_probs, test_label, (np.exp(x - 0.5), np.exp(test_x - 0.5))


def weighted_sets(rng: Rng, n: int, method: Any) -> dict[str, Any]:
    """Sets under a shift whose ratio is known."""
    probs, label, test_probs, test_label, ratio = shifted(rng, n)
    made = prediction_sets(probs, label, test_probs, ALPHA, method, rng=rng, weights=ratio)
    hits = made.sets[np.arange(N_TEST), test_label].mean()
    return {"rate": float(hits), "size": made.mean_size.value}


def weighted(rng: Rng, n: int, known: bool) -> dict[str, Any]:
    """LAC by smoothed p-values, the ratio known or ignored."""
    probs, label, test_probs, test_label, ratios = shifted(rng, n)
    ratio = ratios if known else None
    own = 1 - probs[np.arange(n), label]
    p = conformal_p_values(own, 1 - test_probs, True, None, ratio, rng)
    made = p > ALPHA
    hits = made[np.arange(N_TEST), test_label].mean()
    return {"rate": float(hits), "size": float(made.sum(axis=1).mean())}


# --- other losses ---------------------------------------------------------------------------------


def risk_control(rng: Rng, n: int) -> dict[str, Any]:
    """Five right claims a response; the loss is the share of them left out at a threshold."""
    settings = np.linspace(0, 1, 101)  # keep scores of at least 1 - setting

    def losses(size: int) -> Array:
        ability = rng.beta(3, 1, (size, 1))
        score = rng.random((size, 5)) ** (1 - 0.8 * ability)
        return (score[:, :, None] < 1 - settings).mean(axis=1)

    control = conformal_risk_control(losses(n), settings, ALPHA)
    test = losses(N_TEST)[:, control.index]
    return {"rate": 1 - float(test.mean()), "size": control.setting}


def responses(rng: Rng, size: int) -> tuple[Ragged, Ragged, Array]:
    """2 to 8 claims a response, a score for each; three in ten prompts are hard."""
    lengths = rng.integers(2, 9, size)
    hard = rng.random(size) < 0.3
    score = rng.standard_normal(lengths.sum())
    right = rng.random(len(score)) < special.expit(2 - 2 * np.repeat(hard, lengths) + 1.5 * score)
    return Ragged.from_lengths(score, lengths), Ragged.from_lengths(right, lengths), hard


def _factual(kept: Ragged, right: Ragged, of: Array) -> dict[str, Any]:
    good = kept.with_values(kept.values & ~right.values).sum() == 0
    return {"rate": float(good[of].mean()), "size": float(kept.mean()[of].mean())}


def factuality(rng: Rng, n: int) -> dict[str, Any]:
    """No wrong claim is kept, on average over prompts."""
    score, right, _ = responses(rng, n)
    rule = conformal_factuality(score, right, ALPHA)
    score, right, hard = responses(rng, N_TEST)
    return _factual(rule.keep(score), right, np.ones(len(hard), dtype=bool))


def conditional(rng: Rng, n: int) -> dict[str, Any]:
    """No wrong claim is kept, on the hard prompts."""
    score, right, hard = responses(rng, n)
    rule = conditional_factuality(score, right, hard[:, None], ALPHA, floor=-6.0)
    score, right, hard = responses(rng, N_TEST)
    return _factual(rule.keep(score, hard[:, None]), right, hard)


def unconditional(rng: Rng, n: int) -> dict[str, Any]:
    """As `factuality`, looked at on the hard prompts."""
    score, right, _ = responses(rng, n)
    rule = conformal_factuality(score, right, ALPHA)
    score, right, hard = responses(rng, N_TEST)
    return _factual(rule.keep(score), right, hard)


def selection(
    rng: Rng, n: int, kind: str, smoothed: bool = False, values: int | None = None
) -> dict[str, Any]:
    """500 items, half of them good; 1 less the share of bad ones among those picked."""
    truth = rng.standard_normal(n + 500)
    score = truth + rng.standard_normal(n + 500)
    if values is not None:
        score = np.floor((score + 3) * values / 6)
    good = truth > 0
    known = truth[:n] if kind == "difference" else good[:n]
    threshold = 0.0 if kind == "difference" else None
    picked = conformal_selection(score[:n], known, score[n:], ALPHA, threshold, kind, smoothed, rng)  # type: ignore[arg-type]
    wrong = picked.false_discovery_proportion(good[n:])
    return {"rate": 1 - wrong, "size": float((picked.selected & good[n:]).sum() / good[n:].sum())}


OTHERS: dict[str, tuple[str, Callable[[Rng, int], dict[str, Any]]]] = {
    "weighted LAC": ("answers", lambda rng, n: weighted_sets(rng, n, "lac")),
    "weighted APS": ("answers", lambda rng, n: weighted_sets(rng, n, "aps")),
    "weighted LAC, smoothed": ("answers", lambda rng, n: weighted(rng, n, True)),
    "LAC, smoothed, shift ignored": ("answers", lambda rng, n: weighted(rng, n, False)),
    "risk control": ("setting", risk_control),
    "factuality": ("claims kept", factuality),
    "factuality, hard prompts": ("claims kept", unconditional),
    "conditional factuality, hard prompts": ("claims kept", conditional),
    "selection, clip": ("good found", lambda rng, n: selection(rng, n, "clip")),
    "selection, clip, smoothed": ("good found", lambda rng, n: selection(rng, n, "clip", True)),
    "selection, clip, 8 values": (
        "good found",
        lambda rng, n: selection(rng, n, "clip", values=8),
    ),
    "selection, difference": ("good found", lambda rng, n: selection(rng, n, "difference")),
}


# --- tables ---------------------------------------------------------------------------------------


def summary(name: str, n: int, outcomes: list[dict[str, Any]], **also: Any) -> dict[str, Any]:
    """Means over the divisions."""
    column = {key: np.array([o[key] for o in outcomes]) for key in outcomes[0]}
    rate = column["rate"]
    row = {
        "name": name,
        "n": n,
        "divisions": len(rate),
        "rate": float(np.nanmean(rate)),
        "error": float(np.nanstd(rate, ddof=1) / np.sqrt(len(rate))),
        "size": float(np.nanmean(column["size"])),
        **also,
    }
    if "place" in column:
        place = column["place"][~np.isnan(column["place"])]
        row["expected"] = float(column["expected"].mean())
        row["trivial"] = 1 - len(place) / len(rate)
        if len(place):
            row["inside"] = float(((place > 0.05) & (place < 0.95)).mean())
            row["uniform_p"] = float(stats.kstest(place, "uniform").pvalue)
    print(row, flush=True)
    return row


def simulate_sets(data: str, split: Callable[[Rng, int], Split], divisions: int) -> list[Any]:
    """One row for each method and n."""
    rows = []
    for n in SIZES:
        outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in [*SETS, *PARTS]}
        rng = np.random.default_rng([0, n])
        for _ in range(divisions):
            parts = split(rng, n)
            for name, settings in SETS.items():
                outcomes[name].append(sets(parts, rng, **settings))
            for name, part in PARTS.items():
                outcomes[name].append(part(parts, rng))
        rows += [summary(name, n, values, data=data) for name, values in outcomes.items()]
    return rows


def simulate_others(divisions: int) -> list[Any]:
    """One row for each method and n."""
    rows = []
    for name, (unit, method) in OTHERS.items():
        for n in SIZES:
            rng = np.random.default_rng([1, n])
            outcomes = [method(rng, n) for _ in range(divisions)]
            rows.append(summary(name, n, outcomes, unit=unit))
    return rows


def sets_table(rows: list[dict[str, Any]]) -> str:
    """Methods down, n within."""
    names = [*SETS, *PARTS]
    ordered = sorted(rows, key=lambda row: (names.index(row["name"]), row["n"]))
    header = ["sets", "n", "coverage", "law's mean", "nominal", "in the law's 90 %", "KS p", "size"]
    return markdown(header, [_sets_line(row) for row in ordered])


def _sets_line(row: dict[str, Any]) -> list[str]:
    trivial = row["trivial"]
    return [
        row["name"],
        f"{row['n']:,}",
        f"{row['rate']:.4f} ± {row['error']:.4f}",
        f"{row['expected']:.4f}",
        _nominal(row),
        f"{row['inside']:.3f}" if "inside" in row else "",
        f"{row['uniform_p']:.2g}" if "uniform_p" in row else "",
        f"{row['size']:.2f}" + (f" (everything in {100 * trivial:.3g} %)" if trivial else ""),
    ]


def _nominal(row: dict[str, Any]) -> str:
    """Bounds of the mean coverage; the upper one is for scores without ties."""
    if row["name"] in PARTS:
        return ".9 or more"
    return f".9 to {min(0.9 + 1 / (row['n'] + 1), 1):.3f}"


def others_table(rows: list[dict[str, Any]]) -> str:
    """Methods down, n within."""
    header = ["method", "n", "kept promise (at least .9)", "and"]
    lines = []
    for row in rows:
        rate = f"{row['rate']:.4f} ± {row['error']:.4f}"
        if row["rate"] < 1 - ALPHA - 3 * row["error"]:
            rate = f"**{rate}**"
        lines.append([row["name"], f"{row['n']:,}", rate, f"{row['size']:.3g} {row['unit']}"])
    return markdown(header, lines)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--divisions", type=int, default=500)
    parser.add_argument("--mmlu", type=Path, help="probs.parquet")
    parser.add_argument("--tables-only", action="store_true", help="from results/conformal/")
    options = parser.parse_args()
    if not options.tables_only:
        save("conformal/sets.json", simulate_sets("synthetic", synthetic, options.divisions))
        save("conformal/others.json", simulate_others(options.divisions))
        if options.mmlu is not None:
            rows = simulate_sets("MMLU", mmlu(options.mmlu), options.divisions)
            save("conformal/mmlu.json", rows)
    for name, table in (("sets", sets_table), ("mmlu", sets_table), ("others", others_table)):
        write("conformal.md", name, table(load(f"conformal/{name}.json")))


if __name__ == "__main__":
    main()
