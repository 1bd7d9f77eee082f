"""How well each score tells right answers from wrong ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from statllm.estimators.multiplicity import holm
from statllm.estimators.selective import (
    augrc,
    aurc,
    auroc,
    auroc_difference,
    delong_test,
    e_aurc,
    prr,
)
from statllm.report.uncertainty.scores import Answers, Score
from statllm.results import Estimate


@dataclass(frozen=True, eq=False)
class Rank:
    """One score.

    Attributes
    ----------
    score : Score
    auroc, prr, aurc, e_aurc, augrc : Estimate
        Over the rows that have the score.
    ties : float
        Share of the pairs of a right and a wrong answer that have equal scores.
    n, n_missing : int
        Rows with the score and without.
    difference : Estimate or None
        AUROC less that of the best, over the rows that have both; None for the best itself.
    log_p : float
        Of no difference, adjusted; NaN for the best.
    """

    score: Score
    auroc: Estimate
    prr: Estimate
    aurc: Estimate
    e_aurc: Estimate
    augrc: Estimate
    ties: float
    n: int
    n_missing: int
    difference: Estimate | None = None
    log_p: float = math.nan


def rank(answers: Answers) -> list[Rank]:
    """Measure every score, the largest AUROC first."""
    return sorted((_rank(answers, score) for score in answers.scores), key=_order)


def prepare_ranking(answers: Answers) -> list[Rank]:
    """Measure every score, the largest AUROC first, and compare the others with it.

    The best is picked from the rows that it is compared on, so p-values are adjusted (Holm) for
    all k (k - 1) / 2 pairs of k scores, not just for the k - 1 pairs with the best.

    Examples
    --------
    >>> from statllm.report.uncertainty.scores import read_answers
    >>> right = [1, 1, 1, 0, 0, 0]
    >>> scores = {"a": [3, 1, 2, 2, 0, 1], "b": [3, 2, 2, 1, 0, 2]}
    >>> best, other = prepare_ranking(read_answers(scores, right))
    >>> best.score.name, round(best.auroc.value, 4), round(other.difference.value, 4)
    ('b', 0.8889, -0.1111)
    """
    ranks = rank(answers)
    best, others = ranks[0], ranks[1:]
    differences, log_p = [], []
    for other in others:
        both = answers.usable(best.score) & answers.usable(other.score)
        pair = best.score.confidence[both], other.score.confidence[both], answers.right[both]
        groups = answers.groups(both)
        differences.append(auroc_difference(*pair, clusters=groups))
        log_p.append(delong_test(*pair, clusters=groups).log_p_value)
    adjusted = holm(log_p, len(ranks) * (len(ranks) - 1) // 2).tolist()
    compared = zip(others, differences, adjusted, strict=True)
    return [best, *(replace(other, difference=d, log_p=p) for other, d, p in compared)]


def _rank(answers: Answers, score: Score) -> Rank:
    rows = answers.usable(score)
    confidence, right, groups = score.confidence[rows], answers.right[rows], answers.groups(rows)
    of = np.unique(confidence, return_inverse=True)[1]
    hits, misses = np.bincount(of, right), np.bincount(of, ~right)
    ties = float(hits @ misses / (hits.sum() * misses.sum()))
    return Rank(
        score,
        auroc(confidence, right, clusters=groups),
        prr(confidence, right, clusters=groups),
        aurc(confidence, right, clusters=groups),
        e_aurc(confidence, right, clusters=groups),
        augrc(confidence, right, clusters=groups),
        ties,
        int(rows.sum()),
        int((~rows).sum()),
    )


def _order(rank: Rank) -> tuple[float, str]:
    """Falling AUROC; equal ones by name."""
    return -rank.auroc.value, rank.score.name
