"""Which published differences are beyond chance, by the figures that were published.

`python studies/reanalysis/study.py` writes result.md, result.json and result.png beside this file
(or into `-o FOLDER`), in seconds, without any model. The figures are in claims.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from claims import ABSTRACT, AVERAGED, AVERAGES, CLAIMS, UNTESTABLE, Claim  # noqa: E402

from statllm.estimators.comparison import mcnemar  # noqa: E402
from statllm.estimators.multiplicity import holm  # noqa: E402
from statllm.estimators.power import minimum_detectable_effect  # noqa: E402
from statllm.estimators.proportions import wilson  # noqa: E402
from statllm.experiment.report import markdown_table  # noqa: E402
from statllm.files import atomic, write_json, write_text  # noqa: E402
from statllm.results import format_p  # noqa: E402
from statllm.scoring.transparency import ITEMS, PUBLISHED, dominates, rank_shares  # noqa: E402

ALPHA = 0.05
SMALL = 100  # below it the unpaired p-value is that of Fisher's exact test
Z = float(stats.norm.isf(ALPHA / 2))
COLOURS = {"beyond chance": "C0", "not beyond chance": "C3", "cannot be told": "0.5",
           "sameness not shown": "C1"}  # fmt: skip


# ---- two shares of n ----------------------------------------------------------------------------


def count(printed: str, n: int) -> tuple[int, bool]:
    """The nearest number of n, and whether it prints as this percentage."""
    digits = len(printed.partition(".")[2])
    x = math.floor(float(printed) * n / 100 + 0.5)
    return x, abs(100 * x / n - float(printed)) <= 0.5 * 10**-digits + 1e-9


def two_proportions(x1: float, x2: float, n: int) -> float:
    """log p of the pooled two-sided z test of two independent samples of n."""
    pooled = (x1 + x2) / (2 * n)
    if x1 == x2:
        return 0.0
    z = abs(x2 - x1) / n / math.sqrt(2 * pooled * (1 - pooled) / n)
    return float(min(math.log(2) + stats.norm.logsf(z), 0.0))


def newcombe(x1: float, x2: float, n: int) -> tuple[float, float]:
    """95 % interval of x2 / n - x1 / n from Wilson's two (Newcombe 1998, method 10)."""
    (low1, high1), (low2, high2) = wilson(x1, n), wilson(x2, n)
    p1, p2 = x1 / n, x2 / n
    return (
        p2 - p1 - math.hypot(p2 - low2, high1 - p1),
        p2 - p1 + math.hypot(high2 - p2, p1 - low1),
    )


def paired_log_p(x1: int, x2: int, n: int, both: int) -> float:
    """log p of McNemar's exact test if `both` problems are right for both."""
    first, second = np.zeros(n, bool), np.zeros(n, bool)
    first[:x1] = True
    second[x1 - both : x1 - both + x2] = True
    return mcnemar(first, second).log_p_value


def paired_range(x1: int, x2: int, n: int) -> dict[str, float]:
    """What pairing can do: p at the least and the greatest discordance that the margins allow.

    With the difference fixed, p grows with the discordance (more coin flips about the same gap),
    so that the ends bound it, and a bisection finds the most disagreement with p <= 0.05.
    """
    most, least = min(x1, x2), max(0, x1 + x2 - n)
    found = {
        "p_least": paired_log_p(x1, x2, n, most),
        "p_greatest": paired_log_p(x1, x2, n, least),
    }
    if found["p_least"] > math.log(ALPHA):
        return found
    low, high = least, most  # significant at `high`
    while low < high:
        middle = (low + high) // 2
        if paired_log_p(x1, x2, n, middle) <= math.log(ALPHA):
            high = middle
        else:
            low = middle + 1
    return found | {"disagreement": (x1 + x2 - 2 * high) / n}


def needed_correlation(difference: float, se: float) -> float:
    """Correlation of the two scores over problems from which on |z| reaches 1.96."""
    return max(0.0, 1 - (difference / (Z * se)) ** 2)


def verdict(claim: Claim, log_p: float, least: float | None) -> str:
    """What the figures can say of the claim; see README.md for the rule."""
    if claim.says == "same":
        return "beyond chance" if log_p <= math.log(ALPHA) else "sameness not shown"
    if log_p <= math.log(ALPHA):
        return "beyond chance"
    if least is not None and least > math.log(ALPHA):
        return "not beyond chance"
    return "cannot be told"


