"""The figures of the uncertainty page; what lines mean is in the page's legends."""

from __future__ import annotations

import numpy as np

from statllm.report.drawing import Style, name_axis, new_figure, style_of, to_svg
from statllm.report.uncertainty.calibration import Calibration
from statllm.report.uncertainty.coverage import Coverage
from statllm.report.uncertainty.scores import FloatArray, IntArray
from statllm.results import Estimate

MAIN = style_of(0)
#: Lines of the risk-coverage figures, and the isotonic curve.
BESIDE = Style("#6B6B6B", "", (5, 2))
RANDOM = Style("#6B6B6B", "", (1.2, 1.8))
IDEAL = Style("#009E73", "", (7, 2, 1.5, 2))
ASKED = Style("#B34A00", "", (3, 1.5))
ISOTONIC = Style("#B34A00", "")

_BAND_POINTS = 150


def coverage_top(curves: list[Coverage], max_risk: float) -> float:
    """Return the risk at which the figures end: all curves are in sight, most of the bands."""
    risks = [float(c.line_risk[c.line_coverage >= 0.05].max()) for c in curves]
    bands = [float(c.high[c.coverage >= 0.25].max()) for c in curves]
    errors = [1.25 * c.error for c in curves]
    return float(min(1.0, 1.06 * max(*risks, *bands, *errors, 1.3 * max_risk)))


def plot_coverage(
    curve: Coverage, beside: Coverage | None, max_risk: float, top: float, ident: str, label: str
) -> str:
    """Draw the risk of the answers kept, its limits, and the lines to judge it by.

    Parameters
    ----------
    curve : Coverage
    beside : Coverage or None
        Of the best score, drawn thinner.
    max_risk : float
        Asked for.
    top : float
        Risk at which the figure ends; `coverage_top`.
    ident : str
        Prefix of the ids inside the SVG; unique on the page.
    label : str
        What a screen reader says.
    """
    with new_figure() as (figure, axes):
        axes.fill_between(
            100 * curve.coverage, 100 * curve.low, 100 * curve.high, color=MAIN.colour, alpha=0.16,
            linewidth=0,
        )  # fmt: skip
        axes.axhline(100 * curve.error, color=RANDOM.colour, linestyle=RANDOM.line, linewidth=1.4)
        axes.axhline(100 * max_risk, color=ASKED.colour, linestyle=ASKED.line, linewidth=1.1)
        x = 100 * curve.line_coverage
        axes.plot(x, 100 * curve.best, color=IDEAL.colour, linestyle=IDEAL.line, linewidth=1.4)
        if beside is not None:
            axes.plot(
                100 * beside.line_coverage, 100 * beside.line_risk, color=BESIDE.colour,
                linestyle=BESIDE.line, linewidth=1.2,
            )  # fmt: skip
        axes.plot(x, 100 * curve.line_risk, color=MAIN.colour, linewidth=2)
        if curve.n_steps <= 20:
            axes.plot(
                100 * curve.coverage, 100 * curve.risk, color=MAIN.colour, linestyle="none",
                marker=MAIN.marker, markersize=4,
            )  # fmt: skip
        rule = curve.threshold
        if rule is not None and rule.certified:
            place = 100 * rule.coverage
            axes.plot([place, place], [0, 100 * max_risk], color=ASKED.colour, linewidth=1.1)
            axes.plot(
                place, 100 * rule.risk, color="white", marker="D", markersize=8,
                markeredgecolor=ASKED.colour, markeredgewidth=2, zorder=5, clip_on=False,
            )  # fmt: skip
        axes.set_xlim(0, 101)
        axes.set_ylim(0, 100 * top)
        axes.set_xlabel("% of answers kept, the surest first")
        name_axis(axes, "% of the kept that are wrong")
        return to_svg(figure, ident, label)


def plot_calibration(found: Calibration, ident: str, label: str) -> str:
    """Draw how often confidences came true, and how many there are of each below."""
    with new_figure(rows=2, heights=(2.6, 0.9), size=(4.4, 4.4)) as (figure, (above, below)):
        start, width, share = found.bars
        left, right = min(0.0, float(start[0])), max(1.03, float(start[-1] + width[-1]))
        above.plot([0, 100], [0, 100], color="#8C8C8C", linewidth=1, linestyle=(0, (2, 2)))
        curve = found.isotonic
        place = _spread(curve.confidence)
        fit = 100 * curve.confidence[place]
        if found.independent:
            above.fill_between(
                fit, 100 * curve.low[place], 100 * curve.high[place], color="#8C8C8C", alpha=0.25,
                linewidth=0,
            )  # fmt: skip
        above.plot(fit, 100 * curve.frequency[place], color=ISOTONIC.colour, linewidth=1.5)
        bins = found.bins
        x, y = 100 * bins.confidence, 100 * bins.frequency
        for low, high, thick, cap in (
            (bins.low_all, bins.high_all, 0.9, 0), (bins.low, bins.high, 2.1, 2.5)
        ):  # fmt: skip
            reach = np.maximum([y - 100 * low, 100 * high - y], 0)
            above.errorbar(
                x, y, yerr=reach, color=MAIN.colour, linestyle="none", marker=MAIN.marker,
                markersize=4.5, elinewidth=thick, capsize=cap,
            )  # fmt: skip
        above.set_ylim(-3, 103)
        above.set_xticks(np.linspace(0, 100, 6), [])
        name_axis(above, "answers that are right, %")
        below.bar(
            100 * start, 100 * share, width=100 * width, align="edge", color=MAIN.colour,
            alpha=0.75, edgecolor="white", linewidth=0.8,
        )  # fmt: skip
        below.set_xticks(np.linspace(0, 100, 6))
        below.set_xlabel("confidence, %")
        name_axis(below, "% of answers")
        below.locator_params(axis="y", nbins=3)
        for axes in (above, below):
            axes.set_xlim(100 * left, 100 * right)
        figure.subplots_adjust(hspace=0.3)
        return to_svg(figure, ident, label)


def plot_interval(estimate: Estimate, level: float, low: float, high: float, mark: float) -> str:
    """Draw an estimate and its interval between `low` and `high`, for a cell of a table.

    A thin upright line stands at `mark`. It has no text: the cell beside it says the numbers.
    """

    def place(x: float) -> float:
        return 2 + 116 * min(max((x - low) / (high - low), 0.0), 1.0)

    limits = estimate.interval(level)
    parts = [f'<path d="M{place(mark):.1f} 1V15" class="mark"/>']
    if not np.isnan(limits.low + limits.high):
        parts.append(
            f'<path d="M{place(limits.low):.1f} 8H{place(limits.high):.1f}" '
            f'stroke="{MAIN.colour}" stroke-width="2"/>'
        )
    parts.append(f'<circle cx="{place(estimate.value):.1f}" cy="8" r="3.6" fill="{MAIN.colour}"/>')
    body = "".join(parts)
    return f'<svg aria-hidden="true" viewBox="0 0 120 16" class="plot interval">{body}</svg>'


def _spread(values: FloatArray) -> IntArray:
    """Places of up to 150 rising values, even along the axis, both ends among them."""
    if len(values) <= _BAND_POINTS:
        return np.arange(len(values), dtype=np.int64)
    wanted = np.linspace(values[0], values[-1], _BAND_POINTS)
    found = np.clip(np.searchsorted(values, wanted), 0, len(values) - 1)
    return np.unique(found).astype(np.int64)
