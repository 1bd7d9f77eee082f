"""The figures: numbers from `prepare` drawn as SVG.

Runs are told apart by colour, marker and line at once (`STYLES`); their names are in the page's
own legend, never in a figure, so that no text of others is ever drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from statllm.report.prepare import Course, Curve, Histogram, Reliability
from statllm.report.words import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Style:
    """How one run is drawn: colour, marker (matplotlib's letter) and dashes (none: solid)."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()

    @property
    def line(self) -> Any:
        """Matplotlib's line style."""
        return (0, self.dashes) if self.dashes else "-"


#: Colours of Okabe and Ito (2008), which colour-blind readers can tell apart.
STYLES = (
    Style("#0072B2", "o"),
    Style("#D55E00", "s", (5, 1.5)),
    Style("#009E73", "^", (1.5, 1.5)),
    Style("#CC79A7", "D", (6, 1.5, 1.5, 1.5)),
    Style("#E69F00", "v", (3, 3)),
    Style("#56B4E9", "P", (8, 2)),
)
#: The model that a run starts from.
START = Style("#6B6B6B", "o")

_INK, _GRID = "#333333", "#E3E3E3"
_SIZE = (4.4, 3.0)  # inches; a figure is as wide as a phone, and the page sets them in columns


def style_of(place: int) -> Style:
    """Return the style of the run at a place; they come round again after six."""
    return STYLES[place % len(STYLES)]


def plot_swatch(style: Style) -> str:
    """Draw a run's line and marker for the page's legends; it has no ids, so it can recur."""
    from matplotlib.markers import MarkerStyle

    marker = MarkerStyle(style.marker)
    path = marker.get_path().transformed(marker.get_transform())
    outline = np.asarray(path.to_polygons()[0], dtype=np.float64)
    points = " ".join(f"{17 + 8 * x:.1f},{6 - 8 * y:.1f}" for x, y in outline)
    dashes = " ".join(f"{2 * length:g}" for length in style.dashes) or "none"
    return (
        '<svg aria-hidden="true" viewBox="0 0 34 12" class="plot">'
        f'<path d="M1 6H33" stroke="{style.colour}" stroke-width="2" '
        f'stroke-dasharray="{dashes}"/><polygon points="{points}" fill="{style.colour}"/></svg>'
    )


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
    with _figure() as (figure, axes):
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
        _name(axes, "% of problems that are right")
        axes.set_ylim(max(0.0, 10 * np.floor(10 * lowest - 0.5)), 101)
        return _svg(figure, ident, label)


def plot_reliability(bins: Reliability, style: Style, ident: str, label: str) -> str:
    """Draw accuracy by vote share, with the number of problems per bin below it."""
    with _figure(rows=2, heights=(2.6, 1.0), size=(3.8, 3.5)) as (figure, (above, below)):
        above.plot([0, 1], [0, 100], color="#9A9A9A", linewidth=1, linestyle=(0, (2, 2)))
        there, right = bins.count > 0, max(float(bins.edges[-1]), 1.03)
        x, y = bins.share[there], 100 * bins.accuracy[there]
        reach = np.maximum([y - 100 * bins.low[there], 100 * bins.high[there] - y], 0)
        above.errorbar(
            x, y, yerr=reach, color=style.colour, linestyle="none", marker=style.marker,
            markersize=5, elinewidth=1.2, capsize=3,
        )  # fmt: skip
        _name(above, "majority answers that are right, %")
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
        _name(below, "number of problems")
        below.locator_params(axis="y", nbins=3, integer=True)
        figure.subplots_adjust(hspace=0.3)
        return _svg(figure, ident, label)


def plot_histograms(
    after: Histogram, style: Style, before: Histogram | None, top: float | None, xlabel: str,
    of: str, ident: str, label: str,
) -> str:  # fmt: skip
    """Draw a histogram up to the share `top`; the one before, if any, is grey behind it."""
    with _figure() as (figure, axes):
        if before is not None:
            axes.stairs(100 * before.share, before.edges, fill=True, color="#CFCFCF")
        axes.stairs(
            100 * after.share, after.edges, fill=before is None, color=style.colour, linewidth=1.9,
            alpha=1.0 if before is not None else 0.8,
        )  # fmt: skip
        axes.set_xlim(min(0.0, after.edges[0]), after.edges[-1])
        axes.set_ylim(0, None if top is None else 104 * top)
        axes.set_xlabel(xlabel)
        _name(axes, f"% of {of}")
        return _svg(figure, ident, label)


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
    with _figure() as (figure, axes):
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
            axes.axvline(border, color="#9A9A9A", linewidth=0.8)
        axes.set_xlim(0, n_iterations)
        middles = np.arange(n_iterations) + 0.5
        axes.set_xticks(middles, [f"iteration {k}" for k in range(1, n_iterations + 1)])
        axes.tick_params(axis="x", length=0)
        axes.grid(False, axis="x")
        _name(axes, ylabel)
        axes.set_xlabel("steps of training, from the first to the last")
        return _svg(figure, ident, label)


# ---- shared ---------------------------------------------------------------------------------


@contextmanager
def _figure(
    rows: int = 1, heights: Sequence[float] | None = None, size: tuple[float, float] = _SIZE
) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure and its axes in our style, whatever the user's own settings are."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "statllm",
                "svg.fonttype": "none",
                "text.parse_math": False,
                "font.size": 10,
                "axes.edgecolor": "#8C8C8C",
                "axes.labelcolor": _INK,
                "text.color": _INK,
                "xtick.color": _INK,
                "ytick.color": _INK,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": _GRID,
                "grid.linewidth": 0.7,
            }
        )
        figure = Figure(figsize=size)
        axes = figure.subplots(rows, 1, height_ratios=heights)
        # Fixed margins in inches: figures side by side line up.
        width, height = size
        figure.subplots_adjust(
            left=0.5 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - 0.27 / height
        )
        for each in np.atleast_1d(axes):
            _light(each)
        yield figure, axes


def _name(axes: Axes, text: str) -> None:
    """Say what the vertical axis is: above it, so that nobody has to tilt the head."""
    axes.set_title(text, loc="left", x=-0.1, fontsize=9.5, color="#595959", pad=6)


def _light(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.tick_params(length=3, width=0.7)
    for spine in axes.spines.values():
        spine.set_linewidth(0.8)


def _svg(figure: Figure, ident: str, label: str) -> str:
    """Return the figure as an <svg> that can stand in a page beside others.

    Ids that are referred to get the prefix `ident`, the others go; the size is left to the page.
    Metadata (a date, a version) is left out, so that equal numbers give equal bytes.
    """
    from html import escape

    figure.patch.set_alpha(0)
    out = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", metadata=metadata)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"\n? *<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)  # the page's font
    used = set(re.findall(r'(?:url\(#|href="#)([^")]*)', text))
    text = re.sub(r'\sid="([^"]*)"', lambda m: m.group() if m[1] in used else "", text)
    text = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{ident}-", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None  # matplotlib always writes one
    said = escape(visible(label))
    head = f'<svg role="img" aria-label="{said}" {box.group()} class="plot">'
    body = text[text.index(">") + 1 :]
    # matplotlib refers to markers by xlink:href; HTML knows href alone.
    return (head + body.replace("xlink:href=", "href=")).strip()
