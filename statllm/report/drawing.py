"""Figures as SVG: the style that they share, and how they come to stand in a page.

Series are told apart by colour, marker and line at once (`STYLES`); their names are in the page's
own text, never in a figure, so that no text of others is ever drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from statllm.report.words import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Style:
    """How a run or a score is drawn: colour, marker (matplotlib's letter), dashes (none: solid)."""

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

_INK, _SOFT, _AXIS, _GRID = "#333333", "#595959", "#8C8C8C", "#E3E3E3"
#: Colours that the page's style sheet decides, since they differ on a dark page.
_OF_PAGE = {
    _INK: "ink",
    _SOFT: "soft",
    _AXIS: "axis",
    _GRID: "grid",
    "#CFCFCF": "bar",
    "#FFFFFF": "page",
}
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


def plot_line(style: Style) -> str:
    """Draw a line without a marker for the page's legends."""
    dashes = " ".join(f"{2 * length:g}" for length in style.dashes) or "none"
    return (
        '<svg aria-hidden="true" viewBox="0 0 34 12" class="plot">'
        f'<path d="M1 6H33" stroke="{style.colour}" stroke-width="2.4" '
        f'stroke-dasharray="{dashes}"/></svg>'
    )


@contextmanager
def new_figure(
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
                "axes.edgecolor": _AXIS,
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


def name_axis(axes: Axes, text: str) -> None:
    """Say what the vertical axis is: above it, so that nobody has to tilt the head."""
    axes.set_title(text, loc="left", x=-0.1, fontsize=9.5, color=_SOFT, pad=6)


def _light(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.tick_params(length=3, width=0.7)
    for spine in axes.spines.values():
        spine.set_linewidth(0.8)


def to_svg(figure: Figure, ident: str, label: str) -> str:
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
    for colour, name in _OF_PAGE.items():
        text = re.sub(rf"(fill|stroke): {colour}(?=[;\"])", rf"\1: var(--{name})", text, flags=re.I)
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
