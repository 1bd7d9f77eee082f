"""Tables and the picture of the test with limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from lift_answers import FIXED, FloatArray

from statllm.experiment import Result
from statllm.experiment.report import markdown_table
from statllm.files import atomic
from statllm.report.drawing import START, new_figure, style_of
from statllm.results import format_p

#: {measure: {arm: {value, low, high}}}.
Levels: TypeAlias = dict[str, dict[str, dict[str, float]]]


def levels(result: Result) -> Levels:
    """Means with their 95 % intervals."""
    found: Levels = {}
    for level in result.levels:
        interval = level.estimate.interval(0.95)
        found.setdefault(level.measure, {})[level.arm] = {
            "value": level.estimate.value,
            "low": interval.low,
            "high": interval.high,
        }
    return found


def contrasts(result: Result) -> list[dict[str, Any]]:
    """Differences of arms; p adjusted over the comparisons of a measure."""
    rows = []
    for found in result.contrasts:
        interval = found.estimate.interval(0.95)
        rows.append(
            {"measure": found.measure, "unit": found.estimate.unit, "comparison": found.name,
             "value": found.estimate.value, "low": interval.low, "high": interval.high,
             "log_p_holm": found.log_p_holm,
             "detectable": None if np.isnan(found.mde) else found.mde}
        )  # fmt: skip
    return rows


def contrast_table(rows: list[dict[str, Any]]) -> str:
    """The same as Markdown."""
    cells = [
        [row["comparison"], row["measure"], f"{row['value']:+.3f}",
         f"[{row['low']:+.3f}, {row['high']:+.3f}]", format_p(row["log_p_holm"]),
         "-" if row["detectable"] is None else f"{row['detectable']:.3f}"]
        for row in rows
    ]  # fmt: skip
    head = ["comparison", "measure", "difference", "interval", "p", "detectable"]
    return markdown_table(head, cells)


def shown(found: dict[str, float], digits: int = 3) -> str:
    """A value and its interval."""
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def page(figures: dict[str, Any]) -> str:
    """All tables as Markdown."""
    parts = [
        f"{figures['n_seeds']} training seeds, {figures['n_problems']} held-out problems, of which "
        f"{figures['n_repeated']} with one limit for all; greedy answers. 95 % intervals and tests "
        "count both as random samples; p is adjusted over the comparisons of a measure (Holm). "
        '"Detectable": the true difference found with probability .8.',
        f"**The benchmark**: the limit is the shortest of three answers by the start (median "
        f"{figures['median limit']:g} words), which is right in {figures['baseline right']:.3f}.",
    ]
    found: Levels = figures["benchmark"]
    arms = list(found["violations"])
    rows = [
        [arm, *(shown(found[name][arm]) for name in ("violations", "wins", "right")),
         shown(found["words"][arm], 1)]
        for arm in arms
    ]  # fmt: skip
    parts.append(markdown_table(["arm", "violations", "win rate", "right", "words"], rows))
    parts.append(contrast_table(figures["contrasts"]))
    for measure, title, digits in (
        ("violations", "share of answers with more words than the limit", 3),
        ("words", "mean words of an answer", 1),
        ("right", "share of right answers", 3),
    ):
        parts.append(f"**One limit for all problems**: {title}")
        rows = [
            [arm, *(shown(figures["fixed"][str(k)][measure][arm], digits) for k in FIXED)]
            for arm in arms
        ]
        parts.append(markdown_table(["arm", *(f"at most {k}" for k in FIXED)], rows))
    parts.append("**What became of the pairs**")
    head = list(figures["transform"][0])
    rows = [[row[name] for name in head] for row in figures["transform"]]
    parts.append(markdown_table(head, rows))
    return "\n\n".join(parts) + "\n"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw mean words by limit, a line per arm, and the limit itself."""
    arms = figures["benchmark"]["words"]
    with new_figure(size=(7.0, 4.2)) as (figure, axes):
        axes.plot(FIXED, FIXED, ":", color="black", linewidth=0.8, label="the limit")
        for place, arm in enumerate(arms):
            found = [figures["fixed"][str(limit)]["words"][arm] for limit in FIXED]
            draw_arm(axes, arm, place, np.array(FIXED), 0.12, found)
        axes.set_xlabel("limit in the prompt (words)")
        axes.set_ylabel("mean words of an answer, 95 % interval")
        axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")


def draw_arm(
    axes: Any, arm: str, place: int, at: FloatArray, step: float, found: list[dict[str, float]]
) -> None:
    """Draw an arm's means and intervals, beside those of the others; the start comes first."""
    style = START if place == 0 else style_of(place - 1)
    at = at + step * (place - 3)
    axes.vlines(at, [f["low"] for f in found], [f["high"] for f in found], color=style.colour)
    axes.plot(at, [f["value"] for f in found], style.marker, linestyle=style.line,
              color=style.colour, markersize=4, label=arm)  # fmt: skip
