"""The figures of a configuration, with their numbers as tables."""

from __future__ import annotations

import math

from statllm.report import words
from statllm.report.panels import Panel
from statllm.report.watermark import plots
from statllm.report.watermark.gather import PER_DECADE, OfConfiguration
from statllm.report.watermark.numbers import small


def panels_of(each: OfConfiguration, place: int) -> list[Panel]:
    """Draw the histogram of the p-values and their tail; `place` numbers the configuration."""
    p = each.p
    first, rest = p.bins[0] / p.n, p.n - int(p.bins[0])
    histogram = Panel(
        f"{each.name}: p-values",
        plots.plot_histogram(
            p,
            f"bins-{place}",
            f"Histogram of the p-values of {each.name}: {words.percent(first)} of documents have "
            "one of at most 0.05, by chance it would be 5 %",
        ),
        f"{words.count(p.n)} documents; {words.percent(first)} at or below 0.05, "
        f"{words.count(rest)} above.",
        ("p-value", "documents", "by chance"),
        tuple(
            (f"{k / len(p.bins):.2f} to {(k + 1) / len(p.bins):.2f}", words.count(int(n)),
             words.number(p.n / len(p.bins), 1))
            for k, n in enumerate(p.bins)
        ),
    )  # fmt: skip
    counts, decades = p.at_most, plots.tail_decades(p.n)
    level = 10.0 ** -(decades - 2)
    deep = int(counts[(decades - 2) * PER_DECADE])
    tail = Panel(
        f"{each.name}: tail",
        plots.plot_tail(
            p,
            f"tail-{place}",
            f"Share of documents with a p-value of {each.name} at or below a level, against the "
            f"level: {words.count(deep)} of {words.count(p.n)} at {small(math.log(level))}",
        ),
        f"The smallest p-value is {small(p.least)}. {words.count(deep)} documents are at or below "
        f"{small(math.log(level))}; by chance {words.number(p.n * level, 1)}.",
        ("level", "documents at or below", "by chance"),
        tuple(
            (small(-k * math.log(10)) if k else "1", words.count(int(counts[k * PER_DECADE])),
             f"{p.n * 10.0**-k:,.4g}")
            for k in range(decades + 1)
        ),
    )  # fmt: skip
    return [histogram, tail]
