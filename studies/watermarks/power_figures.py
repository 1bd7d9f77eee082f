"""The figures of the study of power: lines are planned, points are seen with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from power_common import NAMES, STYLES
from power_edits import Point
from power_pivots import SUMS, Curve, planned
from power_text import Line

from statllm.estimators.proportions import wilson
from statllm.estimators.watermark.chosen import ChosenLaw

matplotlib.use("Agg")

OTHERS = ("KGW left-hash", "KGW, a context once", "SynthID, DeepMind", "vLLM dual-key")
EDIT_STYLES = {
    "sum": STYLES["sum"],
    "log": STYLES["log"],
    "optimal .01": STYLES["optimal"],
    "Tr-GoF s = 2": STYLES["trgof"],
}


def bars(axes: Any, x: Any, hits: Any, of: Any, style: Any, label: str | None = None) -> None:
    """Shares with their intervals."""
    colour, marker, _ = style
    share = np.asarray(hits) / np.asarray(of)
    low, high = wilson(hits, of)
    axes.errorbar(
        x, share, yerr=np.maximum([share - low, high - share], 0), color=colour, marker=marker,
        linestyle="none", markersize=4, elinewidth=1, capsize=2, label=label,
    )  # fmt: skip


def pivots_panel(axes: Any, curves: Sequence[Curve], delta: float, stops: Any) -> None:
    """Power by tokens of least-favourable laws, level 1e-6."""
    law = ChosenLaw.least_favourable(delta)
    for curve in curves:
        if curve.delta != delta or curve.alpha != 1e-6:
            continue
        style, name = STYLES[curve.test], NAMES.get(curve.test, curve.test)
        top = max(curve.hits) * 1.15
        grid = np.unique(np.geomspace(max(5, top / 12), top, 14 if curve.test in SUMS else 7))
        power = [planned(curve.test, max(2, round(n)), law, 1e-6, delta) for n in grid]
        axes.plot(grid, power, color=style[0], linestyle=style[2], linewidth=1.4)
        bars(axes, list(curve.hits), list(curve.hits.values()), curve.texts, style, name)
    found = np.sort(np.where(stops > 0, stops, 10**9))
    share = np.arange(1, len(found) + 1) / len(found)
    kept = found < 10**9
    axes.plot(found[kept], share[kept], color="#333333", linewidth=1.4, label="e-process")
    axes.set_xscale("log")
    axes.set_title(f"Delta = {delta:g}", loc="left", fontsize=10)


def text_panel(axes: Any, lines: Sequence[Line], title: str, by: str) -> None:
    """Power by scored tokens of written text."""
    for place, line in enumerate(lines):
        style = STYLES[line.test] if by == "test" else list(STYLES.values())[place % len(STYLES)]
        n = list(line.seen)
        name = NAMES.get(line.test, line.test) if by == "test" else line.contender
        if line.planned:
            axes.plot(
                n, list(line.planned.values()), color=style[0], linestyle=style[2], linewidth=1.4
            )
        hits, of = zip(*line.seen.values(), strict=True)
        bars(axes, n, list(hits), list(of), style, name)
    axes.set_xscale("log")
    axes.set_title(title, loc="left", fontsize=10)


def draw_power(path: Path, curves: Sequence[Curve], stops: Mapping[float, Any]) -> None:
    """A panel per Delta."""
    deltas = [delta for delta in stops if delta >= 0.1]
    figure, axes = _panels(1, len(deltas))
    for each, delta in zip(axes[0], deltas, strict=True):
        pivots_panel(each, curves, delta, stops[delta])
        each.set_xlabel("tokens")
    _finish(figure, axes, path)


def draw_text(path: Path, lines: Sequence[Line], entropies: Mapping[float, float]) -> None:
    """A panel per temperature for the tests of pivots, and one for other schemes."""
    figure, axes = _panels(1, len(entropies) + 1)
    there = [line for line in lines if line.seen]
    for each, (temperature, entropy) in zip(axes[0], entropies.items(), strict=False):
        here = [
            line
            for line in there
            if line.contender == "vLLM Gumbel" and line.temperature == temperature
        ]
        text_panel(each, here, f"vLLM Gumbel, T = {temperature:g}, {entropy:.2f} nats", "test")
    middle = list(entropies)[len(entropies) // 2]
    others = [
        line
        for line in there
        if line.contender in OTHERS and line.test == "sum" and line.temperature == middle
    ]
    text_panel(axes[0, -1], others, f"other schemes, T = {middle:g}", "scheme")
    axes[0, -1].legend(fontsize=8, frameon=False)
    for each in axes[0]:
        each.set_xlabel("tokens that count")
    _finish(figure, axes, path)


def draw_edits(path: Path, points: Sequence[Point]) -> None:
    """Power by share edited: a row per temperature, a column per edit."""
    temperatures = list(dict.fromkeys(point.temperature for point in points))
    edits = list(dict.fromkeys(point.edit for point in points))
    figure, axes = _panels(len(temperatures), len(edits))
    for row, temperature in enumerate(temperatures):
        for column, edit in enumerate(edits):
            here = [p for p in points if (p.temperature, p.edit) == (temperature, edit)]
            each = axes[row, column]
            for name, style in EDIT_STYLES.items():
                rates = [100 * point.rate for point in here]
                each.plot(
                    rates, [point.planned[name] for point in here], color=style[0],
                    linestyle=style[2], linewidth=1.4,
                )  # fmt: skip
                of = [point.documents for point in here]
                bars(each, rates, [point.hits[name] for point in here], of, style, name)
            each.set_title(f"{edit}, T = {temperature:g}", loc="left", fontsize=10)
            each.set_xlabel("% edited")
    _finish(figure, axes, path)


def _panels(rows: int, columns: int) -> Any:
    from matplotlib import pyplot as plt

    return plt.subplots(
        rows, columns, figsize=(3.6 * columns, 3.2 * rows), constrained_layout=True, sharey=True,
        squeeze=False,
    )  # fmt: skip


def _finish(figure: Any, axes: Any, path: Path) -> None:
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    axes[0, 0].legend(fontsize=8, frameon=False)
    for each in axes.flat:
        each.set_ylim(-0.03, 1.03)
        each.xaxis.set_minor_formatter(NullFormatter())
        each.grid(color="#E3E3E3", linewidth=0.7)
        each.set_axisbelow(True)
        for side in ("top", "right"):
            each.spines[side].set_visible(False)
    for row in axes:
        row[0].set_ylabel("power")
    figure.savefig(path, dpi=80)
    plt.close(figure)
