"""The page on one table of scored answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.files import write_text
from statllm.report import words
from statllm.report.panels import Section
from statllm.report.templates import check_packages, render
from statllm.report.uncertainty import plots
from statllm.report.uncertainty.calibration import accuracy, prepare_calibration
from statllm.report.uncertainty.coverage import Coverage, prepare_coverage
from statllm.report.uncertainty.panels import (
    calibration_view,
    coverage_panels,
    picture_start,
    rank_rows,
)
from statllm.report.uncertainty.ranking import Rank, prepare_ranking
from statllm.report.uncertainty.scores import Answers, read_answers
from statllm.report.uncertainty.summary import percent_of, summarise

#: Figures that the page holds at most; the tables hold every score.
_CURVES, _DIAGRAMS = 6, 4


def write_uncertainty_report(
    scores: Mapping[str, ArrayLike],
    correct: ArrayLike,
    path: str | Path,
    clusters: ArrayLike | None = None,
    max_risk: float = 0.1,
    delta: float = 0.05,
    level: float = 0.95,
    unit: str = "answers",
    verdict: str = "correct",
    title: str = "Uncertainty report",
) -> None:
    """Write one HTML page on how far scores say which answers are right.

    It ranks the scores (AUROC, PRR, AURC, E-AURC, AUGRC, differences to the best), draws
    risk-coverage curves with a threshold that has a guarantee, and, for confidences in [0, 1],
    reliability diagrams with errors and tests. It needs no other file, no network and no script;
    equal numbers give equal bytes.

    Parameters
    ----------
    scores : mapping of str to array_like of float, shape (n,)
        Or a DataFrame. Larger means surer, except where the name begins with '-' or is that of an
        uncertainty of ours (``vote_entropy``, the metrics of `statllm score`). NaN: missing.
    correct : array_like, shape (n,)
        1 or 0; NaN where unknown: the row is left out.
    path : str or Path
        The file to write.
    clusters : array_like, shape (n,), optional
        Rows of one cluster may depend on each other.
    max_risk, delta : float
        Of the thresholds: at most a share `max_risk` of the kept is wrong, with probability
        1 - `delta` for all scores together; each of k scores is tested at `delta` / k, since the
        best is picked by the same rows.
    level : float
        Of the intervals.
    unit : str
        What a row is, in the plural.
    verdict : str
        What the page calls `correct`.
    title : str

    Raises
    ------
    InputError
        If lengths differ, a verdict is neither 0 nor 1, not both occur, no score has two values,
        a level isn't in (0, 1), or the extra ``report`` (jinja2, matplotlib) is not installed.

    Examples
    --------
    >>> write_uncertainty_report({"p": [0.9, 0.8]}, [1, 1], "page.html")
    Traceback (most recent call last):
    ...
    statllm.errors.InputError: all answers are right (2 with a verdict): there is nothing to ...
    """
    for name, value in (("max_risk", max_risk), ("delta", delta), ("level", level)):
        if not 0 < value < 1:
            raise InputError(f"{name} must lie between 0 and 1, not {value:g}")
    check_packages()
    answers = read_answers({str(k): v for k, v in scores.items()}, correct, clusters)
    content = _content(answers, max_risk, delta, level, unit, verdict)
    write_text(render("uncertainty.html", {"title": title, **content}), path)


def _content(
    answers: Answers, max_risk: float, delta: float, level: float, unit: str, verdict: str
) -> dict[str, Any]:
    """Everything the template needs; text in it is not yet escaped."""
    ranks = prepare_ranking(answers)
    curves = [
        # The best is picked by the same rows: a share of delta each makes all thresholds hold.
        (rank, prepare_coverage(answers, rank.score, max_risk, delta / len(ranks), level))
        for rank in _different(ranks)[:_CURVES]
    ]
    probabilities = [rank.score for rank in ranks if rank.score.is_probability]
    found = [prepare_calibration(answers, score, level) for score in probabilities[:_DIAGRAMS]]
    right = accuracy(answers.right, answers.clusters)
    return {
        "summary": summarise(
            ranks, curves[0][1], found, right, unit, answers.n_clusters, max_risk, delta, level
        ),
        "cards": _cards(answers, ranks, right, curves[0], delta, level, unit, verdict),
        "answers": answers,
        "unit": unit,
        "level": words.percent(level, 0),
        "max_risk": words.percent(max_risk),
        "confidence": words.percent(1 - delta),
        "axis": f"{picture_start(ranks, level):g}",
        "ranks": rank_rows(ranks, level),
        "n_pairs": len(ranks) * (len(ranks) - 1) // 2,
        "methods": _methods(ranks, level),
        "coverage": Section(coverage_panels(curves, max_risk, delta, level)),
        "n_not_drawn": len(ranks) - len(curves),
        "calibrations": [calibration_view(each, k, level) for k, each in enumerate(found)],
        "not_shown": [score.name for score in probabilities[_DIAGRAMS:]],
        "swatches": _swatches(),
    }


def _different(ranks: list[Rank]) -> list[Rank]:
    """Ranks without those that order the answers as an earlier one does, by all their areas."""
    seen, kept = set(), []
    for rank in ranks:
        areas = tuple(round(f.value, 12) for f in (rank.auroc, rank.aurc, rank.augrc))
        if areas not in seen:
            seen.add(areas)
            kept.append(rank)
    return kept


def _cards(
    answers: Answers,
    ranks: list[Rank],
    right: Any,
    best: tuple[Rank, Coverage],
    delta: float,
    level: float,
    unit: str,
    verdict: str,
) -> list[tuple[str, str, str]]:
    """The numbers printed large: (what, number, its uncertainty)."""
    at = words.percent(level, 0)
    share, limits = percent_of(right, level).split(" [")
    kind = words.interval_name(right.interval(level).method)
    top = ranks[0].auroc
    ends = top.interval(level)
    of = f"; best of {len(ranks)}" if len(ranks) > 1 else ""
    among = "" if answers.n_clusters is None else f" in {words.count(answers.n_clusters)} clusters"
    cards = [
        (
            f"{unit} with a verdict",
            words.count(answers.n),
            f"of {words.count(answers.n_rows)} rows{among}",
        ),
        ("answered right", share, f"{at} interval [{limits}, {kind}; by {verdict}"),
        (
            f"AUROC of {ranks[0].score.name}",
            words.number(top.value, 3),
            f"{at} interval [{words.number(ends.low, 3)}, {words.number(ends.high, 3)}]{of}",
        ),
    ]
    rule = best[1].threshold
    if rule is not None and rule.certified:
        cards.append(
            (
                f"kept at a risk of {words.percent(rule.max_risk)}",
                words.percent(rule.coverage),
                f"of {words.count(rule.n)} by {best[0].score.name}, with confidence "
                f"{words.percent(1 - delta)}",
            )
        )
    return cards


def _methods(ranks: list[Rank], level: float) -> list[tuple[str, str, str]]:
    """(figure, estimator, kind of interval), as the estimators name them."""
    found = []
    for name in ("auroc", "prr", "aurc", "e_aurc", "augrc", "difference"):
        figures = [f for f in (getattr(rank, name) for rank in ranks) if f is not None]
        # Degrees of freedom differ from score to score: t for all of them.
        kinds = dict.fromkeys(re.sub(r"t\(.*?\)", "t", f.interval(level).method) for f in figures)
        if figures:
            label = "difference" if name == "difference" else figures[0].name
            found.append((label, figures[0].method, "; ".join(kinds)))
    return found


def _swatches() -> dict[str, Any]:
    from markupsafe import Markup

    from statllm.report.drawing import plot_line, plot_swatch

    styles = {
        "score": plots.MAIN,
        "beside": plots.BESIDE,
        "random": plots.RANDOM,
        "ideal": plots.IDEAL,
        "asked": plots.ASKED,
        "isotonic": plots.ISOTONIC,
    }
    lines = {name: Markup(plot_line(style)) for name, style in styles.items()}
    return {**lines, "bin": Markup(plot_swatch(plots.MAIN))}