def examine(claim: Claim) -> dict[str, Any]:
    """All figures of one claim; p-values as logarithms."""
    n, accuracy = claim.n, claim.kind == "accuracy"
    x1, x2, whole = float(claim.a) * n / 100, float(claim.b) * n / 100, True
    if accuracy:
        (x1, whole1), (x2, whole2) = count(claim.a, n), count(claim.b, n)
        whole = whole1 and whole2
    p1, p2 = x1 / n, x2 / n
    se = math.sqrt((p1 * (1 - p1) + p2 * (1 - p2)) / n)
    log_p = two_proportions(x1, x2, n)
    row: dict[str, Any] = {
        "paper": claim.paper, "what": claim.what, "a": claim.a, "b": claim.b, "n": n,
        "kind": claim.kind, "says": claim.says, "source": claim.source,
        "difference": p2 - p1, "interval": newcombe(x1, x2, n), "test": "z",
        "wilson_a": [float(end) for end in wilson(x1, n)],
        "wilson_b": [float(end) for end in wilson(x2, n)],
        "detectable": minimum_detectable_effect(se, 2 * n - 1) if se else None,
        "correlation": needed_correlation(p2 - p1, se) if p1 != p2 else None,
        "whole": whole,
    }  # fmt: skip
    least = None
    if accuracy:
        k1, k2 = int(x1), int(x2)
        row["fisher_p"] = float(stats.fisher_exact([[k1, n - k1], [k2, n - k2]]).pvalue)
        row["paired"] = paired_range(k1, k2, n)
        least = row["paired"]["p_least"]
        if n < SMALL:
            log_p, row["test"] = min(math.log(row["fisher_p"]), 0.0), "Fisher"
    return row | {"log_p": log_p, "verdict": verdict(claim, log_p, least)}


def average_rows() -> list[dict[str, Any]]:
    """NaturalReasoning: differences of averages of two benchmarks, at the binomial's largest sd."""
    one = math.sqrt(sum(0.25 / n for n in AVERAGED.values())) / len(AVERAGED)
    se = one * math.sqrt(2)
    rows = []
    for what, a, b in AVERAGES:
        gain = (b - a) / 100
        rows.append({
            "what": what, "a": a, "b": b, "difference": gain, "se": se,
            "interval": (gain - Z * se, gain + Z * se),
            "log_p": float(math.log(2) + stats.norm.logsf(gain / se)),
            "detectable": minimum_detectable_effect(se, 2 * AVERAGED["GPQA-Diamond"] - 1),
            "correlation": needed_correlation(gain, se),
        })  # fmt: skip
    return rows


# ---- what is written ----------------------------------------------------------------------------


def p_text(log_p: float | None) -> str:
    """A p-value without its sign of equality."""
    return "–" if log_p is None else format_p(log_p).removeprefix("= ")


def points(value: float | None) -> str:
    """A share in percentage points."""
    return "–" if value is None else f"{100 * value:.1f}"


def gain_text(row: dict[str, Any]) -> str:
    """A difference in percentage points with its interval."""
    low, high = row["interval"]
    return f"{100 * row['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def claim_table(rows: list[dict[str, Any]]) -> str:
    """The main table."""
    body = []
    for row in rows:
        pair = row.get("paired")
        spread = (
            "–" if pair is None else f"{p_text(pair['p_least'])} to {p_text(pair['p_greatest'])}"
        )
        most = None if pair is None else pair.get("disagreement")
        body.append([
            row["paper"], row["what"], f"{row['a']} → {row['b']}{'' if row['whole'] else ' †'}",
            str(row["n"]), gain_text(row), p_text(row["log_p"]), p_text(row["log_holm"]), spread,
            "–" if most is None else f"{most:.1%}",
            "–" if row["correlation"] is None else f"{row['correlation']:.2f}",
            points(row["detectable"]), row["says"], row["verdict"],
        ])  # fmt: skip
    header = [
        "paper", "second / first", "%", "n", "difference, points [95 %]", "p, unpaired", "Holm",
        "p, paired: least to greatest", "disagreement at most", "correlation at least",
        "seen with power .8, points", "paper says", "verdict",
    ]  # fmt: skip
    return markdown_table(header, body)


