"""Numbers as the uncertainty page shows them: rows of tables, figures with captions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from statllm.report import words
from statllm.report.panels import Panel
from statllm.report.uncertainty import plots
from statllm.report.uncertainty.calibration import Calibration
from statllm.report.uncertainty.coverage import Coverage
from statllm.report.uncertainty.ranking import Rank
from statllm.results import Estimate, TestResult

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """A figure: value, interval, and what else is to be said of it."""

    value: str
    interval: str
    note: str = ""


@dataclass(frozen=True)
class RankRow:
    """A score in the ranking table."""

    name: str
    about: str
    auroc: Cell
    picture: Markup
    difference: Cell | None
    others: list[Cell]
    ties: str
    n: str
    n_missing: int


def cell(estimate: Estimate, level: float, signed: bool = False, note: str = "") -> Cell:
    """Return an estimate as a cell, with three digits."""
    limits = estimate.interval(level)
    ends = ", ".join(words.number(end, 3, signed) for end in (limits.low, limits.high))
    return Cell(words.number(estimate.value, 3, signed), f"[{ends}]", note)


def rank_rows(ranks: list[Rank], level: float) -> list[RankRow]:
    """Return the ranking table."""
    from markupsafe import Markup

    low = picture_start(ranks, level)
    rows = []
    for rank in ranks:
        difference = None
        if rank.difference is not None:
            difference = cell(rank.difference, level, True, words.p_value(rank.log_p))
        picture = plots.plot_interval(rank.auroc, level, low, 1.0, 0.5)
        rows.append(
            RankRow(
                rank.score.name,
                rank.score.about,
                cell(rank.auroc, level),
                Markup(picture),
                difference,
                [cell(f, level) for f in (rank.prr, rank.aurc, rank.e_aurc, rank.augrc)],
                words.percent(rank.ties),
                words.count(rank.n),
                rank.n_missing,
            )
        )
    return rows


def picture_start(ranks: list[Rank], level: float) -> float:
    """Return where the pictures of AUROCs begin: 0.5, or the tenth below all limits."""
    ends = [rank.auroc.interval(level).low for rank in ranks]
    known = [end for end in (*ends, *(rank.auroc.value for rank in ranks)) if not math.isnan(end)]
    return min(0.5, math.floor(10 * min(known)) / 10)


def coverage_panels(
    curves: list[tuple[Rank, Coverage]], max_risk: float, delta: float, level: float
) -> list[Panel]:
    """Draw risk-coverage curves, the best score's beside each of the others."""
    top = plots.coverage_top([curve for _, curve in curves], max_risk)
    panels = []
    for place, (rank, curve) in enumerate(curves):
        svg = plots.plot_coverage(
            curve, curves[0][1] if place else None, max_risk, top, f"coverage-{place}",
            f"Risk-coverage curve of {rank.score.name}: share of wrong answers among those kept, "
            f"from {words.percent(curve.line_risk[0])} for the surest to "
            f"{words.percent(curve.error)} for all",
        )  # fmt: skip
        area = cell(rank.aurc, level)
        caption = f"AURC {area.value} {area.interval} (risk), n = {words.count(curve.n)}"
        if curve.n_steps < curve.n:
            caption += f", {words.count(curve.n_steps)} distinct scores"
        caption += f". {threshold_sentence(rank, curve, max_risk, delta)}"
        panels.append(Panel(rank.score.name, svg, caption, *_coverage_table(curve, level)))
    return panels


def threshold_sentence(rank: Rank, curve: Coverage, max_risk: float, delta: float) -> str:
    """Say which answers may be kept, or that no threshold is certified."""
    rule = curve.threshold
    if rule is None:
        return "No threshold with a guarantee: it would need independent answers."
    promise = (
        f"at most {words.percent(max_risk)} of the kept wrong, with confidence "
        f"{words.percent(1 - delta)}"
    )
    if not rule.certified:
        return f"No threshold is certified for {promise}."
    sign = "≥" if rank.score.rises else "≤"
    number = rule.threshold if rank.score.rises else -rule.threshold
    value = f"{number:.4g}".replace("-", "−")
    unit = f" {rank.score.unit}" if rank.score.unit else ""
    return (
        f"Keep {rank.score.name} {sign} {value}{unit}: {promise}; here "
        f"{words.count(rule.kept)} of {words.count(rule.n)} kept, "
        f"{words.percent(rule.risk)} of them wrong."
    )


def _coverage_table(
    curve: Coverage, level: float
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The curve at every step, or at ten coverages."""
    places = range(len(curve.coverage))
    if len(curve.coverage) > 12:
        wanted = np.searchsorted(curve.coverage, np.arange(1, 11) / 10 - 1e-9)
        places = np.unique(wanted).tolist()
    rows = tuple(
        (
            words.percent(float(curve.coverage[i])),
            words.percent(float(curve.risk[i])),
            f"[{100 * curve.low[i]:.1f}, {100 * curve.high[i]:.1f}]",
        )
        for i in places
    )
    return ("kept", "wrong among them", f"{words.percent(level, 0)} interval"), rows


@dataclass(frozen=True)
class CalibrationView:
    """A confidence: its diagram, its errors and its tests."""

    panel: Panel
    figures: list[tuple[str, str, Cell, str, str]]
    tests: list[tuple[str, str, str, str]]


def calibration_view(found: Calibration, place: int, level: float) -> CalibrationView:
    """Draw one confidence's reliability diagram and list its numbers."""
    name = found.score.name
    mean, right = found.figures[1], found.figures[0]
    svg = plots.plot_calibration(
        found, f"calibration-{place}",
        f"Reliability diagram of {name}: share of right answers by confidence; mean confidence "
        f"{words.percent(mean.value)}, right {words.percent(right.value)}",
    )  # fmt: skip
    bins = found.bins
    rows = tuple(
        (
            words.percent(float(bins.confidence[i])),
            words.count(int(bins.count[i])),
            words.percent(float(bins.frequency[i])),
            f"[{100 * bins.low[i]:.1f}, {100 * bins.high[i]:.1f}]",
            f"[{100 * bins.low_all[i]:.1f}, {100 * bins.high_all[i]:.1f}]",
        )
        for i in range(len(bins.count))
    )
    of = f"{words.percent(level, 0)} interval"
    header = ("mean confidence", "answers", "right", of, f"{of}, all bins together")
    n = words.count(found.n)
    panel = Panel(name, svg, f"n = {n}, {len(bins.count)} bins.", header, rows)
    figures = [
        (f.name, _of_unit(f), cell(f, level), _kind(f, level), words.count(f.n))
        for f in found.figures
    ]
    tests = [
        (test.method, _statistic(test), words.p_value(test.log_p_value), words.p_value(adjusted))
        for test, adjusted in zip(found.tests, found.log_p, strict=True)
    ]
    return CalibrationView(panel, figures, tests)


def _kind(figure: Estimate, level: float) -> str:
    return words.interval_name(figure.interval(level).method)


def _of_unit(figure: Estimate) -> str:
    return figure.unit or "no unit"


def _statistic(test: TestResult) -> str:
    return f"{test.statistic:.4g}".replace("-", "−") if math.isfinite(test.statistic) else "∞"
