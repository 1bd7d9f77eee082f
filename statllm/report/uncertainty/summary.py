"""What the scores are worth, in sentences made from the numbers."""

from __future__ import annotations

import math

from statllm.report import words
from statllm.report.summary import SIGNIFICANCE
from statllm.report.uncertainty.calibration import Calibration
from statllm.report.uncertainty.coverage import Coverage
from statllm.report.uncertainty.panels import cell, threshold_sentence
from statllm.report.uncertainty.ranking import Rank
from statllm.results import Estimate


def summarise(
    ranks: list[Rank],
    best: Coverage,
    calibrations: list[Calibration],
    accuracy: Estimate,
    unit: str,
    n_clusters: int | None,
    max_risk: float,
    delta: float,
    level: float,
) -> list[str]:
    """Return the opening paragraphs."""
    paragraphs = [_accuracy(accuracy, ranks, unit, n_clusters, level)]
    paragraphs.append(
        f"{_best(ranks, level)} {threshold_sentence(ranks[0], best, max_risk, delta)}"
    )
    paragraphs += [_calibrated(found, level) for found in calibrations]
    return paragraphs


def percent_of(estimate: Estimate, level: float) -> str:
    """Write a share with its interval in per cent."""
    limits = estimate.interval(level)
    ends = ", ".join(words.number(100 * end, 1) for end in (limits.low, limits.high))
    return f"{words.percent(estimate.value)} [{ends}]"


def _accuracy(
    accuracy: Estimate, ranks: list[Rank], unit: str, n_clusters: int | None, level: float
) -> str:
    rows = ranks[0].n + ranks[0].n_missing
    among = f" in {words.count(n_clusters)} clusters" if n_clusters is not None else ""
    answered = "answered right" if unit == "prompts" else "right"
    return (
        f"Of {words.count(rows)} {unit} with a verdict{among}, {percent_of(accuracy, level)} are "
        f"{answered}."
    )


def _best(ranks: list[Rank], level: float) -> str:
    best, others = ranks[0], ranks[1:]
    area = cell(best.auroc, level)
    text = (
        f"{best.score.name} tells right from wrong best, with an AUROC of {area.value} "
        f"{area.interval}"
    )
    if not others:
        return f"The AUROC of {best.score.name} is {area.value} {area.interval}."
    worse = sum(rank.log_p < math.log(SIGNIFICANCE) for rank in others)
    rest = len(others) - worse
    if worse == len(others):
        all_others = "all other scores are" if worse > 1 else "the other score is"
        return f"{text}; {all_others} clearly worse."
    clearly = f"{words.in_words(worse)} of the {words.in_words(len(others))} others "
    clearly += "is clearly worse" if worse == 1 else "are clearly worse"
    if not worse:
        none = "none of the others is" if rest > 1 else "the other score isn't"
        return f"{text}; {none} clearly worse."
    return f"{text}; {clearly}, {words.in_words(rest)} can't be told from it on these rows."


def _calibrated(found: Calibration, level: float) -> str:
    """Whether a confidence can be read as a probability."""
    right, said = found.figures[0], found.figures[1]
    smooth = next(f for f in found.figures if f.name == "smooth ECE")
    text = (
        f"{found.score.name} is {percent_of(said, level)} on average where "
        f"{percent_of(right, level)} are right; smooth ECE {cell(smooth, level).value} "
        f"{cell(smooth, level).interval}."
    )
    if not found.log_p:
        return text
    smallest = min(found.log_p)
    verdict = "No test says that it isn't the probability of being right"
    if smallest < math.log(SIGNIFICANCE):
        verdict = "It can't be read as the probability of being right"
    return f"{text} {verdict}: smallest adjusted {words.p_value(smallest)}."