def transparency() -> tuple[str, dict[str, Any]]:
    """The Technical Transparency Index: totals, and ranks under other weights."""
    shares = rank_shares(PUBLISHED)
    order = sorted(range(len(PUBLISHED)), key=lambda i: -PUBLISHED[i].total)
    body, data = [], {}
    for rank, i in enumerate(order):
        row = PUBLISHED[i]
        ahead = sum(dominates(row, other) for other in PUBLISHED)
        kept = float(shares[i, rank])
        body.append([row.name, *(str(row.points[d]) for d in ITEMS), str(row.total), str(rank + 1),
                     f"{kept:.1%}", str(ahead)])  # fmt: skip
        data[row.name] = {"total": row.total, "rank_kept": kept, "dominates": ahead}
    header = ["report", *ITEMS, "total", "rank", "keeps its rank", "ahead of, under any weights"]
    return markdown_table(header, body), data


def report(rows: list[dict[str, Any]], averages: list[dict[str, Any]], tti: str) -> str:
    """The text of result.md."""
    tally = {name: sum(row["verdict"] == name for row in rows) for name in COLOURS}
    lines = ", ".join(f"{number} {name}" for name, number in tally.items())
    survive = sum(row["log_holm"] <= math.log(ALPHA) for row in rows)
    means = markdown_table(
        ["second / first", "%", "difference, points [95 %]", "p, unpaired", "correlation at least",
         "seen with power .8, points"],
        [[r["what"], f"{r['a']} → {r['b']}", gain_text(r), p_text(r["log_p"]),
          f"{r['correlation']:.2f}", points(r["detectable"])] for r in averages],
    )  # fmt: skip
    abstract = markdown_table(
        ["benchmark", "abstract, points", "table 2", "difference, points", "follows"],
        [[name, f"+{said}", f"{a} → {b}", f"{b - a:+.1f}",
          "yes" if abs(b - a - said) < 0.05 else "no"] for name, said, a, b in ABSTRACT],
    )  # fmt: skip
    rest = markdown_table(["paper", "claim", "why"], [list(row) for row in UNTESTABLE])
    return f"""# Published differences

{len(rows)} comparisons: {lines}. After Holm over all of them {survive} stay below {ALPHA:g}.

{claim_table(rows)}

p, unpaired: pooled z test, Fisher's exact test where n < {SMALL}. † no whole number of n prints as
one of the percentages; the nearest is taken. "seen with power .8" is for independent samples.

## NaturalReasoning

Averages of GPQA-Diamond (n = 198) and MMLU-Pro (n = 12,032). One average has a standard error of at
most {100 * averages[0]["se"] / math.sqrt(2):.2f} points, a difference of two independent ones
of {100 * averages[0]["se"]:.2f}.

{means}

## RIP: abstract against table

{abstract}

## Not to be tested

{rest}

## Technical Transparency Index

{tti}

20,000 draws of weights, uniform over the simplex; Monte Carlo se at most 0.4 percentage points.
"""


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Differences with their intervals, the colour says the verdict."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.21 * len(rows) + 1.2))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, colour in COLOURS.items():
        at = [i for i, row in enumerate(rows) if row["verdict"] == name]
        if at:
            gain = np.array([100 * rows[i]["difference"] for i in at])
            ends = np.array([[100 * end for end in rows[i]["interval"]] for i in at]).T
            axes.errorbar(gain, at, xerr=[gain - ends[0], ends[1] - gain], fmt="o", ms=3.5,
                          color=colour, label=name, lw=1.2)  # fmt: skip
    axes.axvline(0, color="k", lw=0.8)
    axes.set_yticks(
        range(len(rows)), [f"{row['paper']}: {row['what']}" for row in rows], fontsize=6
    )
    axes.set_xscale("symlog", linthresh=10)
    ticks = [-60, -30, -10, -5, 0, 5, 10, 30]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.invert_yaxis()
    axes.set_xlabel("difference, percentage points, 95 % (unpaired; linear within ±10)")
    axes.legend(loc="lower left", fontsize=7)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")


def results() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All rows, with p-values adjusted by Holm over the main table."""
    rows = [examine(claim) for claim in CLAIMS]
    for row, adjusted in zip(rows, holm([row["log_p"] for row in rows]), strict=True):
        row["log_holm"] = float(adjusted)
    return rows, average_rows()


def main(arguments: list[str] | None = None) -> None:
    """Write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=HERE)
    parser.add_argument("--quick", action="store_true", help="The same: it takes seconds.")
    options = parser.parse_args(arguments)
    rows, averages = results()
    tti, ranks = transparency()
    write_text(report(rows, averages, tti), options.out / "result.md")
    write_json(
        {"claims": rows, "natural_reasoning": averages, "transparency": ranks},
        options.out / "result.json",
    )
    draw(rows, options.out / "result.png")


if __name__ == "__main__":
    main()
