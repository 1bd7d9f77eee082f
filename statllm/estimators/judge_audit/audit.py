"""The whole audit of a judge: every figure, tests adjusted together, and the correction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.judge_audit.findings import Finding
from statllm.estimators.judge_audit.length import length_bias
from statllm.estimators.judge_audit.position import position_bias
from statllm.estimators.judge_audit.preference import (
    human_agreement,
    repeat_consistency,
    self_preference,
)
from statllm.estimators.judge_audit.verdicts import Verdicts, by_pair
from statllm.estimators.multiplicity import holm
from statllm.estimators.ppi import corrected_win_rate, rogan_gladen

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JudgeAudit:
    """All that was found about a judge.

    Attributes
    ----------
    n_verdicts, n_unread, n_pairs : int
        Rows, those without a verdict, and pairs with one.
    findings : tuple of Finding
        By topic; `log_p_adjusted` is Holm's over all the tests.
    """

    n_verdicts: int
    n_unread: int
    n_pairs: int
    findings: tuple[Finding, ...]

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "n_verdicts": self.n_verdicts,
            "n_unread": self.n_unread,
            "n_pairs": self.n_pairs,
            "findings": [each.to_dict(level) for each in self.findings],
        }

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row per finding."""
        import pandas as pd

        rows = [each.to_dict(level) for each in self.findings]
        for row in rows:
            test = row.pop("test")
            row["p"] = None if test is None else test["p_value"]
        return pd.DataFrame(rows)


def audit_judge(verdicts: Verdicts, others: ArrayLike | None = None) -> JudgeAudit:
    """Audit one judge: position, length, own family, repeats, humans, and its corrected win rate.

    Parameters
    ----------
    verdicts : Verdicts
        What it has decides what is measured.
    others : array_like of float, shape (n,), optional
        As for `self_preference`.

    Returns
    -------
    JudgeAudit

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> pair, order = np.repeat(np.arange(60), 2), np.tile([True, False], 60)
    >>> biased = np.where(rng.random(120) < 0.8, 1, -1)
    >>> found = audit_judge(Verdicts.of(pair, order, biased))
    >>> pull = found.findings[1]
    >>> pull.estimate.summary(), pull.test.p_value < 0.001
    ('pull of the first place = 0.7333 share (se 0.044, 95% t(59) [0.6461, 0.8206], n = 60)', True)
    """
    found = [
        *position_bias(verdicts),
        *length_bias(verdicts),
        *self_preference(verdicts, others),
        *repeat_consistency(verdicts),
        *human_agreement(verdicts),
        *correction(verdicts),
    ]
    used = verdicts.read()
    unread = len(verdicts) - len(used)
    return JudgeAudit(len(verdicts), unread, len(np.unique(used.pair)), adjusted(tuple(found)))


def adjusted(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings with p-values adjusted by Holm over those that have a test."""
    tested = [each.test for each in findings if each.test is not None]
    if not tested:
        return findings
    log_p = iter(holm([test.log_p_value for test in tested]))
    return tuple(
        each if each.test is None else replace(each, log_p_adjusted=float(next(log_p)))
        for each in findings
    )


def correction(verdicts: Verdicts) -> tuple[Finding, ...]:
    """How often a wins by human preference, from a judge and the pairs that humans have seen.

    Parameters
    ----------
    verdicts : Verdicts
        With human verdicts of some pairs, at least 3 clusters of them, and others without, at
        least 2. The ones with must be a random sample.

    Returns
    -------
    tuple of Finding
        The judge's own win rate of a over all pairs, humans' over theirs, and the corrected one
        (`corrected_win_rate`); where all outcomes are wins and losses and each cluster is one
        pair, also `rogan_gladen`'s.

    Examples
    --------
    >>> human = [1, -1] * 10 + [float("nan")] * 80
    >>> verdicts = Verdicts.of(range(100), [True] * 100, [1, 1, -1, 1] * 25, human=human)
    >>> [round(each.estimate.value, 2) for each in correction(verdicts)][:3]
    [0.75, 0.5, 0.5]
    """
    used = verdicts.read()
    if used.human is None:
        return ()
    pairs = by_pair(used)
    human, judge = used.human[pairs.first], 0.5 + pairs.preferred / 2
    known, clusters = ~np.isnan(human), pairs.cluster
    if len(np.unique(clusters[known])) < 3 or len(np.unique(clusters[~known])) < 2:
        return ()
    labels = 0.5 + human[known] / 2
    alone = len(np.unique(clusters)) == len(clusters)
    found = corrected_win_rate(
        judge[~known],
        judge[known],
        labels,
        clusters=None if alone else clusters[known],
        unlabelled_clusters=None if alone else clusters[~known],
        name="win rate of a, corrected",
    )
    listed = [
        Finding(
            "correction",
            mean_estimate(judge, clusters, "win rate of a, judge", "share"),
            "share of pairs that the judge gives to a, ties half: biased as the judge is",
        ),
        Finding(
            "correction",
            found.classical.named("win rate of a, humans"),
            "share of pairs that humans give to a, ties half, from the pairs with human verdicts",
        ),
        Finding(
            "correction",
            found.estimate,
            "share of all pairs that humans would give to a, from the judge and the human "
            f"verdicts (worth {found.effective_labels:.0f} clusters of these); the pairs with "
            "human verdicts are taken for a random sample",
        ),
    ]
    binary = alone and np.isin(judge, [0, 1]).all() and np.isin(labels, [0, 1]).all()
    wins = labels == 1
    if binary and wins.any() and not wins.all():
        of = judge[known]
        listed.append(
            Finding(
                "correction",
                rogan_gladen(
                    int(judge[~known].sum()), int((~known).sum()),
                    int(of[wins].sum()), int(wins.sum()),
                    int((1 - of[~wins]).sum()), int((~wins).sum()),
                    name="win rate of a, Rogan-Gladen",
                ),
                "share of the pairs without human verdicts that humans would give to a, if the "
                "judge is as often right there, about wins and about losses, as where humans said",
            )
        )  # fmt: skip
    return tuple(listed)
