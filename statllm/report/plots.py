"""The figures of a run: numbers from `prepare` drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from statllm.report.drawing import Style, name_axis, new_figure, style_of, to_svg
from statllm.report.prepare import Course, Curve, Histogram, Reliability


def plot_courses(courses: Mapping[int, Course], lowest: float, ident: str, label: str) -> str:
    """Draw an accuracy over iterations with its intervals, a line per run.

    Parameters
    ----------
    courses : mapping
        Place of the run -> its course.
    lowest : float
        The smallest share that has to be in sight.
    ident : str
        Prefix of the ids inside the SVG; unique on the page.
    label : str
        What a screen reader says.
    """
    with new_figure() as (figure, axes):
        n = max(int(course.iterations.max()) for course in courses.values())
        for order, (place, course) in enumerate(courses.items()):
            style = style_of(place)
            x = course.iterations + 0.07 * (order - (len(courses) - 1) / 2)
            reach = np.maximum([course.values - course.low, course.high - course.values], 0)
            axes.errorbar(
                x, 100 * course.values, yerr=100 * reach, color=style.colour, linestyle=style.line,
                marker=style.marker, markersize=5, linewidth=1.5, elinewidth=1.1, capsize=3,
            )  # fmt: skip
        names = ["start", *map(str, range(1, n + 1))]
        axes.set_xticks(range(n + 1), names)
        axes.set_xlim(-0.3, n + 0.3)
        axes.set_xlabel("iteration")
        name_axis(axes, "% of problems that are right")
        axes.set_ylim(max(0.0, 10 * np.floor(10 * lowest - 0.5)), 101)
        return to_svg(figure, ident, label)


def plot_reliability(bins: Reliability, style: Style, ident: str, label: str) -> str:
    """Draw accuracy by vote share, with the number of problems per bin below it."""
    with new_figure(rows=2, heights=(2.6, 1.0), size=(3.8, 3.5)) as (figure, (above, below)):
        above.plot([0, 1], [0, 100], color="#8C8C8C", linewidth=1, linestyle=(0, (2, 2)))
        there, right = bins.count > 0, max(float(bins.edges[-1]), 1.03)
        x, y = bins.share[there], 100 * bins.accuracy[there]
        reach = np.maximum([y - 100 * bins.low[there], 100 * bins.high[there] - y], 0)
        above.errorbar(
            x, y, yerr=reach, color=style.colour, linestyle="none", marker=style.marker,
            markersize=5, elinewidth=1.2, capsize=3,
        )  # fmt: skip
        name_axis(above, "majority answers that are right, %")
        above.set_ylim(-3, 103)
        above.set_xlim(0, right)
        above.set_xticks(np.linspace(0, 1, 6), [])
        width = np.diff(bins.edges)
        below.bar(
            bins.edges[:-1], bins.count, width=width, align="edge", color=style.colour, alpha=0.75,
            edgecolor="white", linewidth=0.8,
        )  # fmt: skip
        below.set_xlim(0, right)
        below.set_xticks(np.linspace(0, 1, 6))
        below.set_xlabel("share of the votes")
        name_axis(below, "number of problems")
        below.locator_params(axis="y", nbins=3, integer=True)
        figure.subplots_adjust(hspace=0.3)
        return to_svg(figure, ident, label)


def plot_histograms(
    after: Histogram, style: Style, before: Histogram | None, top: float | None, xlabel: str,
    of: str, ident: str, label: str,
) -> str:  # fmt: skip
    """Draw a histogram up to the share `top`; the one before, if any, is grey behind it."""
    with new_figure() as (figure, axes):
        if before is not None:
            axes.stairs(100 * before.share, before.edges, fill=True, color="#CFCFCF")
        axes.stairs(
            100 * after.share, after.edges, fill=before is None, color=style.colour, linewidth=1.9,
            alpha=1.0 if before is not None else 0.8,
        )  # fmt: skip
        axes.set_xlim(min(0.0, after.edges[0]), after.edges[-1])
        axes.set_ylim(0, None if top is None else 104 * top)
        axes.set_xlabel(xlabel)
        name_axis(axes, f"% of {of}")
        return to_svg(figure, ident, label)


def plot_curves(
    curves: Sequence[tuple[int, int, Curve, str]], n_iterations: int, ylabel: str, ident: str,
    label: str,
) -> str:  # fmt: skip
    """Draw training curves, the iterations side by side.

    Parameters
    ----------
    curves : sequence of (place of the run, iteration, curve, kind)
        Kind "light" is drawn thinner and fainter (the rejected responses beside the chosen).
    """
    with new_figure() as (figure, axes):
        for place, iteration, curve, kind in curves:
            style = style_of(place)
            x = iteration - 1 + curve.progress
            light = kind == "light"
            if not light:
                axes.fill_between(
                    x, curve.low, curve.high, color=style.colour, alpha=0.13, linewidth=0
                )
            axes.plot(
                x, curve.mean, color=style.colour, linestyle=style.line,
                linewidth=1.0 if light else 1.8, alpha=0.6 if light else 1.0,
            )  # fmt: skip
        for border in range(1, n_iterations):
            axes.axvline(border, color="#8C8C8C", linewidth=0.8)
        axes.set_xlim(0, n_iterations)
        middles = np.arange(n_iterations) + 0.5
        axes.set_xticks(middles, [f"iteration {k}" for k in range(1, n_iterations + 1)])
        axes.tick_params(axis="x", length=0)
        axes.grid(False, axis="x")
        name_axis(axes, ylabel)
        axes.set_xlabel("steps of training, from the first to the last")
        return to_svg(figure, ident, label)
