"""The figures of the watermark page; what lines mean is in the page's legend."""

from __future__ import annotations

import numpy as np

from statllm.ragged import FloatArray
from statllm.report.drawing import Style, name_axis, new_figure, style_of, to_svg
from statllm.report.watermark.gather import BINS, PER_DECADE, PValues

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

FOUND = style_of(0)
CHANCE = Style("#6B6B6B", "", (1.2, 1.8))


def chance_band(n: int, level: FloatArray, coverage: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Return where the share of n uniform p-values at most `level` lies, at each level by itself.

    Quantiles of Binomial(n, level) / n.
    """
    from scipy import stats

    tail = (1 - coverage) / 2
    low, high = (stats.binom.ppf(at, n, level) / n for at in (tail, 1 - tail))
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def plot_histogram(p: PValues, ident: str, label: str) -> str:
    """Draw the p-values in bins of 0.05, and where chance alone would put them."""
    edges = np.linspace(0, 1, BINS + 1)
    low, high = chance_band(p.n, np.array([1 / BINS]))
    with new_figure() as (figure, axes):
        axes.stairs(100 * p.bins / p.n, edges, fill=True, color=FOUND.colour, alpha=0.75)
        axes.axhspan(100 * low[0], 100 * high[0], color="#8C8C8C", alpha=0.3, linewidth=0)
        axes.axhline(100 / BINS, color=CHANCE.colour, linestyle=CHANCE.line, linewidth=1.4)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, None)
        axes.set_xlabel("p-value")
        name_axis(axes, "% of documents")
        return to_svg(figure, ident, label)


def tail_decades(n: int) -> int:
    """Return how far down the tail is drawn: two decades beyond 1 / n, at least four."""
    return max(4, int(np.ceil(np.log10(max(n, 1)))) + 2)


def plot_tail(p: PValues, ident: str, label: str) -> str:
    """Draw the share of documents at or below a level against the level, both as logarithms."""
    decades = tail_decades(p.n)
    steps = np.arange(decades * PER_DECADE + 1)
    level = 10.0 ** (-steps / PER_DECADE)
    share = p.at_most[steps] / p.n
    low, high = chance_band(p.n, level)
    bottom = float(np.log10(0.5 / p.n))

    def height(shares: FloatArray) -> FloatArray:
        return np.asarray(np.log10(np.maximum(shares, 10**bottom)), np.float64)

    x = -steps / PER_DECADE
    with new_figure() as (figure, axes):
        axes.fill_between(x, height(low), height(high), color="#8C8C8C", alpha=0.3, linewidth=0)
        axes.plot([0, -decades], [0, -decades], color=CHANCE.colour, linestyle=CHANCE.line,
                  linewidth=1.4)  # fmt: skip
        there = share > 0
        axes.plot(
            x[there], height(share[there]), color=FOUND.colour, linewidth=1.8,
            marker=FOUND.marker, markersize=3.5,
        )  # fmt: skip
        for set_ticks, lowest in ((axes.set_xticks, 1 - decades), (axes.set_yticks, int(bottom))):
            ticks = range(0, lowest - 1, -1 if lowest > -7 else -2)
            set_ticks(ticks, [_power(k) for k in ticks])
        axes.set_xlim(0, -decades)
        axes.set_ylim(bottom, 0.12)
        axes.set_xlabel("level")
        name_axis(axes, "share of documents with p at or below it")
        return to_svg(figure, ident, label)


def _power(exponent: int) -> str:
    """Write a power of ten; matplotlib's own labels are formulas, which our figures don't set."""
    return "1" if exponent == 0 else f"10{str(exponent).translate(_SUPERSCRIPT)}"
